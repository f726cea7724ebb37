/**
 * The file format of recordings: one JSON value per line. The first line is the header, the last one has the checksum, and every other line is an
 * event with the changes that it caused.
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
import { fromJsonText } from "../../core/json/parseJson.ts"
import { Metadata } from "../../core/Metadata.ts"
import { Position } from "../../core/Position.ts"
import * as SchemaFingerprint from "../../core/SchemaFingerprint.ts"
import { StreamId } from "../../core/StreamId.ts"
import { Version } from "../../core/Version.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"

const format = "evsrc/recording"
const formatVersion = 1

/**
 * The text is not a complete recording, or it was damaged.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRecording extends Schema.TaggedError<InvalidRecording>("evsrc/InvalidRecording")(
  "InvalidRecording",
  {
    /** The line of the fault, from 1. */
    line: Schema.Int,
    detail: Schema.String
  }
) {
  override get message(): string {
    return `The recording is invalid at line ${this.line}: ${this.detail}`
  }
}

/**
 * The name of an aggregate or a projection. An aggregate and a projection may have the same name.
 *
 * @since 0.1.0
 * @category models
 */
export const Model = Schema.Struct({
  kind: Schema.Literals(["aggregate", "projection"]),
  name: Schema.String
})
export type Model = typeof Model.Type

/**
 * The first line of a recording.
 *
 * @since 0.1.0
 * @category models
 */
export const Header = Schema.Struct({
  format: Schema.Literal(format),
  formatVersion: Schema.Literal(formatVersion),
  /** When the log was read. */
  recordedAt: Schema.DateTimeUtc,
  /** Whether the fields annotated as personal data were replaced or written in plaintext. */
  personal: Schema.Literals(["replaced", "plaintext"]),
  /** A description of the recorded streams. */
  sample: Schema.String,
  /** The aggregates and projections whose states are recorded. */
  models: Schema.Array(Model)
})
export type Header = typeof Header.Type

/**
 * Returns the header of the current format version.
 *
 * @since 0.1.0
 * @category constructors
 */
export const header = (
  recordedAt: DateTime.Utc,
  rest: Pick<Header, "personal" | "sample" | "models">
): Header => ({ format, formatVersion, recordedAt, ...rest })

/** The changes from the value before to the value after the event (RFC 6902). A missing value is `null`. */
const Patch = Schema.Array(Schema.Union([
  Schema.Struct({ op: Schema.Literal("add"), path: Schema.String, value: Schema.Json }),
  Schema.Struct({ op: Schema.Literal("remove"), path: Schema.String }),
  Schema.Struct({ op: Schema.Literal("replace"), path: Schema.String, value: Schema.Json })
]))

/**
 * An event with the changes that it caused when it was recorded.
 *
 * @since 0.1.0
 * @category models
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
  /** The changes of the aggregate's state. Missing if the state did not change. */
  state: Schema.optionalKey(Patch),
  /** The changed documents of projections. */
  documents: Schema.optionalKey(Schema.Array(Schema.Struct({
    projection: Schema.String,
    key: Schema.String,
    changes: Patch
  }))),
  /** The models that could not process the event. They skip the later events of its stream. */
  failed: Schema.optionalKey(Schema.Array(Schema.Struct({ ...Model.fields, detail: Schema.String })))
})
export type Step = typeof Step.Type

/** The last line. Its checksum covers all lines before it, in order. */
const End = Schema.Struct({ end: Schema.Struct({ events: Schema.Int, checksum: Schema.String }) })

const codecOf = <S extends Schema.Codec<unknown, unknown>>(schema: S) => {
  const json = fromJsonText(Schema.toCodecJson(schema))
  return { encode: Schema.encodeResult(json), decode: Schema.decodeUnknownResult(json) }
}
const [headers, steps, ends] = [codecOf(Header), codecOf(Step), codecOf(End)] as const

/**
 * Returns the form in which a recording holds an event of a log.
 *
 * @since 0.1.0
 * @category combinators
 */
export const eventOf = (recorded: EncodedEvent, metadata: Metadata | undefined): Step["event"] => {
  const { data, id, position, recordedAt, schemaVersion, stream, tags, type, version } = recorded
  const event = { position, stream, version, id, type, schemaVersion, recordedAt, tags, data }
  return metadata === undefined ? event : { ...event, metadata }
}

/**
 * Returns an event of a recording in the form in which a store returns it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const recordedOf = (event: Step["event"]): EncodedEvent => ({ ...event, metadata: event.metadata ?? {} })

/** Returns the checksum over all lines up to this one, so that a missing or changed line is detected. */
const chained = (checksum: string, line: string): string => SchemaFingerprint.fromText(`${checksum}${line}`)

/**
 * Returns the lines of a recording. The header comes first. Fails with a text if a value cannot be encoded as JSON.
 *
 * @since 0.1.0
 * @category combinators
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
 * Returns whether the entry is the header.
 *
 * @since 0.1.0
 * @category guards
 */
export const isHeader = (entry: Header | Step): entry is Header => "format" in entry

/**
 * Returns the entries of a recording with their line numbers. Fails at the first invalid line, and at the end if the recording is incomplete.
 *
 * @since 0.1.0
 * @category combinators
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
      if (hasEnded) {
        return text === ""
          ? Effect.undefined
          : invalid("text after the last line of the recording; remove it or restore the file")
      }
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
          return invalid(
            `${end.success.end.events} events were written, but the file has ${events}; restore the file or record again`
          )
        }
        return end.success.end.checksum === before ? Effect.undefined : invalid(
          "the checksum does not match: a line was edited; restore the file or record again"
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
            ? "the file is empty; record again"
            : "the last line is missing: the file was truncated; restore it or record again"
        ))
      }))
    )
  })

const damaged = (detail: string): string => `the line does not decode; restore the file or record again: ${detail}`

const validateHeader = (text: string): string => {
  const parsed = Schema.decodeUnknownResult(fromJsonText(Schema.Json))(text)
  const json = Result.isSuccess(parsed) && Predicate.isObject(parsed.success) ? parsed.success : {}
  const version: unknown = Reflect.get(json, "formatVersion")
  return Reflect.get(json, "format") !== format
    ? "the text is not an evsrc recording: its first line is no header"
    : version !== formatVersion
    ? `the format version is ${String(version)}, but this code reads version ${formatVersion}; record again`
    : "the header does not decode; restore the file or record again"
}

/**
 * Returns the value after recorded changes.
 *
 * @since 0.1.0
 * @category combinators
 */
export const changed = (
  line: number,
  before: Schema.Json,
  changes: typeof Patch.Type
): Result.Result<Schema.Json, InvalidRecording> =>
  Result.try({
    try: () => JsonPatch.apply(changes, before),
    catch: (cause) =>
      new InvalidRecording({
        line,
        detail: `a recorded change does not apply to the value before it; record again: ${String(cause)}`
      })
  })
