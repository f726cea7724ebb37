/**
 * The errors of `Parking`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Position from "../core/Position.ts"

/**
 * The key is not parked, or no longer at the event that the caller named. Nothing was changed.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotParked extends Schema.TaggedError<NotParked>("evsrc/NotParked")("NotParked", {
  consumer: Schema.String,
  key: Schema.String,
  position: Schema.optionalKey(Position.Position)
}) {
  override get message(): string {
    const at = this.position === undefined ? "" : ` at position ${this.position}`
    return `Key "${this.key}" of consumer "${this.consumer}" is not parked${at}, or a worker frees it already; Parking.list returns what is`
  }
}

/**
 * The workers of the consumer have not carried out a request within the timeout. It stays queued until a worker does, another request for the key
 * takes its place, or `Parking.withdraw` withdraws it.
 *
 * @since 0.1.0
 * @category errors
 */
export class StillParked extends Schema.TaggedError<StillParked>("evsrc/StillParked")("StillParked", {
  consumer: Schema.String,
  action: Schema.Literals(["retry", "skip"]),
  /** The number of keys for which it waits. */
  keys: Schema.Int,
  /** The key and the position of its event, of a request for one key. */
  key: Schema.optionalKey(Schema.String),
  position: Schema.optionalKey(Position.Position)
}) {
  override get message(): string {
    const { action, consumer, key, keys, position } = this
    const what = key === undefined ? `${keys} keys` : `key "${key}"`
    const at = position === undefined ? "" : `, parked at position ${position},`
    return `The workers have not finished the ${action} of ${what} of consumer "${consumer}"${at} within the timeout; the request stays queued: `
      + "start a worker of the consumer if none runs; Parking.count returns how many keys wait"
  }
}
