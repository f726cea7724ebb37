/**
 * Handles the deliveries of a batch: one after the other in the order of the log, or those of several keys at a time, each key in its order.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import type { EventStoreError } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type * as ConsumerKey from "../ConsumerKey.ts"
import type { Failure } from "./Failure.ts"
import type * as VainWaits from "./VainWaits.ts"
import { placeOf } from "./VainWaits.ts"

/**
 * The result of handling an event. The event is untried when the worker stops before its handler has ended, or before the next attempt.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handled {
  readonly failed: Pick<Failure, "error" | "attempts"> | "untried" | undefined
  readonly isStopping: boolean
}

/**
 * Makes a part of an uninterruptible effect interruptible.
 *
 * @since 0.1.0
 * @category models
 */
export type Restore = <B>(effect: Effect.Effect<B>) => Effect.Effect<B>

/**
 * Handles an event until it succeeds or its retries end; with `isOnce`, it does not wait for a lock again. After an interruption it has `timeLeft` to end.
 *
 * @since 0.1.0
 * @category models
 */
export type Handle = (
  event: EncodedEvent,
  isOnce: boolean,
  timeLeft?: () => Duration.Duration
) => Effect.Effect<Handled, EventStoreError>

/**
 * What was handled of a batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandledBatch {
  /** In the order of the log. */
  readonly applied: ReadonlyArray<ConsumerKey.Delivery>
  readonly failures: Array<Failure>
  readonly untriedFrom: Position.Position | undefined
  /** The position of the event at which the consumer stops. Later ones may have been handled meanwhile. */
  readonly stoppedAt: Position.Position | undefined
  /** Whether an event of another key was handled while, or after, a lock was not free. */
  readonly goesOn: boolean
}

/** How a batch is handled. */
interface Options {
  /** The maximum number of keys whose events are handled at a time. With 1, the order is that of the log. */
  readonly concurrency: number
  /** Returns whether the consumer stops at an event with this error. */
  readonly stops: (error: EventStoreError) => boolean
  readonly isLocked: (failure: Failure) => boolean
  /** Returns the function that handles an event in an uninterruptible region. */
  readonly handle: (restore: Restore) => Handle
  /** The places of events that were handled before. `handleAll` adds those of the events that it handles. */
  readonly done: Set<string>
  readonly waits: VainWaits.VainWaits
  /** How long keys that are behind others may catch up with them after an interruption, so that no event is handled again. */
  readonly stopTimeout: Duration.Duration
}

/** What the keys of a batch share while it is handled. */
interface Progress {
  readonly applied: Set<ConsumerKey.Delivery>
  readonly failures: Array<Failure>
  readonly parked: Set<string>
  /** The number of events that this call has handled. */
  handled: number
  goesOn: boolean
  /** Whether the worker stops. */
  isStopping: boolean
  /** The highest position of an event that was begun. No event after it is begun while the worker stops. */
  begun: Position.Position | undefined
  /** How long the keys have to catch up while the worker stops. */
  timeLeft: (() => Duration.Duration) | undefined
  untriedFrom: Position.Position | undefined
  stoppedAt: Position.Position | undefined
  /** Why no further event is tried: the store failed, a handler was interrupted from within, or there was a defect. */
  failed: Cause.Cause<EventStoreError> | undefined
}

/**
 * Handles deliveries, those of each key in order, until the worker stops or the consumer stops at one. Call it in an uninterruptible region, given by its
 * `restore`. Fails when the store does, as soon as the events in hand are handled.
 *
 * @since 0.1.0
 * @category combinators
 */
export const handleAll = Effect.fnUntraced(function*(
  deliveries: ReadonlyArray<ConsumerKey.Delivery>,
  restore: Restore,
  options: Options
): Effect.fn.Return<HandledBatch, EventStoreError> {
  const progress: Progress = {
    applied: new Set(),
    failures: [],
    parked: new Set(),
    handled: 0,
    goesOn: false,
    isStopping: false,
    begun: undefined,
    timeLeft: undefined,
    untriedFrom: undefined,
    stoppedAt: undefined,
    failed: undefined
  }
  const keys = options.concurrency === 1
    ? [deliveries]
    : Array.from(Map.groupBy(deliveries, ({ key }) => key).values())
  yield* keys.length > 1
    ? inLanes(keys, restore, options, progress)
    : handleKey(keys[0] ?? [], options.handle(restore), options, progress)
  const { applied, failed, failures, goesOn, stoppedAt, untriedFrom } = progress
  if (failed !== undefined) return yield* Effect.failCause(failed)
  return { applied: deliveries.filter((delivery) => applied.has(delivery)), failures, goesOn, stoppedAt, untriedFrom }
})

/** Handles several keys at a time. An interruption reaches the handlers of all of them. */
const inLanes = Effect.fnUntraced(function*(
  keys: ReadonlyArray<ReadonlyArray<ConsumerKey.Delivery>>,
  restore: Restore,
  options: Options,
  progress: Progress
): Effect.fn.Return<void> {
  const rest = keys.values()
  const lane = Effect.uninterruptibleMask((restore) => {
    const handle = options.handle(restore)
    return Effect.gen(function*() {
      for (const deliveries of rest) {
        const exit = yield* Effect.exit(handleKey(deliveries, handle, options, progress))
        if (Exit.isFailure(exit)) progress.failed ??= exit.cause
      }
    })
  })
  const fibers: Array<Fiber.Fiber<void>> = []
  for (let number = 0; number < Math.min(options.concurrency, keys.length); number++) {
    fibers.push(yield* Effect.forkDetach(lane, { startImmediately: true }))
  }
  const ended = Fiber.awaitAll(fibers)
  if (Exit.isSuccess(yield* Effect.exit(restore(ended)))) return
  progress.isStopping = true
  const end = performance.now() + Duration.toMillis(options.stopTimeout)
  progress.timeLeft = () => Duration.millis(Math.max(0, end - performance.now()))
  for (const fiber of fibers) fiber.interruptUnsafe()
  yield* ended
})

const handledBefore: Handled = { failed: undefined, isStopping: false }

/** Handles the deliveries of a key, or those of all keys, in order. */
const handleKey = Effect.fnUntraced(function*(
  deliveries: ReadonlyArray<ConsumerKey.Delivery>,
  handle: Handle,
  { done, isLocked, stops, waits }: Options,
  progress: Progress
): Effect.fn.Return<void> {
  for (const delivery of deliveries) {
    const { event, key } = delivery
    if (progress.failed !== undefined) return
    if (progress.stoppedAt !== undefined && event.position >= progress.stoppedAt) return
    if (progress.isStopping && !isBehind(progress, event)) return untried(progress, event)
    if (progress.parked.has(key)) continue
    const isBefore = done.has(placeOf(event))
    const isOnce = !progress.goesOn && progress.failures.some(isLocked)
    const vain = isOnce ? waits.get(event) : undefined
    const { handled, timeLeft } = progress
    progress.begun = Position.max(progress.begun ?? event.position, event.position)
    const result = isBefore
      ? Result.succeed(handledBefore)
      : vain !== undefined
      ? Result.succeed<Handled>({ failed: vain, isStopping: false })
      : yield* Effect.result(handle(event, isOnce, timeLeft))
    if (Result.isFailure(result)) {
      progress.failed ??= Cause.fail(result.failure)
      return
    }
    const { failed, isStopping } = result.success
    if (failed === "untried") return untried(progress, event)
    if (failed === undefined) {
      done.add(placeOf(event))
      progress.applied.add(delivery)
      progress.handled += isBefore ? 0 : 1
      progress.goesOn ||= !isBefore && progress.failures.some(isLocked)
    } else {
      const failure = { event, key, ...failed }
      progress.failures.push(failure)
      progress.goesOn ||= isLocked(failure) && progress.handled > handled
      if (stops(failed.error)) {
        progress.stoppedAt = least(progress.stoppedAt, event.position)
        return
      }
      progress.parked.add(key)
    }
    if (isStopping) progress.isStopping = true
  }
})

/** Returns whether an event was begun under another key, or a later one was, and there is time left to handle it. */
const isBehind = ({ begun, timeLeft }: Progress, { position }: EncodedEvent): boolean =>
  begun !== undefined && position <= begun && (timeLeft === undefined || Duration.toMillis(timeLeft()) > 0)

const untried = (progress: Progress, { position }: EncodedEvent): void => {
  progress.untriedFrom = least(progress.untriedFrom, position)
}

/**
 * Returns the lower of two positions, the first of which may be missing.
 *
 * @since 0.1.0
 * @category combinators
 */
export const least = (a: Position.Position | undefined, b: Position.Position): Position.Position =>
  a === undefined || b < a ? b : a
