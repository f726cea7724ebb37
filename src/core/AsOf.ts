/**
 * Points in time to read as of: a version of a stream, a position of the log, an instant, or now.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as LogPosition from "./LogPosition.ts"
import * as Position from "./Position.ts"
import * as Version from "./Version.ts"

const Now = Schema.TaggedStruct("Now", {})
const AtPosition = Schema.TaggedStruct("Position", {
  position: Position.Position,
  /** The id of the event there; a read of a log without it fails with `LogDiverged`. */
  eventId: Schema.optionalKey(Schema.String)
})
const AtInstant = Schema.TaggedStruct("Instant", { instant: Schema.DateTimeUtc })
const AtVersion = Schema.TaggedStruct("Version", { version: Version.Version })

/**
 * A point in time of the whole log.
 *
 * - `Position`: after the event at this position, or after the last one before it; 0 is before the first event
 * - `Instant`: after all events that were recorded at or before it
 * - `Now`: after all visible events
 *
 * @since 0.1.0
 * @category models
 */
export const OfLog = Schema.Union([Now, AtPosition, AtInstant])

/**
 * @since 0.1.0
 * @category models
 */
export type OfLog = typeof OfLog.Type

/**
 * A point in time of one stream: one of the log, or `Version`, which is after the event of this version; 0 is before the first event.
 *
 * @since 0.1.0
 * @category models
 */
export const AsOf = Schema.Union([Now, AtPosition, AtInstant, AtVersion])

/**
 * @since 0.1.0
 * @category models
 */
export type AsOf = typeof AsOf.Type

/**
 * The point in time after all visible events.
 *
 * @since 0.1.0
 * @category constructors
 */
export const now: OfLog = Now.make({})

/**
 * Returns the point in time at a version of a stream. Throws unless it is a whole number from 0.
 *
 * @since 0.1.0
 * @category constructors
 */
export const version = (version: number): typeof AtVersion.Type => AtVersion.make({ version: Version.make(version) })

/**
 * Returns the point in time at a position of the log. Throws unless it is from 0 to 2^63 - 1. With the id of the event there, as a `LogPosition`
 * has, a read of a log that was set back and does not have the event fails with `LogDiverged`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const position = (position: bigint | LogPosition.LogPosition): typeof AtPosition.Type => {
  if (typeof position === "bigint") return AtPosition.make({ position: Position.make(position) })
  const { eventId } = position
  return AtPosition.make({ position: position.position, ...(eventId === undefined ? {} : { eventId }) })
}

/**
 * Returns the point in time at an instant, in any time zone.
 *
 * @since 0.1.0
 * @category constructors
 */
export const instant = (instant: DateTime.DateTime): typeof AtInstant.Type =>
  AtInstant.make({ instant: DateTime.toUtc(instant) })

/**
 * Returns whether an event is in the log as of a point in time.
 *
 * @since 0.1.0
 * @category guards
 */
export const includes = (
  asOf: AsOf,
  event: {
    readonly position: Position.Position
    readonly version: Version.Version
    readonly recordedAt: DateTime.Utc
  }
): boolean => {
  switch (asOf._tag) {
    case "Now":
      return true
    case "Version":
      return event.version <= asOf.version
    case "Position":
      return event.position <= asOf.position
    case "Instant":
      return DateTime.isLessThanOrEqualTo(event.recordedAt, asOf.instant)
  }
}

/**
 * Returns the text of a point in time for messages: `now`, `version 3`, `position 42`, `instant 2030-01-31T12:00:00.000Z`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const format = (asOf: AsOf): string => {
  switch (asOf._tag) {
    case "Now":
      return "now"
    case "Version":
      return `version ${asOf.version}`
    case "Position":
      return `position ${LogPosition.format(LogPosition.make(asOf.position, asOf.eventId))}`
    case "Instant":
      return `instant ${DateTime.formatIso(asOf.instant)}`
  }
}

const expected = "now, version:3, position:42 or instant:2030-01-31T12:00:00Z"

// JavaScript's Date accepts far more, some of it in the time zone of the machine, and takes 31 February for 3 March.
const rfc3339 =
  /^((?:[+-][0-9]{2})?[0-9]{4}-[0-9]{2}-[0-9]{2})T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:[0-9]{2})$/

const parseInstant = (text: string): Option.Option<DateTime.Utc> => {
  const [, date = ""] = rfc3339.exec(text) ?? []
  const isDate = Option.exists(DateTime.make(`${date}T00:00:00Z`), (day) => DateTime.formatIso(day).startsWith(date))
  return date !== "" && isDate ? Option.map(DateTime.make(text), DateTime.toUtc) : Option.none()
}

const expectedInstant = "a date and time with a zone, such as 2030-01-31T12:00:00Z"

/**
 * An instant as text, for a URL or a command line: a date and time with a zone, as in RFC 3339, such as `2030-01-31T12:00:00Z` or
 * `2030-01-31T13:00+01:00`.
 *
 * @since 0.1.0
 * @category models
 */
export const InstantFromString = Schema.String.check(
  Schema.makeFilter((text) => Option.isSome(parseInstant(text)) || `must be ${expectedInstant}`, {
    expected: expectedInstant
  })
).pipe(Schema.decodeTo(
  Schema.toType(Schema.DateTimeUtc),
  SchemaTransformation.transform({
    // The check has parsed it.
    decode: (text) => Option.getOrThrow(parseInstant(text)),
    encode: DateTime.formatIso
  })
))

const parse = (text: string): AsOf | undefined => {
  if (text === "now") return now
  const [, kind, value = ""] = /^(version|position|instant):(.+)$/.exec(text) ?? []
  switch (kind) {
    case "version":
      return /^[0-9]{1,16}$/.test(value) && Version.isVersion(Number(value)) ? version(Number(value)) : undefined
    case "position":
      return Option.getOrUndefined(Option.map(LogPosition.parse(value), position))
    case "instant":
      return Option.getOrUndefined(Option.map(parseInstant(value), instant))
    default:
      return undefined
  }
}

/**
 * A point in time as text, for a URL or a command line: `now`, `version:3`, `position:42` or `position:42_<id
 * of the event there>`, `instant:2030-01-31T12:00:00Z`.
 *
 * @since 0.1.0
 * @category models
 */
export const FromString = Schema.String.check(
  Schema.makeFilter((text) => parse(text) !== undefined || `must be ${expected}`, { expected })
).pipe(Schema.decodeTo(
  Schema.toType(AsOf),
  SchemaTransformation.transform({
    // The check has parsed it.
    decode: (text) => parse(text)!,
    encode: (asOf) => format(asOf).replace(" ", ":")
  })
))
