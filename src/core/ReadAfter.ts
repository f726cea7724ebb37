/**
 * The position that a read waits for.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Position from "./Position.ts"

/**
 * The position that a projection must have reached before a read returns, and how long the read waits for it. Without a value, reads do not
 * wait.
 *
 * @since 0.1.0
 * @category references
 */
export const ReadAfter = Context.Reference<
  | {
    readonly position: Position.Position
    /**
     * The id of the event at the position. If it is known, the read fails with `LogDiverged` when the log does not have it, or does not have what
     * the projection has applied. That needs the `EventStore` in the context of the read or of the projection store's layer.
     */
    readonly eventId?: string | undefined
    readonly timeout: Duration.Duration
  }
  | undefined
>("evsrc/core/ReadAfter", { defaultValue: () => undefined })
