/**
 * The error of `EventBus`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A listener fell so far behind that the bus dropped events for it. The listener can continue by reading the log after the last position that
 * it has received.
 *
 * @since 0.1.0
 * @category errors
 */
export class ListenerTooSlow extends Schema.TaggedError<ListenerTooSlow>("evsrc/ListenerTooSlow")("ListenerTooSlow", {
  missed: Schema.Int
}) {
  override get message(): string {
    return `The listener fell behind the event bus by more than its capacity and has missed ${this.missed} events; read them from the `
      + `log, or raise the capacity of EventBus.layer`
  }
}
