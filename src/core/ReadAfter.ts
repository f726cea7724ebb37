/**
 * The position that a read waits for.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Position from "./Position.ts"

/**
 * What a read waits for before it looks: that the read model has reached a position. Without a value it does not wait.
 *
 * @since 0.1.0
 * @category references
 */
export const ReadAfter = Context.Reference<
  { readonly position: Position.Position; readonly timeout: Duration.Duration } | undefined
>("evsrc/core/ReadAfter", { defaultValue: () => undefined })
