/**
 * The lines of an export, without their checksums: a header, a line for each event, a line for each archived stream, a footer. Each is a
 * JSON object that says by `kind` which it is.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { RawEvent } from "../domain/EventRecord.ts"
import { Position } from "../domain/Position.ts"
import { StreamId } from "../domain/StreamId.ts"
import { Version } from "../domain/Version.ts"

/**
 * The version of the format that is written, and the only one that is read.
 *
 * @since 0.1.0
 * @category constants
 */
export const formatVersion = 1

const kind = <K extends string>(kind: K) => Schema.Literal(kind)

const Header = Schema.Struct({
  kind: kind("header"),
  format: Schema.Literal("evsrc-log"),
  version: Schema.Literal(formatVersion),
  /** Of the last event. */
  head: Position
})

const Archived = Schema.Struct({
  kind: kind("archived"),
  stream: StreamId,
  /** Of the stream's last event, by which these lines are ordered. */
  position: Position,
  archivedAt: Schema.DateTimeUtc
})

const Footer = Schema.Struct({
  kind: kind("footer"),
  events: Schema.Int,
  archived: Schema.Int,
  /** Of all checksums before, in hexadecimal digits. */
  digest: Schema.String
})

const Event = Schema.Struct({
  kind: kind("event"),
  position: Position,
  stream: StreamId,
  version: Version,
  id: Schema.String.check(Schema.isPattern(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/)),
  type: Schema.String,
  schemaVersion: Schema.Int,
  recordedAt: Schema.DateTimeUtc,
  tags: Schema.optionalKey(Schema.Array(Schema.String)),
  commandId: Schema.optionalKey(Schema.String),
  commandEvents: Schema.optionalKey(Schema.Int),
  closes: Schema.optionalKey(Schema.Literal(true)),
  hash: Schema.optionalKey(Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/)))
})

/**
 * @since 0.1.0
 * @category models
 */
export type Line =
  | typeof Header.Type
  | { readonly kind: "event"; readonly event: RawEvent }
  | typeof Archived.Type
  | typeof Footer.Type

const decoders = {
  header: Schema.decodeUnknownResult(Schema.toCodecJson(Header)),
  event: Schema.decodeUnknownResult(Schema.toCodecJson(Event)),
  archived: Schema.decodeUnknownResult(Schema.toCodecJson(Archived)),
  footer: Schema.decodeUnknownResult(Schema.toCodecJson(Footer))
}

/**
 * A JSON text as a member of a line: as JSON where that gives the same text again, else as a string that holds it.
 */
const member = (name: string, text: string): string => {
  try {
    if (JSON.stringify(JSON.parse(text)) === text) return `"${name}":${text}`
  } catch {
    // The database takes more than JavaScript does, as a nesting of any depth.
  }
  return `"${name}Text":${JSON.stringify(text)}`
}

const withoutEnd = (object: object): string => JSON.stringify(object).slice(0, -1)

/**
 * The text of a line.
 *
 * @since 0.1.0
 * @category encoding
 */
export const encode = (line: Line): string => {
  switch (line.kind) {
    case "header": {
      const { format, head, kind, version } = line
      return JSON.stringify({ kind, format, version, head: String(head) })
    }
    case "event": {
      const { event } = line
      const { closes, commandEvents, commandId, hash, tags } = event
      const start = withoutEnd({
        kind: "event",
        position: String(event.position),
        stream: event.stream,
        version: event.version,
        id: event.id,
        type: event.type,
        schemaVersion: event.schemaVersion,
        recordedAt: DateTime.formatIso(event.recordedAt),
        tags: tags.length === 0 ? undefined : tags,
        commandId,
        commandEvents,
        closes,
        hash
      })
      return `${start},${member("data", event.data)},${member("metadata", event.metadata)}}`
    }
    case "archived": {
      const { archivedAt, kind, position, stream } = line
      return JSON.stringify({
        kind,
        stream,
        position: String(position),
        archivedAt: DateTime.formatIso(archivedAt)
      })
    }
    case "footer": {
      const { archived, digest, events, kind } = line
      return JSON.stringify({ kind, events, archived, digest })
    }
  }
}

/**
 * The line of a text, or what is wrong with it.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (text: string): Result.Result<Line, string> => {
  const parsed = parse(text)
  if (parsed === undefined) return Result.fail("it is no JSON object")
  const unexpected = (error: Schema.SchemaError) => `it is not what this version of evsrc writes: ${error.message}`
  switch (parsed["kind"]) {
    case "header":
      return Result.mapError(decoders.header(parsed), unexpected)
    case "archived":
      return Result.mapError(decoders.archived(parsed), unexpected)
    case "footer":
      return Result.mapError(decoders.footer(parsed), unexpected)
    case "event": {
      const data = textOf(parsed, "data")
      const metadata = textOf(parsed, "metadata")
      if (data === undefined || metadata === undefined) return Result.fail("it is an event without data or metadata")
      const decoded = Result.mapError(decoders.event(parsed), unexpected)
      return Result.map(decoded, ({ kind, tags = [], ...event }) => ({
        kind,
        event: { ...event, tags, data, metadata }
      }))
    }
    default:
      return Result.fail("it is of no kind that this version of evsrc knows")
  }
}

/**
 * What a first line says of its format, where it says so in whatever version.
 *
 * @since 0.1.0
 * @category decoding
 */
export const versionOf = (text: string): unknown => {
  const parsed = parse(text)
  return parsed?.["format"] === "evsrc-log" ? parsed["version"] : undefined
}

const parse = (text: string): { readonly [key: string]: unknown } | undefined => {
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === "object" && parsed !== null ? Object.fromEntries(Object.entries(parsed)) : undefined
  } catch {
    return undefined
  }
}

const textOf = (parsed: { readonly [key: string]: unknown }, name: string): string | undefined => {
  if (parsed[name] !== undefined) return JSON.stringify(parsed[name])
  const text = parsed[`${name}Text`]
  return typeof text === "string" ? text : undefined
}
