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
    return `Key "${this.key}" of consumer "${this.consumer}" is not parked${at}; Parking.list returns what is`
  }
}

/**
 * No worker of the consumer has carried out the request within the timeout. The request stays queued until a worker does, or until another
 * request for the key replaces it.
 *
 * @since 0.1.0
 * @category errors
 */
export class StillParked extends Schema.TaggedError<StillParked>("evsrc/StillParked")("StillParked", {
  consumer: Schema.String,
  key: Schema.String,
  position: Position.Position,
  action: Schema.Literals(["retry", "skip"])
}) {
  override get message(): string {
    return `No worker has carried out the ${this.action} of key "${this.key}" of consumer "${this.consumer}", parked at position `
      + `${this.position}; the request stays queued: start a worker of the consumer`
  }
}
