/**
 * Lets the handler of an event end when its worker stops or gives the partition back, so that the next owner does not repeat its effect.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"

/**
 * The default of `WorkerOptions.stopTimeout`.
 *
 * @since 0.1.0
 * @category options
 */
export const defaultTimeout: Duration.Duration = Duration.seconds(3)

/**
 * How the handler of an event ended, and whether its worker was interrupted meanwhile. Without an exit it did not end in time.
 *
 * @since 0.1.0
 * @category models
 */
export interface Finished<out A, out E> {
  readonly exit: Exit.Exit<A, E> | undefined
  readonly isStopping: boolean
}

/**
 * Waits by the clock of the computer: a handler must also be given up where a test stops the clock of the program.
 *
 * @since 0.1.0
 * @category combinators
 */
export const elapsed = (timeout: Duration.Duration): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    // @effect-diagnostics-next-line globalTimersInEffect:off
    const timer = setTimeout(() => resume(Effect.void), Duration.toMillis(timeout))
    return Effect.sync(() => clearTimeout(timer))
  })

/**
 * Runs a handler in an uninterruptible region, of which `restore` makes a part interruptible. After an interruption the handler has the timeout, as it
 * is at that moment, to end. Then it is interrupted too.
 *
 * @since 0.1.0
 * @category combinators
 */
export const finish = Effect.fnUntraced(function*<A, E>(
  handle: Effect.Effect<A, E>,
  restore: <B>(effect: Effect.Effect<B>) => Effect.Effect<B>,
  timeout: () => Duration.Duration
): Effect.fn.Return<Finished<A, E>> {
  const fiber = yield* Effect.forkChild(handle, { startImmediately: true })
  const awaited = yield* Effect.exit(restore(Fiber.await(fiber)))
  if (Exit.isSuccess(awaited)) return { exit: awaited.value, isStopping: false }
  const inTime = yield* Effect.raceFirst(
    Effect.asSome(Fiber.await(fiber)),
    Effect.as(elapsed(timeout()), Option.none())
  )
  if (Option.isNone(inTime)) yield* Fiber.interrupt(fiber)
  return { exit: Option.getOrUndefined(inTime), isStopping: true }
})
