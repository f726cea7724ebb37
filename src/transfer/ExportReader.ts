/**
 * Reads the lines of an export, in constant memory, and refuses one that is not as it was written.
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
 * How far an export was read, and found to be as it was written.
 *
 * - `bytes`: how long it is up to there
 * - `seal`: what the next line is encrypted with
 * - `head`: what the header says; undefined before it
 * - `position`: of the last event
 * - `events`, `archived`: how many lines there were of each; `archivedTo` the position of the last archived stream
 * - `isComplete`: the footer was read
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadSoFar {
  readonly bytes: number
  readonly checksum: ExportChecksums.ChecksumState
  readonly head: Position.Position | undefined
  readonly position: Position.Position
  readonly events: number
  readonly archived: number
  readonly archivedTo: Position.Position
  readonly isComplete: boolean
}

/**
 * Some lines that follow each other, and how far the export was read with them.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadLines {
  readonly lines: ReadonlyArray<ExportFormat.Line>
  readonly first: number
  readonly soFar: ReadSoFar
}

/**
 * Nothing.
 *
 * @since 0.1.0
 * @category constants
 */
export const nothing: ReadSoFar = {
  bytes: 0,
  checksum: ExportChecksums.start,
  head: undefined,
  position: Position.start,
  events: 0,
  archived: 0,
  archivedTo: Position.start,
  isComplete: false
}

/** How much is handed on at once, unless a single line is longer. */
const groupLines = 500
const groupBytes = 4 * 1024 * 1024
/** An event has at most 1 MiB by default, and at most six times as much when it is escaped. */
const lineBytes = 256 * 1024 * 1024

const newline = 10
/** Comes after all else where the Stream that is read has ended, and not where it has failed: that is no cut-off export. */
const end: unique symbol = Symbol()
const encoder = new TextEncoder()

/** A line without its end. Only the last of an export may have none. */
interface RawLine {
  readonly bytes: Uint8Array
  readonly isEnded: boolean
}

/** Some lines that follow each other; after the last there are no more. */
interface Group {
  readonly lines: ReadonlyArray<RawLine>
  readonly isLast: boolean
}

/** Lines in groups, of which none is longer than the bounds above. */
const groups = <E, R>(
  self: Stream.Stream<string | Uint8Array, E, R>
): Stream.Stream<Group, E | DamagedExport, R> => {
  interface State {
    /** The beginning of a line. */
    readonly rest: ReadonlyArray<Uint8Array>
    readonly restBytes: number
    readonly lines: ReadonlyArray<RawLine>
    readonly bytes: number
    /** How many lines were handed on. */
    readonly before: number
  }
  return Stream.mapAccumArrayEffect(
    Stream.concat(self, Stream.succeed(end)),
    (): State => ({ rest: [], restBytes: 0, lines: [], bytes: 0, before: 0 }),
    (state, chunks: Arr.NonEmptyReadonlyArray<string | Uint8Array | typeof end>) =>
      Effect.suspend(() => {
        const full: Array<Group> = []
        const rest = Array.from(state.rest)
        let { before, bytes, restBytes } = state
        let lines = Array.from(state.lines)
        for (const piece of chunks) {
          if (piece === end) {
            full.push({
              lines: rest.length === 0 ? lines : [...lines, { bytes: joined(rest), isEnded: false }],
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
            if (lines.push({ bytes: line, isEnded: true }) >= groupLines || bytes >= groupBytes) {
              full.push({ lines, isLast: false })
              before += lines.length
              lines = []
              bytes = 0
            }
          }
          if (from < chunk.length) {
            // A copy, since whoever reads may fill its buffer again.
            rest.push(chunk.slice(from))
            restBytes += chunk.length - from
          }
          if (restBytes > lineBytes) {
            return Effect.fail(
              new DamagedExport({
                line: before + lines.length + 1,
                detail: `it is longer than ${lineBytes} bytes; this is no export`
              })
            )
          }
        }
        return Effect.succeed([{ rest, restBytes, lines, bytes, before }, full] as const)
      })
  )
}

const joined = (rest: ReadonlyArray<Uint8Array>, last: Uint8Array = new Uint8Array(0)): Uint8Array => {
  // Again a copy, of what is used only after this chunk.
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
 * The lines of an export, each after it was found to be as it was written; fails with the first that is not. With `cut`, the Stream ends
 * before a last line that has no end, and it is no failure that the footer is missing.
 *
 * @since 0.1.0
 * @category reading
 */
export const read = <E, R>(
  self: Stream.Stream<string | Uint8Array, E, R>,
  options: { readonly cut: boolean } = { cut: false }
): Stream.Stream<ReadLines, E | DamagedExport, R> =>
  Stream.unwrap(Effect.map(ExportChecksums.checksummer, (checksummer) =>
    Stream.mapAccumEffect(
      groups(self),
      () => nothing,
      (soFar, { isLast, lines }) =>
        Effect.flatMap(
          check(checksummer, soFar, options.cut ? lines.filter(({ isEnded }) => isEnded) : lines),
          (found) =>
            isLast && !options.cut && !found.soFar.isComplete
              ? Effect.fail(
                damaged(found.soFar.checksum.line + 1, "the export ends before it, without a footer; it was cut off")
              )
              : Effect.succeed([found.soFar, [found]] as const)
        )
    )))

const damaged = (line: number, detail: string) => new DamagedExport({ line, detail })

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const check = Effect.fnUntraced(function*(
  checksummer: ExportChecksums.Checksummer,
  before: ReadSoFar,
  raw: ReadonlyArray<RawLine>
): Effect.fn.Return<ReadLines, DamagedExport> {
  const first = before.checksum.line + 1
  const parts: Array<{ readonly body: string; readonly sum: string }> = []
  // What is wrong with a line is told only where nothing is wrong before it.
  let problem: DamagedExport | undefined
  for (const { bytes } of raw) {
    const part = partOf(bytes, first + parts.length)
    if (part instanceof DamagedExport) {
      problem = part
      break
    }
    parts.push(part)
  }
  const [sums, checksum] = yield* checksummer.sums(before.checksum, parts.map(({ body }) => body))
  const lines: Array<ExportFormat.Line> = []
  let soFar = before
  for (const [index, { body, sum }] of parts.entries()) {
    const line = first + index
    if (sums[index] !== sum) {
      return yield* damaged(
        line,
        "its checksum is wrong: it, or what comes before it, was changed, lost, doubled or moved"
      )
    }
    const decoded = ExportFormat.decode(body)
    if (Result.isFailure(decoded)) return yield* damaged(line, decoded.failure)
    const next = advance(soFar, decoded.success)
    if (typeof next === "string") return yield* damaged(line, next)
    soFar = { ...next, bytes: soFar.bytes + raw[index]!.bytes.length + (raw[index]!.isEnded ? 1 : 0) }
    lines.push(decoded.success)
    if (decoded.success.kind === "footer") {
      // Sealed with what comes before it, as every line; the digest is of all checksums, also of those within its block.
      const [, upTo] = yield* checksummer.sums(before.checksum, parts.slice(0, index).map((part) => part.body))
      if ((yield* checksummer.digest(upTo)) !== decoded.success.digest) {
        return yield* damaged(line, "its digest is not that of the lines before it")
      }
    }
  }
  if (problem !== undefined) return yield* problem
  return { lines, first, soFar: { ...soFar, checksum } }
})

const partOf = (
  bytes: Uint8Array,
  line: number
): ReturnType<typeof ExportChecksums.splitChecksum> & {} | DamagedExport => {
  let text: string
  try {
    text = decoder.decode(bytes)
  } catch {
    return damaged(line, "it is no text in UTF-8")
  }
  if (line === 1) {
    const version = ExportFormat.versionOf(text)
    if (version !== undefined && version !== ExportFormat.formatVersion) {
      return damaged(
        line,
        `the export is of format ${
          String(version)
        }, and this version of evsrc reads format ${ExportFormat.formatVersion}`
      )
    }
  }
  return ExportChecksums.splitChecksum(text) ?? damaged(
    line,
    line === 1
      ? "it is no header; this is no export, or its beginning was changed"
      : "it does not end with a checksum; it was cut off or changed"
  )
}

/** How far the export is read after a line, or why that cannot be there. */
const advance = (soFar: ReadSoFar, line: ExportFormat.Line): ReadSoFar | string => {
  if (soFar.isComplete) return "it comes after the footer"
  if (soFar.head === undefined) {
    return line.kind === "header"
      ? { ...soFar, head: line.head }
      : "it is no header; this is no export, or its beginning is lost"
  }
  switch (line.kind) {
    case "header":
      return "it is a second header"
    case "event": {
      const { position } = line.event
      if (soFar.archived > 0) return "it is an event after the archived streams"
      return position > soFar.position && position <= soFar.head
        ? { ...soFar, position, events: soFar.events + 1 }
        : `its position ${position} is not between ${soFar.position}, that of the event before, and the head ${soFar.head}`
    }
    case "archived":
      return line.position > soFar.archivedTo && line.position <= soFar.position
        ? { ...soFar, archived: soFar.archived + 1, archivedTo: line.position }
        : `its position ${line.position} is not between ${soFar.archivedTo}, that of the line before, and that of the last event`
    case "footer":
      return line.events === soFar.events && line.archived === soFar.archived && soFar.position === soFar.head
        ? { ...soFar, isComplete: true }
        : `the footer counts ${line.events} events and ${line.archived} archived streams; there are ${soFar.events} and ${soFar.archived}`
  }
}
