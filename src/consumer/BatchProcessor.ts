/**
 * Processes batches of events: by handlers outside any transaction, or within the transaction that moves the checkpoint.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import { causedBy, CommandContext } from "../command/CommandContext.ts"
import { type EventStoreError, storeError, StoreUnavailable } from "../core/errors.ts"
import * as HandledEvent from "../core/HandledEvent.ts"
import * as LockWait from "../core/lockWait.ts"
import type { Position } from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as DecryptedValues from "../personalData/DecryptedValues.ts"
import type { Advance, Advanced, ConsumerDriver, EncodedDocument } from "./CheckpointDriver.ts"
import type * as Consumer from "./Consumer.ts"
import * as ConsumerDefinition from "./ConsumerDefinition.ts"
import * as ConsumerKey from "./ConsumerKey.ts"
import type { FormerPartitions } from "./FormerPartitions.ts"
import * as HandlerError from "./HandlerError.ts"
import type { FailedEvent } from "./parking/ParkingDriver.ts"
import * as Retries from "./Retries.ts"
import { awaitsNewerCode } from "./UnknownTypes.ts"
import * as EventInHand from "./worker/EventInHand.ts"
import type * as PartitionLease from "./worker/PartitionLease.ts"

/**
 * Which deliveries of a batch were applied.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  /** The applied deliveries, in order. */
  readonly applied: ReadonlyArray<ConsumerKey.Delivery>
  /** The deliveries that failed. Later ones of the same keys were not tried; none at all, after an event of unknown key. */
  readonly failures: ReadonlyArray<Failure>
  /** The position of the first event that was not tried, because the worker stops or the batch has lasted for its maximum. */
  readonly untriedFrom?: Position | undefined
}

/**
 * An event that failed under a key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure {
  readonly event: EncodedEvent
  readonly key: string
  readonly error: EventStoreError
  /** How often the handler was tried; once unless it has retries. */
  readonly attempts?: number | undefined
}

/**
 * The result of processing a batch, which the partition's processor commits.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchPlan extends Outcome {
  /** The documents to write. */
  readonly changes: ReadonlyArray<EncodedDocument>
  /** The revisions of the documents from which the changes were computed, where other partitions could write them too. */
  readonly reads: Advance["reads"] | undefined
}

/**
 * The result of a commit. Unless it is `advanced`, nothing of the plan was written.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommitResult {
  readonly advanced: Advanced
}

/**
 * A partition of a generation, and the epoch under which its worker owns it.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeasedPartition {
  readonly generation: string
  readonly partition: number
  /** The number of partitions of the generation; that of the consumer's definition by default. */
  readonly partitions?: number | undefined
  /** The partitions before, while one of them is ahead of the checkpoint, or of a parked key. */
  readonly former?: ReadonlyArray<FormerPartitions> | undefined
  readonly epoch: bigint
  /** Runs after each failed attempt that another follows, before the pause. */
  readonly onRetry?: ((attempt: Retries.FailedAttempt) => Effect.Effect<void>) | undefined
  /** How long the handler of an event may take to end when the worker stops. */
  readonly stopTimeout?: Duration.Duration | undefined
  /** Shows the event whose handler runs. */
  readonly inHand?: EventInHand.Tracker | undefined
  /** No handler begins unless the lease is held. By default it always is. */
  readonly lease?: PartitionLease.PartitionLease | undefined
  /** A transaction of handlers that has lasted longer commits what it has. By default it handles the whole batch. */
  readonly maxDuration?: Duration.Duration | undefined
  /** Whether a failure that stops the consumer only ends the events of its key, as in a retry of parked keys. `false` by default. */
  readonly parksAll?: boolean | undefined
}

/**
 * Processes batches of events for one consumer.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchProcessor {
  readonly consumer: Consumer.Consumer
  /**
   * Whether larger batches cost less per event. They do for documents, which are written once per batch; a handler would repeat more events
   * after a failure.
   */
  readonly grows: boolean
  /** Returns the keys of an event; see `ConsumerKey.keysOf`. */
  readonly keysOf: (event: EncodedEvent) => ReadonlyArray<string> | undefined
  /**
   * Processes events in order, each under the given keys, and passes the plan to `commit`, which moves the checkpoint. Effects inside a
   * transaction commit together with it. Returns what `commit` returns.
   */
  readonly apply: <A extends CommitResult>(
    leased: LeasedPartition,
    events: ReadonlyArray<ConsumerKey.KeyedEvent>,
    commit: (plan: BatchPlan) => Effect.Effect<A, EventStoreError>
  ) => Effect.Effect<A, EventStoreError>
}

/**
 * A consumer with handlers.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandlingConsumer<out Name extends string = string, out Events extends Event.Any = Event.Any>
  extends Consumer.Consumer<Name, Events>
{
  /** The tags of the errors that its handlers fail with on purpose. */
  readonly parks: ReadonlyArray<string>
}

/**
 * The effect of an event.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler = (recorded: RecordedEvent<Event.Tagged>) => Effect.Effect<unknown, unknown>

/**
 * Returns a processor that handles each event outside any transaction, at least once. When the checkpoint cannot be moved, this process does
 * not handle the same events again under the same epoch.
 *
 * @since 0.1.0
 * @category constructors
 */
export const effects = (
  consumer: HandlingConsumer,
  handle: Handler,
  policy: Retries.RetryPolicy
): BatchProcessor => {
  const handledOf = makeHandled()
  return {
    consumer,
    grows: false,
    keysOf: (event) => ConsumerKey.keysOf(consumer, event),
    apply: (leased, events, commit) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const done = handledOf(leased)
          const isLocked = isLockedIn(consumer, leased)
          /** Whether an event of another key was handled after a lock was not free. */
          let goesOn = false
          const handleIt = retrying(handleSingle(consumer, handle, events), policy, leased, restore)
          const applied: Array<ConsumerKey.Delivery> = []
          const failures: Array<Failure> = []
          const parked = new Set<string>()
          let untriedFrom: Position | undefined
          let last: Position | undefined
          for (const delivery of ConsumerKey.deliveriesOf(events)) {
            const { event, key } = delivery
            if (last !== undefined && event.position !== last) {
              untriedFrom = event.position
              break
            }
            if (parked.has(key)) continue
            const isBefore = done.has(placeOf(event))
            const { failed, isStopping } = isBefore
              ? handledBefore
              : yield* handleIt(event, !goesOn && failures.some(isLocked))
            if (failed === "untried") {
              untriedFrom = event.position
              break
            }
            if (failed === undefined) {
              done.add(placeOf(event))
              applied.push(delivery)
              goesOn ||= !isBefore && failures.some(isLocked)
            } else {
              failures.push({ event, key, ...failed })
              if (leased.parksAll !== true && stopsAt(consumer, failed.error)) break
              parked.add(key)
            }
            if (isStopping) last = event.position
          }
          const locked = failures.filter(isLocked)
          // The lock may have become free since, and that may be why the others go on.
          const freed = goesOn
            ? yield* tryAgain(locked, handleIt, { done, failures })
            : locked.map(({ event }) => event)
          for (const { position } of freed) untriedFrom = least(untriedFrom, position)
          const isTried = ({ event }: Pick<Failure, "event">) =>
            untriedFrom === undefined || event.position < untriedFrom
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

const least = (a: Position | undefined, b: Position): Position => a === undefined || b < a ? b : a

/** Handles events that waited for locks once more, and returns those that did not fail. Their keys go on from there. */
const tryAgain = Effect.fnUntraced(function*(
  locked: ReadonlyArray<Failure>,
  handleIt: (event: EncodedEvent, isOnce: boolean) => Effect.Effect<Handled, EventStoreError>,
  { done, failures }: { readonly done: Set<string>; readonly failures: Array<Failure> }
): Effect.fn.Return<ReadonlyArray<EncodedEvent>, EventStoreError> {
  const freed: Array<EncodedEvent> = []
  for (const failure of locked) {
    const { attempts = 1, event } = failure
    const { failed } = yield* handleIt(event, attempts > 1)
    if (failed === undefined) done.add(placeOf(event))
    if (failed === undefined || failed === "untried") freed.push(event)
    else failures.splice(failures.indexOf(failure), 1, { ...failure, error: failed.error, attempts: attempts + 1 })
  }
  return freed
})

/** Returns a function that tells a vain wait for a lock. It parks its key only if events of other keys can be handled meanwhile. */
const isLockedIn =
  ({ onFailure }: Pick<Consumer.Consumer, "onFailure">, { parksAll = false }: Pick<LeasedPartition, "parksAll">) =>
  ({ error }: Pick<Failure, "error">): boolean => !parksAll && onFailure === "park" && LockWait.isOfKey(error)

/** The error of a partition that waits for a lock, because it is not known whether events of other keys need it too. */
const othersWait = ({ error }: Failure): EventStoreError =>
  storeError(
    new StoreUnavailable({
      message: `${error.message}; nothing is parked, because no event of another key could be handled meanwhile`,
      cause: undefined
    })
  )

/** Ids alone may repeat: the store does not compare them, and a program may provide its own `IdGenerator`. A log that was set back may repeat positions. */
const placeOf = ({ id, position }: EncodedEvent): string => `${position} ${id}`

/** What became of an event. It is untried when the worker stops before its handler has ended, or before the next attempt. */
interface Handled {
  readonly failed: Pick<Failure, "error" | "attempts"> | "untried" | undefined
  readonly isStopping: boolean
}

const handledBefore: Handled = { failed: undefined, isStopping: false }

const alwaysHeld: PartitionLease.PartitionLease = { status: () => "held" }

/** The pause between two looks at an expired lease, before the next handler begins. */
const leaseInterval = Duration.millis(20)

const untried: Handled = { failed: "untried", isStopping: true }

/** Handles an event until it succeeds, its retries end, or the worker stops; or once, if it waits for a lock. Fails when the store does. */
const retrying = (
  handle: (event: EncodedEvent) => Effect.Effect<void, EventStoreError>,
  policy: Retries.RetryPolicy,
  { inHand, lease = alwaysHeld, onRetry, partition, stopTimeout = EventInHand.defaultTimeout }: LeasedPartition,
  restore: <B>(effect: Effect.Effect<B>) => Effect.Effect<B>
) =>
  Effect.fnUntraced(function*(event: EncodedEvent, isOnce: boolean): Effect.fn.Return<Handled, EventStoreError> {
    const retries = yield* Retries.make(policy)
    // Another worker has begun the event that this one has in hand.
    const timeout = () => lease.status() === "lost" ? Duration.zero : stopTimeout
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
      if (isOfTheStore(error)) return yield* error
      const { attempts, delay } = yield* retries.failed(error)
      if (delay === undefined || isOnce && LockWait.isOfKey(error)) return { failed: { error, attempts }, isStopping }
      if (isStopping) return untried
      if (onRetry !== undefined) yield* onRetry({ event, error, attempts, delay })
      if (Exit.isFailure(yield* Effect.exit(restore(Effect.sleep(delay))))) return untried
    }
  })

/** Rolls the transaction back because the event at `index` failed. */
class EventFailed {
  readonly _tag = "EventFailed"
  readonly index: number
  readonly error: EventStoreError
  constructor(index: number, error: EventStoreError) {
    this.index = index
    this.error = error
  }
}

/** What a transaction handles of a batch. */
interface Rest {
  readonly batch: ReadonlyArray<ConsumerKey.Delivery>
  readonly failures: ReadonlyArray<Failure>
  /** The position of the event at which the consumer stops. */
  readonly stopsAt: Position | undefined
  /** Whether, after a lock was not free, events of other keys were handled. */
  readonly goesOn: boolean
}

/** Leaves out an event that failed: with the later ones of its key, or with all later ones if the consumer stops there. */
const withoutFailed = (
  { batch, failures, goesOn, stopsAt }: Rest,
  index: number,
  failure: Failure,
  isStopped: boolean
): Rest => {
  const { event, key } = failure
  return isStopped
    ? {
      goesOn,
      stopsAt: event.position,
      // Later events are tried together with this one.
      failures: [...failures.filter((other) => other.event.position < event.position), failure],
      batch: batch.slice(0, index)
    }
    : {
      goesOn,
      stopsAt,
      // An earlier event of the same key may fail only now, after a later one has.
      failures: [...failures.filter((other) => other.key !== key), failure],
      batch: batch.filter((other, i) => i < index || other.key !== key)
    }
}

/** Adds the events of keys that wait for locks again: a lock may have become free since, and that may be why the others go on. */
const withLocked = (events: ReadonlyArray<ConsumerKey.KeyedEvent>, { failures, stopsAt }: Rest): Rest => ({
  goesOn: true,
  stopsAt,
  failures,
  batch: ConsumerKey.deliveriesOf(events).filter(({ event, key }) =>
    (stopsAt === undefined || event.position < stopsAt)
    && !failures.some((failure) => failure.key === key && failure.event.position <= event.position)
  )
})

/** Rolls the transaction back because keys wait for locks. */
class KeysLocked {
  readonly _tag = "KeysLocked"
  /** Whether an event of another key was handled. */
  readonly goesOn: boolean
  constructor(goesOn: boolean) {
    this.goesOn = goesOn
  }
}

/** Rolls the transaction back because the checkpoint could not be moved. */
class NotAdvanced<out A> {
  readonly _tag = "NotAdvanced"
  readonly result: A
  constructor(result: A) {
    this.result = result
  }
}

/** Handles deliveries in order, and returns how many: at least those of one event, and all unless they last longer than the maximum. */
const handleInTime = Effect.fnUntraced(function*(
  handle: (event: EncodedEvent) => Effect.Effect<void, EventStoreError>,
  batch: ReadonlyArray<ConsumerKey.Delivery>,
  maxDuration: Duration.Duration | undefined
): Effect.fn.Return<number, EventFailed> {
  const clock = yield* Clock.Clock
  const end = maxDuration === undefined
    ? undefined
    : clock.monotonicTimeNanosUnsafe() + BigInt(Math.ceil(Duration.toMillis(maxDuration) * 1_000_000))
  for (const [index, { event }] of batch.entries()) {
    const isNext = index > 0 && event.position !== batch[index - 1]?.event.position
    if (isNext && end !== undefined && clock.monotonicTimeNanosUnsafe() >= end) return index
    yield* Effect.mapError(handle(event), (error) => new EventFailed(index, error))
  }
  return batch.length
})

/** Returns what to commit of a batch. A later event that failed in an earlier attempt fails again after the events before it. */
const planOf = (
  batch: ReadonlyArray<ConsumerKey.Delivery>,
  failures: ReadonlyArray<Failure>,
  handled: number
): Outcome => {
  const untriedFrom = batch[handled]?.event.position
  return untriedFrom === undefined ? { applied: batch, failures } : {
    applied: batch.slice(0, handled),
    failures: failures.filter(({ event }) => event.position < untriedFrom),
    untriedFrom
  }
}

/**
 * Returns a processor that handles each event within the transaction that moves the checkpoint. What the handler writes in that transaction is
 * written exactly once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const transactional = (
  consumer: HandlingConsumer,
  handle: Handler,
  policy: Retries.RetryPolicy,
  store: ConsumerDriver
): BatchProcessor => ({
  consumer,
  grows: false,
  keysOf: (event) => ConsumerKey.keysOf(consumer, event),
  apply: <A extends CommitResult>(
    { inHand, maxDuration, onRetry, parksAll = false, partition }: LeasedPartition,
    events: ReadonlyArray<ConsumerKey.KeyedEvent>,
    commit: (plan: BatchPlan) => Effect.Effect<A, EventStoreError>
  ) => {
    const handleIt = handleSingle(consumer, handle, events)
    const isLocked = isLockedIn(consumer, { parksAll })
    const attempt = (
      { batch, failures, goesOn }: Rest
    ): Effect.Effect<A, EventStoreError | EventFailed | KeysLocked | NotAdvanced<A>> =>
      EventInHand.awaitTransaction(inHand, (hasBegun) =>
        store.transaction(
          Effect.gen(function*() {
            yield* hasBegun
            const handled = yield* handleInTime(
              (event) =>
                EventInHand.track(
                  inHand,
                  event,
                  EventInHand.endInTime(
                    handleIt(event),
                    Effect.logWarning(EventInHand.abandoned(partition, event, "inTransaction"))
                  )
                ),
              batch,
              maxDuration
            )
            const plan = planOf(batch, failures, handled)
            if (!goesOn && plan.failures.some(isLocked)) return yield* Effect.fail(new KeysLocked(handled > 0))
            const result = yield* commit({ ...plan, changes: [], reads: undefined })
            return result.advanced === "advanced" ? result : yield* Effect.fail(new NotAdvanced(result))
          }),
          { runsHandlers: true }
        ))
    /** Leaves out the failing events one by one. Each failure rolls back the events before it, which are then handled again. */
    const run = Effect.fnUntraced(function*(): Effect.fn.Return<A, EventStoreError> {
      const retries = new Map<Position, Retries.EventRetries>()
      let rest: Rest = { batch: ConsumerKey.deliveriesOf(events), failures: [], stopsAt: undefined, goesOn: false }
      while (true) {
        const result = yield* Effect.result(attempt(rest))
        if (Result.isSuccess(result)) return result.success
        if (result.failure instanceof NotAdvanced) return result.failure.result
        const { batch, failures, goesOn } = rest
        if (result.failure instanceof KeysLocked) {
          if (!result.failure.goesOn) return yield* othersWait(failures.find(isLocked)!)
          rest = withLocked(events, { ...rest, failures: failures.filter((failure) => !isLocked(failure)) })
          continue
        }
        if (!(result.failure instanceof EventFailed)) return yield* result.failure
        const { error, index } = result.failure
        if (isOfTheStore(error)) return yield* error
        const { event, key } = batch[index]!
        // Each event has retries of its own.
        const ofEvent = retries.get(event.position) ?? (yield* Retries.make(policy))
        retries.set(event.position, ofEvent)
        const { attempts, delay } = yield* ofEvent.failed(error)
        // It is tried once more if the others go on.
        const isOnce = !goesOn && isLocked({ error }) && failures.some(isLocked)
        if (delay !== undefined && !isOnce) {
          if (onRetry !== undefined) yield* onRetry({ event, error, attempts, delay })
          yield* Effect.sleep(delay)
          continue
        }
        rest = withoutFailed(rest, index, { event, key, error, attempts }, !parksAll && stopsAt(consumer, error))
      }
    })
    return run()
  }
})

/**
 * Handles one event. Returns a failure of the handler as an `EventStoreError`. Commands that the handler dispatches have the event as their
 * cause.
 *
 * @since 0.1.0
 * @category combinators
 */
export const handleOne = (consumer: HandlingConsumer, handle: Handler) => {
  const actor = `${consumer.kind}:${consumer.name}@${consumer.version}`
  return (event: EncodedEvent): Effect.Effect<void, EventStoreError> =>
    Effect.suspend(() => {
      const decoded = ConsumerDefinition.decode(consumer, event)
      if (Result.isFailure(decoded)) return Effect.fail(storeError(decoded.failure))
      const read = DecryptedValues.make()
      return Effect.forEach(decoded.success, (recorded) => Effect.suspend(() => handle(recorded)), { discard: true })
        .pipe(
          HandledEvent.provide(consumer.id),
          Effect.provideContext(
            Context.make(CommandContext, causedBy(event, actor)).pipe(Context.add(DecryptedValues.Current, read))
          ),
          Effect.catchCause((cause) => Effect.fail(HandlerError.of(consumer, event, cause, read)))
        )
    })
}

/** Handles an event that has one key. With several, its order relative to the events of each cannot be kept. */
const handleSingle = (consumer: HandlingConsumer, handle: Handler, events: ReadonlyArray<ConsumerKey.KeyedEvent>) => {
  const handleIt = handleOne(consumer, handle)
  const several = new Set(events.flatMap(({ event, isSingle }) => isSingle ? [] : [event.position]))
  return (event: EncodedEvent): Effect.Effect<void, EventStoreError> =>
    several.has(event.position)
      ? Effect.fail(HandlerError.failed(
        consumer,
        event,
        new Error(
          `the event has several values of the tag by which "${consumer.id}" is partitioned, but a handler handles it once; partition by another `
            + `tag, or by "stream"`
        )
      ))
      : Effect.mapError(handleIt(event), (error) => HandlerError.ofLock(consumer, event, error))
}

/**
 * Whether a consumer tries no event after one with this error: either it is to stop at failures, or newer code wrote the event, and another
 * process may have that code.
 *
 * @since 0.1.0
 * @category guards
 */
export const stopsAt = (
  consumer: Pick<Consumer.Consumer, "onFailure" | "unknownTypes">,
  error: EventStoreError
): boolean => consumer.onFailure === "stop" || awaitsNewerCode(consumer, error)

/**
 * Returns an event that failed as it is parked.
 *
 * @since 0.1.0
 * @category accessors
 */
export const failedEventOf = (
  { attempts = 1, error, event, key }: Omit<Failure, "event"> & {
    readonly event: Pick<EncodedEvent, "id" | "position" | "stream" | "type" | "version">
  }
): FailedEvent => ({
  key,
  stream: event.stream,
  version: event.version,
  position: event.position,
  eventId: event.id,
  type: event.type,
  error: error.message,
  attempts
})

/** Whether the store failed and not the event. Then nothing is parked, and the whole batch is tried again. */
const isOfTheStore = (error: EventStoreError): boolean => error.isRetryable
