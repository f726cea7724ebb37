/**
 * The errors of an app itself.
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
  /** Whether the call had begun. If so, its outcome is unknown. */
  wasInFlight: Schema.Boolean
}) {
  override get message(): string {
    return this.wasInFlight
      ? "The app was closed while this call was in flight, so its outcome is unknown. To find out, dispatch the command again under the same "
        + "`commandId`; without one, read the stream"
      : "The app is closed, so this call did nothing. Start another app by `Evsrc.start`, and make all calls before its `close`"
  }
}

/**
 * The build or the release of the layer of an app took longer than its timeout.
 *
 * @since 0.1.0
 * @category errors
 */
export class LayerTimeout extends Schema.TaggedError<LayerTimeout>("evsrc/LayerTimeout")("LayerTimeout", {
  phase: Schema.Literals(["build", "release"]),
  /** The bound, such as `30s`. */
  timeout: Schema.String
}) {
  override get message(): string {
    return this.phase === "build"
      ? `The layer was not built within ${this.timeout}, so evsrc interrupted the build and released what it had built. Find the service that waits `
        + "while it is acquired, give that wait a bound, or pass a longer `timeout` to `Evsrc.start`"
      : `The layer was not released within ${this.timeout}; the release continues. The process can exit: all calls and subscriptions have ended. Find `
        + "the finalizer that waits, give that wait a bound, or pass a longer `releaseTimeout` to `close`"
  }
}
