/** Counts how often the test clock wakes a fiber. */
import { type Duration, Effect } from "effect"
import { TestClock } from "effect/testing"

/**
 * Counts the sleeps that end from now on. Beyond the limit a sleep does not end, so that a test of a program that polls fails, instead of lasting for as long as
 * the program polls.
 */
export const countWakeUps = (limit: number): Effect.Effect<() => number> =>
  TestClock.testClockWith((clock) =>
    Effect.sync(() => {
      let count = 0
      const { sleep } = clock
      Object.assign(clock, {
        sleep: (duration: Duration.Duration) =>
          Effect.andThen(sleep(duration), Effect.suspend(() => ++count > limit ? Effect.never : Effect.void))
      })
      return () => count
    })
  )

/** Provides a test clock that waits for a woken fiber also on a busy machine. By default it goes on after a second. */
export const provideClock: <A, E, R>(
  effect: Effect.Effect<A, E, R>
) => Effect.Effect<A, E, Exclude<R, TestClock.TestClock>> = Effect.provide(
  TestClock.layer({ warningDelay: "1 minute" })
)
