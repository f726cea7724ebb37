/**
 * The receipt of a command.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Position } from "./Position.ts"
import { StreamId } from "./StreamId.ts"
import { Version } from "./Version.ts"

/**
 * The receipt of a command: the events it wrote and where they are. The same command id returns the same receipt again, provided that it wrote
 * events; the store does not record a command that wrote none.
 *
 * @since 0.1.0
 * @category models
 */
export const Receipt = Schema.Struct({
  /** The name of the command, if it had one. */
  command: Schema.optionalKey(Schema.String),
  stream: StreamId,
  /**
   * The version of the last event. When the command wrote none, that of the stream as it was decided on; for a decision with `stream`, whose answer rests
   * on its models, that of the stream when it had decided, so that another append may have come between.
   */
  version: Version,
  /** The position of that event; when the command wrote none, of the last event on which the answer rests, also of its models; 0 without events. */
  position: Position,
  /** When the command wrote no events, the id of the event at that position; absent without events. */
  eventId: Schema.optionalKey(Schema.String),
  /** The events that the command wrote, in order. */
  events: Schema.Array(Schema.Struct({ id: Schema.String, type: Schema.String, version: Version, position: Position }))
})

/**
 * The decoded receipt. It is an interface so that the compiler's messages say `Receipt` and not all of its fields.
 *
 * @since 0.1.0
 * @category models
 */
export interface Receipt extends Schema.Schema.Type<typeof Receipt> {}

/**
 * Returns the receipt of events in one stream. Throws when there are none.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromEvents = (stream: StreamId, command: string | undefined, events: Receipt["events"]): Receipt => {
  const last = events[events.length - 1]
  if (last === undefined) throw new Error("Receipt.fromEvents: there are no events")
  const receipt = { stream, version: last.version, position: last.position, events }
  return command === undefined ? receipt : { command, ...receipt }
}
