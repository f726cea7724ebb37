/**
 * Works on the instances of a list for a timer: each is claimed, so that no other process works on it, and each by itself, so that one that another session
 * has locked holds up no other.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberMap from "effect/FiberMap"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as EventInHand from "../consumer/worker/EventInHand.ts"
import type { ProjectionBehind } from "../core/errors.ts"
import * as LockWait from "../core/lockWait.ts"
import { monotonicMillis } from "../core/monotonic.ts"
import * as OutageLog from "../core/telemetry/OutageLog.ts"
import type { ListOptions } from "../projection/ProjectionReader.ts"
import type { AppendError } from "./InstanceAppends.ts"
import type { Instance, Instances } from "./ProcessInstances.ts"
import type { Timer } from "./ProcessTimer.ts"

/**
 * An error of a timer.
 *
 * @since 0.1.0
 * @category errors
 */
export type TimerError = AppendError | ProjectionBehind

/**
 * The pause after the first failure.
 *
 * @since 0.1.0
 * @category constants
 */
export const minPause = Duration.millis(200)

const maxPause = Duration.seconds(60)

/** The number of instances that are read, and claimed, at a time. */
const pageSize = 200

/** How long a page waits for an instance. Then it goes on, as the work on the instance does. */
const maxWait = Duration.seconds(1)

/**
 * The instances that a timer works on, by key.
 *
 * @since 0.1.0
 * @category models
 */
export type Running = FiberMap.FiberMap<string, void, TimerError>

/**
 * Returns an empty set of running instances. When the scope closes, it interrupts the instances that were added. A deferred step may run a handler that does
 * not end then: the scope waits for it no longer than a worker does. The step takes effect once, even if another program carries it out meanwhile.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeRunning: Effect.Effect<Running, never, Scope.Scope> = Effect.gen(function*() {
  const scope = yield* Scope.make()
  yield* Effect.addFinalizer(() =>
    Effect.flatMap(
      Effect.forkDetach(Scope.close(scope, Exit.void), { startImmediately: true }),
      (closing) =>
        Effect.raceFirst(
          Effect.interruptible(Fiber.await(closing)),
          Effect.andThen(EventInHand.elapsed(EventInHand.interruptionTimeout), logGoesOn)
        )
    )
  )
  return yield* Scope.provide(FiberMap.make<string, void, TimerError>(), scope)
})

const logGoesOn = Effect.logWarning(
  `The deferred steps of an instance have not ended within ${
    Duration.format(EventInHand.interruptionTimeout)
  } after their interruption, and go on by themselves; another program carries them out meanwhile`
)

/**
 * Attempts at instances that have not succeeded.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attempts {
  /** The instances, each with the time of the next attempt by the monotonic clock, in milliseconds. */
  readonly failed: Map<string, { readonly pause: Duration.Duration; readonly retryAt: number }>
  readonly running: Running
  readonly succeeded: (key: string) => Effect.Effect<void>
  readonly reportFailure: (key: string, cause: Cause.Cause<TimerError>) => Effect.Effect<void>
}

/**
 * Returns attempts, none of which has failed. `failure` returns the message of one that has.
 *
 * @since 0.1.0
 * @category constructors
 */
export const attemptsOf = (
  what: string,
  failure: (key: string) => string,
  running: Running,
  outages: OutageLog.OutageLog
): Attempts => {
  const sourceOf = (key: string) => `${what} ${key}`
  return {
    failed: new Map(),
    running,
    succeeded: (key) => outages.succeeded(sourceOf(key)),
    reportFailure: (key, cause) =>
      outages.failed({
        source: sourceOf(key),
        kind: sourceOf(key),
        message: OutageLog.withReason(failure(key), cause),
        cause,
        isStuck: true
      })
  }
}

/**
 * Works on an instance. Returns false if this release does not understand it.
 *
 * @since 0.1.0
 * @category models
 */
export type Work = (one: Instance) => Effect.Effect<boolean, TimerError>

/**
 * Returns those of a page that it is time to work on; `undefined` if it is not yet time for any.
 *
 * @since 0.1.0
 * @category models
 */
export type Ready = (page: ReadonlyArray<Instance>) => Effect.Effect<ReadonlyArray<Instance> | undefined, TimerError>

/**
 * Works on all instances of a list. Returns false if it was not yet time for some. Work that takes long goes on after it has returned.
 *
 * @since 0.1.0
 * @category combinators
 */
export const workOn = Effect.fnUntraced(function*(
  timer: Timer,
  query: ListOptions<Instances>,
  attempts: Attempts,
  ready: Ready,
  work: Work
): Effect.fn.Return<boolean, TimerError> {
  const gone = new Set(attempts.failed.keys())
  let cursor: string | undefined
  do {
    const page = yield* timer.store.list(timer.projection, {
      ...query,
      limit: pageSize,
      ...(cursor === undefined ? {} : { after: cursor })
    })
    for (const { id } of page.items) gone.delete(id)
    const instances = yield* ready(page.items)
    if (instances === undefined) return false
    yield* workOnPage(timer, instances, attempts, work)
    cursor = Option.getOrUndefined(page.next)
  } while (cursor !== undefined)
  // Another process has done it, or an operator has abandoned them.
  for (const key of gone) if (attempts.failed.delete(key)) yield* attempts.succeeded(key)
  return true
})

/** Works on those instances of a page that nothing else works on, and that have not just failed. */
const workOnPage = Effect.fnUntraced(function*(
  timer: Timer,
  page: ReadonlyArray<Instance>,
  attempts: Attempts,
  work: Work
): Effect.fn.Return<void, TimerError> {
  const { definition: { name: group }, driver, owner, settings: { claim, concurrency } } = timer
  const keys = yield* startable(timer, page, attempts)
  if (keys.length === 0) return
  const claimed = new Set(yield* driver.claimTimers({ group, keys, owner, duration: claim }))
  const release = (keys: ReadonlyArray<string>) =>
    keys.length === 0 ? Effect.void : Effect.ignore(driver.releaseTimers({ group, keys, owner }))
  const working = new Set<string>()
  let isOver = false
  const start = Effect.fnUntraced(function*(one: Instance): Effect.fn.Return<void, TimerError> {
    const { id: key } = one
    const hasFailed = attempts.failed.has(key)
    // Work that goes on after the page releases its own claim.
    const ended = Effect.suspend(() => {
      working.delete(key)
      return isOver ? release([key]) : Effect.void
    })
    working.add(key)
    const fiber = yield* FiberMap.run(
      attempts.running,
      key,
      Effect.ensuring(attempt(one, attempts, work, () => isOver), ended)
    )
    if (!hasFailed) yield* Effect.timeoutOption(Fiber.join(fiber), maxWait)
  })
  yield* Effect.forEach(page.filter(({ id }) => claimed.has(id)), start, { concurrency, discard: true }).pipe(
    Effect.ensuring(Effect.suspend(() => {
      isOver = true
      return release(Array.from(claimed).filter((key) => !working.has(key)))
    }))
  )
})

/** Returns the keys of those that may be started. Of those that have failed before, no more run at a time than the concurrency. */
const startable = ({ settings: { concurrency } }: Timer, page: ReadonlyArray<Instance>, attempts: Attempts) =>
  Effect.gen(function*() {
    const millis = yield* monotonicMillis
    let free = concurrency - (yield* FiberMap.size(attempts.running))
    return page.map(({ id }) => id).filter((key) => {
      if (FiberMap.hasUnsafe(attempts.running, key)) return false
      const before = attempts.failed.get(key)
      return before === undefined || (before.retryAt <= millis && free-- > 0)
    })
  })

/** Works on an instance. Its failure does not stop the others, and it is tried again later, as one is that this release does not understand. */
const attempt = (
  one: Instance,
  attempts: Attempts,
  work: Work,
  isOver: () => boolean
): Effect.Effect<void, TimerError> => {
  const key = one.id
  const later = Effect.map(monotonicMillis, (millis) => {
    const last = attempts.failed.get(key)?.pause
    const pause = last === undefined ? minPause : Duration.min(Duration.times(last, 2), maxPause)
    attempts.failed.set(key, { pause, retryAt: millis + Duration.toMillis(pause) })
  })
  return Effect.matchCauseEffect(work(one), {
    onSuccess: (isUnderstood) =>
      isUnderstood ? attempts.failed.delete(key) ? attempts.succeeded(key) : Effect.void : later,
    onFailure: (cause) => {
      const error = Cause.findErrorOption(cause)
      if (Cause.hasInterrupts(cause)) return Effect.failCause(cause)
      // The next pass fails, too, if it goes on.
      if (Option.exists(error, isOfStore)) return isOver() ? later : Effect.failCause(cause)
      return Effect.andThen(later, attempts.reportFailure(key, cause))
    }
  })
}

/** Returns whether an error concerns all instances. One whose stream another session has locked does not stop the others. */
const isOfStore = (error: TimerError): boolean =>
  "isRetryable" in error && error.isRetryable && !LockWait.isOfKey(error)
