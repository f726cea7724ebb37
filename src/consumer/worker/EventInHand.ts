/**
 * Lets the handler of an event end when its worker stops or gives the partition back, so that the next owner does not repeat its effect.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"

/**
 * The default of `WorkerOptions.stopTimeout`.
 *
 * @since 0.1.0
 * @category options
 */
export const defaultTimeout: Duration.Duration = Duration.seconds(3)

/**
 * How long an interrupted handler may take to end. Then its worker does not wait for it any longer, so that no handler keeps a partition for ever.
 *
 * @since 0.1.0
 * @category options
 */
export const interruptionTimeout: Duration.Duration = Duration.seconds(3)

/**
 * An event whose handler runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface InHand {
  readonly event: Pick<EncodedEvent, "position" | "type">
  /** When the handler began, in milliseconds of the epoch. */
  readonly since: number
}

/**
 * The event that a partition has in hand, if it has one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tracker {
  current: InHand | undefined
}

/**
 * Runs the handler of an event, and shows the event as in hand meanwhile.
 *
 * @since 0.1.0
 * @category combinators
 */
export const track = <A, E, R>(
  tracker: Tracker | undefined,
  event: InHand["event"],
  handle: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  tracker === undefined ? handle : Clock.clockWith((clock) => {
    const inHand = { event, since: clock.currentTimeMillisUnsafe() }
    tracker.current = inHand
    return Effect.ensuring(
      handle,
      Effect.sync(() => {
        if (tracker.current === inHand) tracker.current = undefined
      })
    )
  })

/**
 * Says which event of a partition is in hand, and for how long.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describe = (partition: number, { event: { position, type }, since }: InHand, now: number): string =>
  `the handler has had event ${position} (${type}) of partition ${partition} in hand for ${
    Duration.format(Duration.seconds(Math.floor((now - since) / 1000)))
  }`

/**
 * Says that a worker does not wait for the handler of an event any longer.
 *
 * @since 0.1.0
 * @category accessors
 */
export const abandoned = (
  partition: number,
  { position, type }: InHand["event"],
  where: "outside" | "inTransaction" = "outside"
): string =>
  `The handler of event ${position} (${type}) has not ended within ${Duration.format(interruptionTimeout)} after its `
  + `interruption; ${
    where === "inTransaction" ? "its transaction is rolled back, " : ""
  }partition ${partition} is given back, and its next owner handles the event again`

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

/** Returns how a fiber ends, unless it does not within the timeout. A race of effects would wait for its loser in an uninterruptible region. */
const endOf = <A, E>(
  fiber: Fiber.Fiber<A, E>,
  timeout: Duration.Duration
): Effect.Effect<Option.Option<Exit.Exit<A, E>>> =>
  Effect.callback((resume) => {
    // @effect-diagnostics-next-line globalTimersInEffect:off
    const timer = setTimeout(() => resume(Effect.succeedNone), Duration.toMillis(timeout))
    fiber.addObserver((exit) => {
      clearTimeout(timer)
      resume(Effect.succeed(Option.some(exit)))
    })
  })

/**
 * Runs a handler in an uninterruptible region, of which `restore` makes a part interruptible. After an interruption the handler has the timeout, as it
 * is at that moment, to end. Then it is interrupted too. A handler that does not end even so goes on by itself, and its event is handled again meanwhile.
 *
 * @since 0.1.0
 * @category combinators
 */
export const finish = Effect.fnUntraced(function*<A, E>(
  handle: Effect.Effect<A, E>,
  restore: <B>(effect: Effect.Effect<B>) => Effect.Effect<B>,
  timeout: () => Duration.Duration,
  onAbandoned: Effect.Effect<void> = Effect.void
): Effect.fn.Return<Finished<A, E>> {
  // The end of a child would be awaited.
  const fiber = yield* Effect.forkDetach(handle, { startImmediately: true })
  const awaited = yield* Effect.exit(restore(Fiber.await(fiber)))
  if (Exit.isSuccess(awaited)) return { exit: awaited.value, isStopping: false }
  const inTime = yield* endOf(fiber, timeout())
  if (Option.isNone(inTime)) {
    fiber.interruptUnsafe()
    if (Option.isNone(yield* endOf(fiber, interruptionTimeout))) yield* onAbandoned
  }
  return { exit: Option.getOrUndefined(inTime), isStopping: true }
})

/**
 * Runs a handler within a transaction, of which nothing remains after an interruption. The handler is interrupted at once; if it does not end, the
 * effect ends without it. The handler then goes on by itself, and its event is handled again meanwhile.
 *
 * @since 0.1.0
 * @category combinators
 */
export const endInTime = <A, E>(handle: Effect.Effect<A, E>, onAbandoned: Effect.Effect<void>): Effect.Effect<A, E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      // The end of a child would be awaited.
      const fiber = yield* Effect.forkDetach(handle, { startImmediately: true })
      const awaited = yield* Effect.exit(restore(Fiber.await(fiber)))
      if (Exit.isSuccess(awaited)) return yield* awaited.value
      fiber.interruptUnsafe()
      if (Option.isNone(yield* endOf(fiber, interruptionTimeout))) yield* onAbandoned
      return yield* Effect.failCause(awaited.cause)
    })
  )
