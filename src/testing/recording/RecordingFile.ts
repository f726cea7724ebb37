/**
 * Recordings as lines of text: JSON, one value a line. The first line says what it is, the last one that it is complete, and each between them is
 * an event with what it has changed.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as JsonPatch from "effect/JsonPatch"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Metadata } from "../../core/Metadata.ts"
import { Position } from "../../core/Position.ts"
import * as SchemaFingerprint from "../../core/SchemaFingerprint.ts"
import { StreamId } from "../../core/StreamId.ts"
import { Version } from "../../core/Version.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"

const format = "evsrc/recording"
const formatVersion = 1

/**
 * What a recording is not, or not any more.
 *
 * - `line`: where that showed, from 1
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRecording extends Schema.TaggedError<InvalidRecording>("evsrc/InvalidRecording")(
  "InvalidRecording",
  { line: Schema.Int, detail: Schema.String }
) {
  override get message(): string {
    return `This recording cannot be replayed. Line ${this.line}: ${this.detail}`
  }
}

/**
 * What an aggregate or a projection is called; the two kinds may share names.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Subject = Schema.Struct({
  kind: Schema.Literals(["aggregate", "projection"]),
  name: Schema.String
})
export type Subject = typeof Subject.Type

/**
 * - `recordedAt`: when the log was read
 * - `personal`: whether what is marked as personal data was replaced
 * - `of`: whose states it has
 * - `sample`: which streams were taken, in words
 *
 * @since 0.1.0
 * @category schemas
 */
export const Header = Schema.Struct({
  format: Schema.Literal(format),
  formatVersion: Schema.Literal(formatVersion),
  recordedAt: Schema.DateTimeUtc,
  personal: Schema.Literals(["replaced", "kept"]),
  sample: Schema.String,
  of: Schema.Array(Subject)
})
export type Header = typeof Header.Type

/**
 * @since 0.1.0
 * @category constructors
 */
export const header = (
  recordedAt: DateTime.Utc,
  rest: Pick<Header, "personal" | "sample" | "of">
): Header => ({ format, formatVersion, recordedAt, ...rest })

/** What makes the value before into the one after it (RFC 6902); a value that was not there counts as `null`. */
const Patch = Schema.Array(Schema.Union([
  Schema.Struct({ op: Schema.Literal("add"), path: Schema.String, value: Schema.Json }),
  Schema.Struct({ op: Schema.Literal("remove"), path: Schema.String }),
  Schema.Struct({ op: Schema.Literal("replace"), path: Schema.String, value: Schema.Json })
]))

/**
 * An event, and what it has changed when that was recorded.
 *
 * - `state`: of its aggregate; missing where nothing has changed
 * - `documents`: of projections
 * - `failed`: who could not process it; from there on its stream was parked for them
 *
 * @since 0.1.0
 * @category schemas
 */
export const Step = Schema.Struct({
  event: Schema.Struct({
    position: Position,
    stream: StreamId,
    version: Version,
    id: Schema.String,
    type: Schema.String,
    schemaVersion: Schema.Int,
    recordedAt: Schema.DateTimeUtc,
    tags: Schema.Array(Schema.String),
    metadata: Schema.optionalKey(Metadata),
    data: Schema.Json
  }),
  state: Schema.optionalKey(Patch),
  documents: Schema.optionalKey(Schema.Array(Schema.Struct({
    projection: Schema.String,
    key: Schema.String,
    changes: Patch
  }))),
  failed: Schema.optionalKey(Schema.Array(Schema.Struct({ ...Subject.fields, detail: Schema.String })))
})
export type Step = typeof Step.Type

/** - `checksum`: of all lines before it, in order */
const End = Schema.Struct({ end: Schema.Struct({ events: Schema.Int, checksum: Schema.String }) })

const codecOf = <S extends Schema.Codec<unknown, unknown>>(schema: S) => {
  const json = Schema.fromJsonString(Schema.toCodecJson(schema))
  return { encode: Schema.encodeResult(json), decode: Schema.decodeUnknownResult(json) }
}
const [headers, steps, ends] = [codecOf(Header), codecOf(Step), codecOf(End)] as const

/**
 * An event that was read from a log, as a recording has it.
 *
 * @since 0.1.0
 * @category converting
 */
export const eventOf = (recorded: EncodedEvent, metadata: Metadata | undefined): Step["event"] => {
  const { data, id, position, recordedAt, schemaVersion, stream, tags, type, version } = recorded
  const event = { position, stream, version, id, type, schemaVersion, recordedAt, tags, data }
  return metadata === undefined ? event : { ...event, metadata }
}

/**
 * The event of a recording, as a store would return it.
 *
 * @since 0.1.0
 * @category converting
 */
export const recordedOf = (event: Step["event"]): EncodedEvent => ({ ...event, metadata: event.metadata ?? {} })

/** Over the lines up to one, so that none can be missing, or be another. */
const chained = (checksum: string, line: string): string => SchemaFingerprint.fromText(`${checksum}${line}`)

/**
 * The lines of a recording: of its header, which comes first, its steps, and the last one. What cannot be written as JSON fails with a text.
 *
 * @since 0.1.0
 * @category writing
 */
export const write = <E, R>(
  entries: Stream.Stream<Header | Step, E, R>
): Stream.Stream<string, E | string, R> =>
  Stream.suspend(() => {
    let checksum = ""
    let events = 0
    const line = (encoded: Result.Result<string, Schema.SchemaError>): Effect.Effect<string, string> =>
      Effect.fromResult(Result.mapBoth(encoded, {
        onFailure: ({ message }) => message,
        onSuccess: (text) => {
          checksum = chained(checksum, text)
          return text
        }
      }))
    return Stream.concat(
      Stream.mapEffect(entries, (entry) => {
        if (isHeader(entry)) return line(headers.encode(entry))
        events++
        return line(steps.encode(entry))
      }),
      Stream.fromEffect(Effect.suspend(() => line(ends.encode({ end: { events, checksum } }))))
    )
  })

/**
 * @since 0.1.0
 * @category guards
 */
export const isHeader = (entry: Header | Step): entry is Header => "format" in entry

/**
 * What a recording consists of, with the numbers of the lines. It fails where they are no recording, and in the end where it is not a whole one.
 *
 * @since 0.1.0
 * @category reading
 */
export const read = <E, R>(
  lines: Stream.Stream<string, E, R>
): Stream.Stream<{ readonly line: number; readonly entry: Header | Step }, E | InvalidRecording, R> =>
  Stream.suspend(() => {
    let line = 0
    let events = 0
    let checksum = ""
    let hasEnded = false
    const invalid = (detail: string) => Effect.fail(new InvalidRecording({ line, detail }))

    const entryOf = (text: string): Effect.Effect<Header | Step | undefined, InvalidRecording> => {
      line++
      if (hasEnded) return text === "" ? Effect.undefined : invalid("there is something behind the last line")
      const before = checksum
      checksum = chained(checksum, text)
      if (line === 1) {
        const decoded = headers.decode(text)
        return Result.isSuccess(decoded) ? Effect.succeed(decoded.success) : invalid(validateHeader(text))
      }
      if (text.startsWith(`{"end":`)) {
        const end = ends.decode(text)
        if (Result.isFailure(end)) return invalid(damaged(end.failure.message))
        hasEnded = true
        if (end.success.end.events !== events) {
          return invalid(`${end.success.end.events} events were written, and ${events} are there: lines are missing`)
        }
        return end.success.end.checksum === before ? Effect.undefined : invalid(
          "the lines above are not those that were written. Record again, or renew it from the version that was whole"
        )
      }
      const step = steps.decode(text)
      if (Result.isFailure(step)) return invalid(damaged(step.failure.message))
      events++
      return Effect.succeed(step.success)
    }

    return lines.pipe(
      Stream.mapEffect((text) => Effect.map(entryOf(text), (entry) => ({ line, entry }))),
      Stream.filter((read): read is { readonly line: number; readonly entry: Header | Step } =>
        read.entry !== undefined
      ),
      Stream.concat(Stream.suspend(() => {
        if (hasEnded) return Stream.empty
        line++
        return Stream.fromEffect(invalid(
          line === 1
            ? "there is nothing in it"
            : "it ends here, without its last line: it was not written to its end, or has lost a part"
        ))
      }))
    )
  })

const damaged = (detail: string): string => `this is no line of a recording, or it was damaged: ${detail}`

const validateHeader = (text: string): string => {
  const parsed = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Json))(text)
  const json = Result.isSuccess(parsed) && Predicate.isObject(parsed.success) ? parsed.success : {}
  const version: unknown = Reflect.get(json, "formatVersion")
  return Reflect.get(json, "format") !== format
    ? "this is not the first line of a recording of evsrc"
    : version !== formatVersion
    ? `its format is version ${String(version)}, and this program reads version ${formatVersion}`
    : "the first line of this recording was damaged"
}

/**
 * The value after a change that was recorded.
 *
 * @since 0.1.0
 * @category reading
 */
export const changed = (
  line: number,
  before: Schema.Json,
  changes: typeof Patch.Type
): Result.Result<Schema.Json, InvalidRecording> =>
  Result.try({
    try: () => JsonPatch.apply(changes, before),
    catch: (cause) => new InvalidRecording({ line, detail: `what changes is not there: ${String(cause)}` })
  })
