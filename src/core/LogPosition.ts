/**
 * A position of the log together with the id of the event there, so that a reader detects another log, or one that was set back.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as Position from "./Position.ts"
import type { Receipt } from "./Receipt.ts"

/**
 * The number of events after a position and up to another, which never changes unless events are lost.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventCount {
  readonly since: Position.Position
  readonly events: number
}

/**
 * A position of the log, and the id of the event there.
 *
 * **Details**
 *
 * After an older backup was restored, or after a failover that lost events, the log assigns the same positions to other events. The id of an
 * event is never assigned again. A log that has the event at the position has all that a reader saw up to there.
 *
 * @since 0.1.0
 * @category models
 */
export interface LogPosition {
  readonly position: Position.Position
  /** The id of the event at the position; undefined at 0, or when it is not known. Then the log cannot be checked. */
  readonly eventId: string | undefined
  /**
   * How many events there are just before it. An event that was committed after those at later positions may be lost without them; then this
   * number differs. Checkpoints have it once they are at the end of the log.
   */
  readonly count?: EventCount | undefined
}

/**
 * The position before the first event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const start: LogPosition = { position: Position.start, eventId: undefined }

/**
 * Returns a position and an id as a `LogPosition`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  position: Position.Position,
  eventId: string | undefined,
  count?: EventCount
): LogPosition => ({
  position,
  eventId: position === Position.start ? undefined : eventId,
  ...(count === undefined ? {} : { count })
})

/**
 * Returns the position of an event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofEvent = (
  { id, position }: { readonly id: string; readonly position: Position.Position }
): LogPosition => ({
  position,
  eventId: id
})

/**
 * Returns the position of a receipt.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofReceipt = ({ eventId, events, position }: Receipt): LogPosition =>
  make(position, events.at(-1)?.id ?? eventId)

/**
 * Returns a position with or without an id as a `LogPosition`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const from = (value: Position.Position | LogPosition): LogPosition =>
  typeof value === "object" ? value : make(value, undefined)

/**
 * Returns a `LogPosition` as text, `<position>_<id of the event>`, for a cursor that a client sends back. `parse` reads it.
 *
 * @since 0.1.0
 * @category formatting
 */
export const format = ({ eventId, position }: LogPosition): string =>
  eventId === undefined ? String(position) : `${position}_${eventId}`

const text = /^(?<position>[0-9]{1,19})(?:_(?<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))?$/i

/**
 * Returns the `LogPosition` of a text, or none when it is not the text of one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const parse = (cursor: string): Option.Option<LogPosition> => {
  const groups = text.exec(cursor)?.groups
  const position = groups === undefined ? undefined : BigInt(groups["position"]!)
  return position !== undefined && Position.isPosition(position)
    ? Option.some(make(position, groups?.["id"]))
    : Option.none()
}

const expected = "a position, such as 42, or 42_ and the id of the event there"

/**
 * A `LogPosition` as text, for a URL or a header. It accepts a bare position too, which cannot be checked.
 *
 * @since 0.1.0
 * @category models
 */
export const FromString = Schema.String.check(
  Schema.makeFilter((cursor) => Option.isSome(parse(cursor)) || `must be ${expected}`, { expected })
).pipe(Schema.decodeTo(
  Schema.Struct({ position: Position.Position, eventId: Schema.UndefinedOr(Schema.String) }).pipe(Schema.toType),
  SchemaTransformation.transform({
    // The check has parsed it.
    decode: (cursor) => Option.getOrThrow(parse(cursor)),
    encode: format
  })
))
