/**
 * Reads that can be left out: while the store does not respond, one of them tries at intervals, and the others do not wait for it.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { EventStoreError } from "../core/errors.ts"
import { monotonicMillisUnsafe } from "../core/monotonic.ts"

/** How long reads are left out after one that the store did not answer, in milliseconds. */
const pause = 5_000

/**
 * Returns whether the store did not answer, so that other reads and writes fail like this one.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOutage = (cause: Cause.Cause<EventStoreError>): boolean =>
  Option.exists(Cause.findErrorOption(cause), ({ isRetryable }) => isRetryable)

/**
 * Returns a function that runs a read. It returns none at once while reads are left out.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (clock: Clock.Clock) => {
  let nextAt: number | undefined
  return <A>(read: Effect.Effect<A, EventStoreError>): Effect.Effect<Option.Option<A>, EventStoreError> =>
    Effect.suspend(() => {
      if (nextAt !== undefined) {
        const now = monotonicMillisUnsafe(clock)
        if (now < nextAt) return Effect.succeedNone
        // The others do not wait for this one.
        nextAt = now + pause
      }
      return Effect.onExit(Effect.asSome(read), (exit) =>
        Effect.sync(() => {
          if (Exit.isSuccess(exit)) nextAt = undefined
          else if (isOutage(exit.cause)) nextAt = monotonicMillisUnsafe(clock) + pause
        }))
    })
}
