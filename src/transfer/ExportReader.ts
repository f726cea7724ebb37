/**
 * Reads the lines of an export in constant memory and verifies each of them byte for byte.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Position from "../core/Position.ts"
import * as ExportChecksums from "./ExportChecksums.ts"
import * as ExportFormat from "./ExportFormat.ts"
import { DamagedExport } from "./TransferError.ts"

/**
 * The state of reading or writing an export, after some of its lines.
 *
 * @since 0.1.0
 * @category models
 */
export interface ExportState {
  /** The length of the lines so far. */
  readonly bytes: number
  /** From which the next line's checksum continues. */
  readonly checksum: ExportChecksums.ChecksumState
  /** The log's high-water mark as the header states it; undefined before the header. */
  readonly head: Position.Position | undefined
  /** The id of the event there. */
  readonly headEventId?: string | undefined
  /** The position of the last event so far. */
  readonly position: Position.Position
  /** The id of that event. */
  readonly eventId?: string | undefined
  /** The number of event lines so far. */
  readonly events: number
  /** The number of archived streams so far. */
  readonly archived: number
  /** The position of the last archived stream so far. */
  readonly archivedTo: Position.Position
  /** Whether the footer was read or written. */
  readonly isComplete: boolean
}

/**
 * Some consecutive lines, verified, and the state after them.
 *
 * @since 0.1.0
 * @category models
 */
export interface VerifiedLines {
  readonly lines: ReadonlyArray<ExportFormat.Line>
  /** The number of the first of them, from 1. */
  readonly firstLine: number
  readonly state: ExportState
}

/**
 * The state before the first line.
 *
 * @since 0.1.0
 * @category constants
 */
export const initialState: ExportState = {
  bytes: 0,
  checksum: ExportChecksums.start,
  head: undefined,
  position: Position.start,
  events: 0,
  archived: 0,
  archivedTo: Position.start,
  isComplete: false
}

/** The size at which a group of lines is passed on; a single longer line is a group of its own. */
const maxGroupLines = 500
const maxGroupBytes = 4 * 1024 * 1024
/** An event has at most 1 MiB by default, and JSON escapes lengthen it at most sixfold. */
const maxLineBytes = 256 * 1024 * 1024

const newline = 10
/** Follows the last chunk if the source Stream ends. A source that fails is a read error, not a truncated export. */
const end: unique symbol = Symbol()
const encoder = new TextEncoder()

/** The bytes of a line without its newline. */
interface RawLine {
  readonly bytes: Uint8Array
  /** Whether a newline follows. Only the last line may lack it. */
  readonly hasNewline: boolean
}

/** Some consecutive lines. */
interface Group {
  readonly lines: ReadonlyArray<RawLine>
  readonly isLast: boolean
}

/** Splits text into lines, and passes these on in groups up to the sizes above. */
const groupLines = <E, R>(
  self: Stream.Stream<string | Uint8Array, E, R>
): Stream.Stream<Group, E | DamagedExport, R> => {
  interface State {
    /** The beginning of a line whose newline has not been read yet. */
    readonly rest: ReadonlyArray<Uint8Array>
    readonly restBytes: number
    readonly lines: ReadonlyArray<RawLine>
    readonly bytes: number
    /** The number of lines passed on so far. */
    readonly passedOn: number
  }
  return Stream.mapAccumArrayEffect(
    Stream.concat(self, Stream.succeed(end)),
    (): State => ({ rest: [], restBytes: 0, lines: [], bytes: 0, passedOn: 0 }),
    (state, chunks: Arr.NonEmptyReadonlyArray<string | Uint8Array | typeof end>) =>
      Effect.suspend(() => {
        const full: Array<Group> = []
        const rest = Array.from(state.rest)
        let { bytes, passedOn, restBytes } = state
        let lines = Array.from(state.lines)
        for (const piece of chunks) {
          if (piece === end) {
            full.push({
              lines: rest.length === 0 ? lines : [...lines, { bytes: joined(rest), hasNewline: false }],
              isLast: true
            })
            break
          }
          const chunk = typeof piece === "string" ? encoder.encode(piece) : piece
          let from = 0
          for (let at = chunk.indexOf(newline); at !== -1; at = chunk.indexOf(newline, from)) {
            const line = joined(rest, chunk.subarray(from, at))
            rest.length = 0
            restBytes = 0
            from = at + 1
            bytes += line.length
            if (lines.push({ bytes: line, hasNewline: true }) >= maxGroupLines || bytes >= maxGroupBytes) {
              full.push({ lines, isLast: false })
              passedOn += lines.length
              lines = []
              bytes = 0
            }
          }
          if (from < chunk.length) {
            // Copied, because the source may reuse its buffer.
            rest.push(chunk.slice(from))
            restBytes += chunk.length - from
          }
          if (restBytes > maxLineBytes) {
            return Effect.fail(
              new DamagedExport({
                line: passedOn + lines.length + 1,
                detail: `the line is longer than ${maxLineBytes} bytes, so this is not an export`
              })
            )
          }
        }
        return Effect.succeed([{ rest, restBytes, lines, bytes, passedOn }, full] as const)
      })
  )
}

const joined = (rest: ReadonlyArray<Uint8Array>, last: Uint8Array = new Uint8Array(0)): Uint8Array => {
  // Copied, because the line is used after this chunk.
  if (rest.length === 0) return last.slice()
  const all = new Uint8Array(rest.reduce((sum, part) => sum + part.length, last.length))
  let at = 0
  for (const part of [...rest, last]) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/**
 * Returns the lines of an export, each verified byte for byte. Fails with the first line that differs from what was exported. With
 * `allowTruncated`, an incomplete last line is left out, and a missing footer is no failure.
 *
 * @since 0.1.0
 * @category accessors
 */
export const readLines = <E, R>(
  self: Stream.Stream<string | Uint8Array, E, R>,
  options: { readonly allowTruncated: boolean } = { allowTruncated: false }
): Stream.Stream<VerifiedLines, E | DamagedExport, R> =>
  Stream.unwrap(Effect.map(ExportChecksums.checksummer, (checksummer) =>
    Stream.mapAccumEffect(
      groupLines(self),
      () => initialState,
      (state, { isLast, lines }) =>
        Effect.flatMap(
          verifyLines(
            checksummer,
            state,
            options.allowTruncated ? lines.filter(({ hasNewline }) => hasNewline) : lines
          ),
          (found) =>
            isLast && !options.allowTruncated && !found.state.isComplete
              ? Effect.fail(
                damaged(
                  found.state.checksum.line + 1,
                  "the export ends before this line, without a footer; it was truncated"
                )
              )
              : Effect.succeed([found.state, [found]] as const)
        )
    )))

const damaged = (line: number, detail: string) => new DamagedExport({ line, detail })

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const verifyLines = Effect.fnUntraced(function*(
  checksummer: ExportChecksums.Checksummer,
  before: ExportState,
  raw: ReadonlyArray<RawLine>
): Effect.fn.Return<VerifiedLines, DamagedExport> {
  const firstLine = before.checksum.line + 1
  const parts: Array<{ readonly body: string; readonly sum: string }> = []
  // Reported only if the lines before it are intact.
  let damage: DamagedExport | undefined
  for (const { bytes } of raw) {
    const part = splitLine(bytes, firstLine + parts.length)
    if (part instanceof DamagedExport) {
      damage = part
      break
    }
    parts.push(part)
  }
  const [sums, checksum] = yield* checksummer.sums(before.checksum, parts.map(({ body }) => body))
  const lines: Array<ExportFormat.Line> = []
  let state = before
  for (const [index, { body, sum }] of parts.entries()) {
    const line = firstLine + index
    if (sums[index] !== sum) {
      return yield* damaged(
        line,
        "the checksum does not match: this line or one before it was changed, lost, duplicated or moved"
      )
    }
    const decoded = ExportFormat.decode(body)
    if (Result.isFailure(decoded)) return yield* damaged(line, decoded.failure)
    const next = stateAfter(state, decoded.success)
    if (typeof next === "string") return yield* damaged(line, next)
    state = { ...next, bytes: state.bytes + raw[index]!.bytes.length + (raw[index]!.hasNewline ? 1 : 0) }
    lines.push(decoded.success)
    if (decoded.success.kind === "footer") {
      // The line checksum covers only whole blocks before it; the digest covers every checksum.
      const [, upTo] = yield* checksummer.sums(before.checksum, parts.slice(0, index).map((part) => part.body))
      if ((yield* checksummer.digest(upTo)) !== decoded.success.digest) {
        return yield* damaged(line, "the digest of the footer does not match the lines before it")
      }
    }
  }
  if (damage !== undefined) return yield* damage
  return { lines, firstLine, state: { ...state, checksum } }
})

const splitLine = (
  bytes: Uint8Array,
  line: number
): ReturnType<typeof ExportChecksums.splitChecksum> & {} | DamagedExport => {
  let text: string
  try {
    text = decoder.decode(bytes)
  } catch {
    return damaged(line, "the line is not valid UTF-8")
  }
  if (line === 1) {
    const version = ExportFormat.versionOf(text)
    if (version !== undefined && version !== ExportFormat.formatVersion) {
      return damaged(
        line,
        `the export has format version ${
          String(version)
        }; this version of evsrc reads format version ${ExportFormat.formatVersion}`
      )
    }
  }
  return ExportChecksums.splitChecksum(text) ?? damaged(
    line,
    line === 1
      ? "the first line is not a header; this is not an export, or its beginning was changed"
      : "the line does not end with a checksum; it was truncated or changed"
  )
}

/** Returns the state after a line, or why the line cannot follow. */
const stateAfter = (state: ExportState, line: ExportFormat.Line): ExportState | string => {
  if (state.isComplete) return "the line follows the footer"
  if (state.head === undefined) {
    return line.kind === "header"
      ? { ...state, head: line.head, headEventId: line.headEventId }
      : "the first line is not a header; this is not an export, or its beginning is lost"
  }
  switch (line.kind) {
    case "header":
      return "the line is a second header"
    case "event": {
      const { position } = line.event
      if (state.archived > 0) return "the line is an event after the archived streams"
      return position > state.position && position <= state.head
        ? { ...state, position, eventId: line.event.id, events: state.events + 1 }
        : `the event's position ${position} must be greater than ${state.position}, that of the event before, and at most ${state.head}, that of the header`
    }
    case "archived":
      return line.position > state.archivedTo && line.position <= state.position
        ? { ...state, archived: state.archived + 1, archivedTo: line.position }
        : `the archived stream's position ${line.position} must be greater than ${state.archivedTo}, that of the stream before, and at most ${state.position}, that of the last event`
    case "footer":
      if (line.events !== state.events || line.archived !== state.archived || state.position !== state.head) {
        return `the footer counts ${line.events} events and ${line.archived} archived streams up to position ${state.head}; `
          + `the export has ${state.events} and ${state.archived} up to position ${state.position}`
      }
      return state.headEventId?.toLowerCase() === state.eventId
        ? { ...state, isComplete: true }
        : `the header names event ${state.headEventId ?? "(none)"} at position ${state.head}, where the export has ${
          state.eventId ?? "none"
        }; `
          + "the log was set back while it was exported. Export it again"
  }
}
