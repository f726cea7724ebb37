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
import type { HeldInHand } from "../LeaseDriver.ts"

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
 * An event whose handler runs, or handlers that wait.
 *
 * @since 0.1.0
 * @category models
 */
export interface InHand {
  /** The event; undefined while handlers wait for a connection for their transaction. */
  readonly event: Pick<EncodedEvent, "position" | "type"> | undefined
  /** When the handler, or the wait, began, in milliseconds of the epoch. */
  readonly since: number
}

/**
 * What a partition has in hand.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tracker {
  /** What it has had in hand the longest, if it has anything. */
  readonly current: InHand | undefined
  readonly add: (inHand: InHand) => void
  readonly remove: (inHand: InHand) => void
}

/**
 * Returns a tracker of a partition that has nothing in hand.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeTracker = (): Tracker => {
  const held = new Set<InHand>()
  return {
    get current() {
      return held.values().next().value
    },
    add: (inHand) => void held.add(inHand),
    remove: (inHand) => void held.delete(inHand)
  }
}

/**
 * Runs the handler of an event, and shows the event as in hand meanwhile.
 *
 * @since 0.1.0
 * @category combinators
 */
export const track = <A, E, R>(
  tracker: Tracker | undefined,
  event: Pick<EncodedEvent, "position" | "type">,
  handle: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => show(tracker, event, () => handle)

const show = <A, E, R>(
  tracker: Tracker | undefined,
  event: InHand["event"],
  run: (hide: Effect.Effect<void>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  tracker === undefined ? run(Effect.void) : Clock.clockWith((clock) => {
    const inHand = { event, since: clock.currentTimeMillisUnsafe() }
    tracker.add(inHand)
    const hide = Effect.sync(() => tracker.remove(inHand))
    return Effect.ensuring(run(hide), hide)
  })

/**
 * Runs a transaction of handlers, and shows that they wait for a connection until it has begun.
 *
 * @since 0.1.0
 * @category combinators
 */
export const awaitTransaction = <A, E, R>(
  tracker: Tracker | undefined,
  /** Returns the transaction, which runs `hasBegun` first. */
  transaction: (hasBegun: Effect.Effect<void>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => show(tracker, undefined, transaction)

/**
 * Returns what the partitions of a worker have in hand, for its heartbeat.
 *
 * @since 0.1.0
 * @category accessors
 */
export const heldBy = (
  partitions: Iterable<readonly [partition: number, { readonly inHand: Tracker }]>,
  now: number
): ReadonlyArray<HeldInHand> =>
  Array.from(partitions).flatMap(([partition, { inHand: { current } }]) =>
    current === undefined ? [] : [{ partition, event: current.event, millis: now - current.since }]
  )

/**
 * Returns the text that names the event in hand of a partition, and for how long it has been so.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describe = (
  partition: number,
  { event: { position, type }, since }: InHand & { readonly event: object },
  now: number
): string =>
  `the handler has had event ${position} (${type}) of partition ${partition} in hand for ${timeSince(since, now)}`

const timeSince = (since: number, now: number): string =>
  Duration.format(Duration.seconds(Math.floor((now - since) / 1000)))

/**
 * Returns the text for handlers that wait for a connection, with the time for which the first of them has waited.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describeWait = (partitions: ReadonlyArray<number>, since: number, now: number): string =>
  `the handlers of ${
    partitions.length === 1 ? `partition ${partitions[0]}` : `${partitions.length} partitions`
  } wait for a connection for their `
  + `transaction, the first for ${
    timeSince(since, now)
  }; transactions of handlers use at most half of the client's pool`

/**
 * Returns the text for what partitions have had in hand for longer than a time: the event with the longest time, and the handlers that wait for a
 * connection. Returns undefined if there is none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describeLongest = (
  partitions: Iterable<readonly [partition: number, { readonly inHand: Tracker }]>,
  longerThan: Duration.Duration,
  now: number
): string | undefined => {
  const held = Array.from(partitions)
    .flatMap(([partition, { inHand: { current } }]) =>
      current === undefined || now - current.since <= Duration.toMillis(longerThan) ? [] : [{ partition, current }]
    )
    .toSorted((a, b) => a.current.since - b.current.since)
  const [longest] = held.flatMap(({ current: { event, since }, partition }) =>
    event === undefined ? [] : [describe(partition, { event, since }, now)]
  )
  const waiting = held.filter(({ current }) => current.event === undefined)
  const waits = waiting[0] && describeWait(waiting.map(({ partition }) => partition), waiting[0].current.since, now)
  const parts = [longest, waits].filter((part) => part !== undefined)
  return parts.length === 0 ? undefined : parts.join("; ")
}

/**
 * Returns the log message of a worker that stops, and does not wait for the handler of an event any longer.
 *
 * @since 0.1.0
 * @category accessors
 */
export const abandoned = (
  partition: number,
  event: Pick<EncodedEvent, "position" | "type">,
  where: "outside" | "inTransaction" = "outside"
): string =>
  `${notEnded(event)}; ${
    where === "inTransaction" ? "its transaction is rolled back, " : ""
  }partition ${partition} is given back, and its next owner handles the event again`

/**
 * Returns the log message for a handler that was interrupted because it took too long, and goes on.
 *
 * @since 0.1.0
 * @category accessors
 */
export const goesOn = (event: Pick<EncodedEvent, "position" | "type">): string =>
  `${notEnded(event)}; its transaction is rolled back, and its further statements fail`

const notEnded = ({ position, type }: Pick<EncodedEvent, "position" | "type">): string =>
  `The handler of event ${position} (${type}) has not ended within ${
    Duration.format(interruptionTimeout)
  } after its interruption`

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
 * When a handler has taken too long, and the error with which it then fails.
 *
 * @since 0.1.0
 * @category options
 */
export interface HandlerLimit<out E> {
  readonly timeout: Duration.Duration
  readonly error: () => E
  readonly onAbandoned: Effect.Effect<void>
}

/**
 * Runs a handler within a transaction, of which nothing remains after an interruption. The handler is interrupted at once, and also when it has taken
 * too long; if it does not end, the effect ends without it. The handler then goes on by itself, and its event is handled again meanwhile.
 *
 * @since 0.1.0
 * @category combinators
 */
export const endInTime = <A, E>(
  handle: Effect.Effect<A, E>,
  onAbandoned: Effect.Effect<void>,
  limit: HandlerLimit<E>
): Effect.Effect<A, E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      // The end of a child would be awaited.
      const fiber = yield* Effect.forkDetach(handle, { startImmediately: true })
      const awaited = yield* Effect.exit(restore(Effect.timeoutOption(Fiber.await(fiber), limit.timeout)))
      if (Exit.isSuccess(awaited) && Option.isSome(awaited.value)) return yield* awaited.value.value
      fiber.interruptUnsafe()
      const ended = yield* endOf(fiber, interruptionTimeout)
      if (Exit.isFailure(awaited)) {
        if (Option.isNone(ended)) yield* onAbandoned
        return yield* Effect.failCause(awaited.cause)
      }
      if (Option.isNone(ended)) yield* limit.onAbandoned
      // It may have been in its last, uninterruptible step.
      else if (Exit.isSuccess(ended.value)) return ended.value.value
      return yield* Effect.fail(limit.error())
    })
  )
