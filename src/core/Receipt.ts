/**
 * What a command leaves behind.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Position } from "./Position.ts"
import { StreamId } from "./StreamId.ts"
import { Version } from "./Version.ts"

/**
 * The answer to a command.
 *
 * - `stream`, `version`, `position`: where its last event is
 * - `events`: the events written, in order; empty when the command decided that nothing happens, and then `version` and
 *   `position` are those of the stream's last event as it was decided on (0 for an empty stream)
 *
 * - `command`: the name of the command, when it had one
 *
 * The same command id answers the same receipt again, if it wrote events; a command that wrote none is not remembered.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Receipt = Schema.Struct({
  command: Schema.optionalKey(Schema.String),
  stream: StreamId,
  version: Version,
  position: Position,
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
 * The receipt of events just written, or found, in one stream. There must be at least one.
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
