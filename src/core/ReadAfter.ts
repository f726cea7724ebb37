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
  { readonly position: Position.Position; readonly timeout: Duration.Duration } | undefined
>("evsrc/core/ReadAfter", { defaultValue: () => undefined })
