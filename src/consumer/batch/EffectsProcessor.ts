/**
 * The batch processor of handlers with effects outside the database: each event is handled at least once.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import { type EventStoreError, storeError, StoreUnavailable } from "../../core/errors.ts"
import * as LockWait from "../../core/lockWait.ts"
import type * as Event from "../../event/Event.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import * as ConsumerKey from "../ConsumerKey.ts"
import * as Retries from "../Retries.ts"
import * as EventInHand from "../worker/EventInHand.ts"
import type * as PartitionLease from "../worker/PartitionLease.ts"
import type { BatchProcessor, LeasedPartition, UpToDate } from "./BatchProcessor.ts"
import { type Handle, handleAll, type Handled, least, type Restore } from "./DeliveryHandling.ts"
import { type Handler, handleSingle, type HandlingConsumer } from "./EventHandling.ts"
import { type Failure, isLockedIn, isOfTheStore, othersWait, stopsAt } from "./Failure.ts"
import * as VainWaits from "./VainWaits.ts"
import { placeOf } from "./VainWaits.ts"

/**
 * A consumer whose handlers have effects outside the database.
 *
 * @since 0.1.0
 * @category models
 */
export interface EffectsConsumer<out Name extends string = string, out Events extends Event.Any = Event.Any>
  extends HandlingConsumer<Name, Events>
{
  /** The maximum number of keys of a partition whose events are handled at a time. With 1, all events of the partition are handled in order. */
  readonly concurrency: number
}

/**
 * Returns a processor that handles each event outside any transaction, at least once. When the checkpoint cannot be moved, this process does
 * not handle the same events again under the same epoch.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  consumer: EffectsConsumer,
  handle: Handler,
  policy: Retries.RetryPolicy
): BatchProcessor => {
  const handledOf = makeHandled()
  let waitsOf: ReturnType<typeof VainWaits.make> | undefined
  return {
    consumer,
    grows: false,
    keysOf: (event) => ConsumerKey.keysOf(consumer, event),
    apply: (leased, events, commit) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const done = handledOf(leased)
          const waits = (waitsOf ??= VainWaits.make(yield* Clock.Clock))(leased)
          const isLocked = isLockedIn(consumer, leased)
          const handleOne = handleSingle(consumer, handle, events, upToDateUnderLease(leased))
          const handleIn = (restore: Restore) => retrying(handleOne, policy, leased, restore)
          const { applied, failures, goesOn, stoppedAt, ...handled } = yield* handleAll(
            ConsumerKey.deliveriesOf(events),
            restore,
            {
              concurrency: consumer.concurrency,
              stops: (error) => leased.parksAll !== true && stopsAt(consumer, error),
              isLocked,
              handle: handleIn,
              done,
              waits,
              stopTimeout: leased.stopTimeout ?? EventInHand.defaultTimeout
            }
          )
          const locked = failures.filter(isLocked)
          // The lock may have become free since, and that may be why the others go on.
          const freed = goesOn
            ? yield* tryAgain(locked, policy.retryTimeout, handleIn(restore), { done, failures })
            : locked.map(({ event }) => event)
          const untriedFrom = freed.reduce(
            (untriedFrom, { position }) => least(untriedFrom, position),
            handled.untriedFrom
          )
          const isTried = ({ event: { position } }: Pick<Failure, "event">) =>
            (untriedFrom === undefined || position < untriedFrom) && (stoppedAt === undefined || position <= stoppedAt)
          const committed = yield* commit({
            applied: applied.filter(isTried),
            failures: failures.filter(isTried),
            untriedFrom,
            changes: [],
            reads: undefined
          })
          // It is tried again without some of the events.
          if (committed.advanced === "changed") return committed
          for (const { event } of events) {
            if (isTried({ event })) done.delete(placeOf(event))
          }
          if (!goesOn && locked[0] !== undefined && committed.advanced === "advanced") {
            waits.set(locked)
            return yield* othersWait(locked[0])
          }
          return committed
        })
      )
  }
}

/** Returns a function that finds, by partition, the places of handled events that no checkpoint covers yet: at most a batch each. */
const makeHandled = () => {
  const handled = new Map<string, { readonly epoch: bigint; readonly places: Set<string> }>()
  return ({ epoch, generation, partition }: LeasedPartition): Set<string> => {
    const owned = `${generation} ${partition}`
    const last = handled.get(owned)
    // Before another epoch, another worker may have owned the partition, or an operator may have reset it to have events handled again.
    if (last?.epoch === epoch) return last.places
    const places = new Set<string>()
    handled.set(owned, { epoch, places })
    return places
  }
}

/**
 * Handles events that waited for locks once more, and returns those that did not fail. Their keys go on from there. The others of the partition wait
 * meanwhile, so no event is tried later than the timeout after the first.
 */
const tryAgain = Effect.fnUntraced(function*(
  locked: ReadonlyArray<Failure>,
  timeout: Duration.Duration,
  handleIt: Handle,
  { done, failures }: { readonly done: Set<string>; readonly failures: Array<Failure> }
): Effect.fn.Return<ReadonlyArray<EncodedEvent>, EventStoreError> {
  const freed: Array<EncodedEvent> = []
  const clock = yield* Clock.Clock
  const begun = clock.monotonicTimeNanosUnsafe()
  for (const failure of locked) {
    if (Number(clock.monotonicTimeNanosUnsafe() - begun) > Duration.toMillis(timeout) * 1_000_000) break
    const { attempts = 1, event } = failure
    const { failed } = yield* handleIt(event, attempts > 1)
    if (failed === undefined) done.add(placeOf(event))
    if (failed === undefined || failed === "untried") freed.push(event)
    else failures.splice(failures.indexOf(failure), 1, { ...failure, error: failed.error, attempts: attempts + 1 })
  }
  return freed
})

const alwaysHeld: PartitionLease.PartitionLease = { status: () => "held" }

/** The pause between two looks at an expired lease, before the next handler begins. */
const leaseInterval = Duration.millis(20)

const untried: Handled = { failed: "untried", isStopping: true }

/** The error of an event whose handler must not begin, because the lease has ended meanwhile. */
const leaseEnded: EventStoreError = storeError(
  new StoreUnavailable({ message: "The lease of the partition has ended before the handler began", cause: undefined })
)

/** Brings events up to date, for which the key store may take its time, and fails with `leaseEnded` if the lease is not held afterwards. */
const upToDateUnderLease = (
  { lease = alwaysHeld, upToDate = Effect.succeed }: LeasedPartition
): UpToDate =>
(events) =>
  Effect.flatMap(
    upToDate(events),
    (events) => lease.status() === "held" ? Effect.succeed(events) : Effect.fail(leaseEnded)
  )

/** Handles an event until it succeeds, its retries end, or the worker stops; or once, if it waits for a lock. Fails when the store does. */
const retrying = (
  handle: (event: EncodedEvent) => Effect.Effect<void, EventStoreError>,
  policy: Retries.RetryPolicy,
  { inHand, lease = alwaysHeld, onRetry, partition, stopTimeout = EventInHand.defaultTimeout }: LeasedPartition,
  restore: Restore
) =>
  Effect.fnUntraced(function*(
    event: EncodedEvent,
    isOnce: boolean,
    timeLeft: () => Duration.Duration = () => stopTimeout
  ): Effect.fn.Return<Handled, EventStoreError> {
    const retries = yield* Retries.make(policy)
    // Another worker has begun the event that this one has in hand.
    const timeout = () => lease.status() === "lost" ? Duration.zero : timeLeft()
    while (true) {
      while (lease.status() === "expired") {
        if (Exit.isFailure(yield* Effect.exit(restore(EventInHand.elapsed(leaseInterval))))) return untried
      }
      if (lease.status() === "lost") return untried
      const { exit, isStopping } = yield* EventInHand.track(
        inHand,
        event,
        EventInHand.finish(
          Effect.result(handle(event)),
          restore,
          timeout,
          Effect.logWarning(EventInHand.abandoned(partition, event))
        )
      )
      if (exit === undefined) return untried
      const result = yield* exit
      if (Result.isSuccess(result)) return { failed: undefined, isStopping }
      const error = result.failure
      if (error === leaseEnded && !isStopping) continue
      if (error === leaseEnded) return untried
      if (isOfTheStore(error)) return yield* error
      const { attempts, delay } = yield* retries.failed(error)
      if (delay === undefined || isOnce && LockWait.isOfKey(error)) return { failed: { error, attempts }, isStopping }
      if (isStopping) return untried
      if (onRetry !== undefined) yield* onRetry({ event, error, attempts, delay })
      if (Exit.isFailure(yield* Effect.exit(restore(Effect.sleep(delay))))) return untried
    }
  })
