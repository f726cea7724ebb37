/**
 * The lines of an export, without their checksums: a header, a line for each event, a line for each archived stream, a footer. Each is a
 * JSON object that says by `kind` which it is.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { isPosition, Position } from "../core/Position.ts"
import * as StreamId from "../core/StreamId.ts"
import type { StoredEvent } from "../event/RecordedEvent.ts"

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
  stream: StreamId.StreamId,
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

/**
 * @since 0.1.0
 * @category models
 */
export type Line =
  | typeof Header.Type
  | { readonly kind: "event"; readonly event: StoredEvent }
  | typeof Archived.Type
  | typeof Footer.Type

const decoders = {
  header: Schema.decodeUnknownResult(Schema.toCodecJson(Header)),
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
        recordedMicros: event.recordedMicros,
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
    case "event":
      return eventOf(parsed)
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
    // An object is whatever has keys, once it is not null and not an array.
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)
      ? parsed as { readonly [key: string]: unknown }
      : undefined
  } catch {
    return undefined
  }
}

const textOf = (parsed: { readonly [key: string]: unknown }, name: string): unknown =>
  parsed[name] === undefined ? parsed[`${name}Text`] : JSON.stringify(parsed[name])

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const positive = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) > 0
const isText = (value: unknown): boolean => typeof value === "string"
const isTime = (value: unknown): boolean => {
  const time = typeof value === "string" ? DateTime.make(value) : Option.none()
  return Option.isSome(time) && DateTime.formatIso(time.value) === value
}

/** What the members of an event must be. By hand, since a Schema takes longer than all else together, and there may be a million lines. */
const members: { readonly [name: string]: (value: unknown) => boolean } = {
  position: (value) => typeof value === "string" && /^[1-9]\d{0,18}$/.test(value) && isPosition(BigInt(value)),
  stream: (value) => typeof value === "string" && StreamId.validate(value) === undefined,
  version: positive,
  id: (value) => typeof value === "string" && uuid.test(value),
  type: isText,
  schemaVersion: positive,
  recordedAt: isTime,
  recordedMicros: (value) => value === undefined || (positive(value) && Number(value) < 1000),
  tags: (value) => value === undefined || (Array.isArray(value) && value.every(isText)),
  commandId: (value) => value === undefined || isText(value),
  commandEvents: (value) => value === undefined || positive(value),
  closes: (value) => value === undefined || value === true,
  hash: (value) => value === undefined || (typeof value === "string" && /^[0-9a-f]{64}$/.test(value)),
  data: isText,
  metadata: isText
}
const names = Object.keys(members)

const eventOf = (line: { readonly [key: string]: unknown }): Result.Result<Line, string> => {
  const data = textOf(line, "data")
  const metadata = textOf(line, "metadata")
  const { closes, commandEvents, commandId, hash, recordedMicros, tags = [] } = line
  const fields: { readonly [key: string]: unknown } = { ...line, data, metadata }
  const wrong = names.find((name) => !members[name]!(fields[name]))
  if (wrong !== undefined) return Result.fail(`it is an event whose ${wrong} is not what this version of evsrc writes`)
  const event = {
    position: BigInt(String(line["position"])),
    stream: line["stream"],
    version: line["version"],
    id: line["id"],
    type: line["type"],
    schemaVersion: line["schemaVersion"],
    data,
    metadata,
    tags,
    recordedAt: DateTime.makeUnsafe(String(line["recordedAt"])),
    ...(recordedMicros === undefined ? {} : { recordedMicros }),
    ...(commandId === undefined ? {} : { commandId }),
    ...(commandEvents === undefined ? {} : { commandEvents }),
    ...(closes === undefined ? {} : { closes }),
    ...(hash === undefined ? {} : { hash })
  }
  // Each of them was looked at.
  return Result.succeed({ kind: "event", event: event as StoredEvent })
}
