/**
 * The format of an export: a header, a line for each event, a line for each archived stream, a footer. Each line is a JSON object; its `kind`
 * tells which of these it is. Checksums are added by `ExportChecksums`.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { parseJson } from "../core/json/parseJson.ts"
import { isPosition, Position } from "../core/Position.ts"
import * as StreamId from "../core/StreamId.ts"
import type { StoredEvent } from "../event/RecordedEvent.ts"

/**
 * The format version that evsrc writes, and the only one that it reads.
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
  /** The position of the last event. */
  head: Position,
  /** The id of that event, by which a file is known to be of a log. */
  headEventId: Schema.optionalKey(Schema.String),
  /** The definitions by which the export has added tags to events; absent if it has added none. */
  retagged: Schema.optionalKey(
    Schema.Record(
      Schema.String,
      Schema.Struct({ tags: Schema.Array(Schema.String), versions: Schema.Array(Schema.String) })
    )
  )
})

const Archived = Schema.Struct({
  kind: kind("archived"),
  stream: StreamId.StreamId,
  /** The position of the stream's last event. Archived lines are ordered by it. */
  position: Position,
  archivedAt: Schema.DateTimeUtc
})

const Footer = Schema.Struct({
  kind: kind("footer"),
  events: Schema.Int,
  archived: Schema.Int,
  /** The digest of all checksums before, in hexadecimal digits. */
  digest: Schema.String
})

/**
 * A line of an export, without its checksum.
 *
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
 * A JSON text as a member of a line: as JSON where that gives the same text again, else as a string that holds the text.
 */
const member = (name: string, text: string): string => {
  try {
    if (JSON.stringify(parseJson(text)) === text) return `"${name}":${text}`
  } catch {
    // PostgreSQL accepts JSON that JavaScript cannot parse, such as very deep nesting.
  }
  return `"${name}Text":${JSON.stringify(text)}`
}

const withoutEnd = (object: object): string => JSON.stringify(object).slice(0, -1)

/**
 * Encodes a line as text.
 *
 * @since 0.1.0
 * @category accessors
 */
export const encode = (line: Line): string => {
  switch (line.kind) {
    case "header": {
      const { format, head, headEventId, kind, retagged, version } = line
      return JSON.stringify({ kind, format, version, head: String(head), headEventId, retagged })
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
 * Decodes the text of a line. Fails with the reason if evsrc cannot have written it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const decode = (text: string): Result.Result<Line, string> => {
  const parsed = parse(text)
  if (parsed === undefined) return Result.fail("the line is not a JSON object")
  const unexpected = (error: Schema.SchemaError) => `the line is not valid in this format version: ${error.message}`
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
      return Result.fail("the line's kind must be header, event, archived or footer")
  }
}

/**
 * Returns the format version that the first line of an export of any version states; undefined if it is no such line.
 *
 * @since 0.1.0
 * @category constructors
 */
export const versionOf = (text: string): unknown => {
  const parsed = parse(text)
  return parsed?.["format"] === "evsrc-log" ? parsed["version"] : undefined
}

const parse = (text: string): { readonly [key: string]: unknown } | undefined => {
  try {
    const parsed: unknown = parseJson(text)
    // Neither null nor an array, so its members can be read by name.
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

/** Validates the members of an event line. By hand, because a Schema would take longer than the rest of an import, over millions of lines. */
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
  const invalid = names.find((name) => !members[name]!(fields[name]))
  if (invalid !== undefined) return Result.fail(`the event's ${invalid} is missing or not valid in this format version`)
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
  // Every member was validated above.
  return Result.succeed({ kind: "event", event: event as StoredEvent })
}
