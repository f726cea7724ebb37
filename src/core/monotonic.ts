/**
 * Time by the monotonic clock. What bounds a wait is measured by it, because the wall clock may be set back or forward meanwhile.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/**
 * Returns the time in whole milliseconds since an arbitrary moment.
 *
 * @since 0.1.0
 * @category accessors
 */
export const monotonicMillisUnsafe = (clock: Clock.Clock): number =>
  Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)

/**
 * Returns the time in whole milliseconds since an arbitrary moment.
 *
 * @since 0.1.0
 * @category accessors
 */
export const monotonicMillis: Effect.Effect<number> = Effect.map(Clock.Clock, monotonicMillisUnsafe)
