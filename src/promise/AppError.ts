/**
 * The error of a call to an app that is closed.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The app is closed. A call that begins after `close` does nothing. A call that was in flight, and did not end within the timeout of `close`, was
 * interrupted.
 *
 * @since 0.1.0
 * @category errors
 */
export class AppClosed extends Schema.TaggedError<AppClosed>("evsrc/AppClosed")("AppClosed", {
  /** Whether the call had begun. Then its outcome is unknown. */
  hadBegun: Schema.Boolean
}) {
  override get message(): string {
    return this.hadBegun
      ? "The app was closed while this call was in flight, so its outcome is unknown. To find out, dispatch the command again under the same "
        + "`commandId`; without one, read the stream"
      : "The app is closed, so this call did nothing. Start another app by `Evsrc.start`, and make all calls before its `close`"
  }
}
