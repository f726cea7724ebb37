/**
 * The batch processor of handlers that write in the transaction of the checkpoint: what they write there is written exactly once.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { EventStoreError } from "../../core/errors.ts"
import type { Position } from "../../core/Position.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type { ConsumerDriver } from "../CheckpointDriver.ts"
import * as ConsumerKey from "../ConsumerKey.ts"
import * as HandlerTimeout from "../HandlerTimeout.ts"
import type * as Retries from "../Retries.ts"
import * as EventInHand from "../worker/EventInHand.ts"
import type { BatchPlan, BatchProcessor, CommitResult, LeasedPartition, Outcome } from "./BatchProcessor.ts"
import * as BatchRetries from "./BatchRetries.ts"
import { type Handler, handleSingle, type HandlingConsumer } from "./EventHandling.ts"
import { type Failure, isLockedIn, isOfTheStore, othersWait, stopsAt } from "./Failure.ts"

/** When a handler has taken too long, and when it is retried. */
interface Policy extends Retries.RetryPolicy {
  readonly handlerTimeout: Duration.Duration
}

/**
 * Returns a processor that handles each event within the transaction that moves the checkpoint. What the handler writes in that transaction is
 * written exactly once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  consumer: HandlingConsumer,
  handle: Handler,
  policy: Policy,
  store: ConsumerDriver
): BatchProcessor => {
  const retriesOf = BatchRetries.make(policy)
  return {
    consumer,
    grows: false,
    keysOf: (event) => ConsumerKey.keysOf(consumer, event),
    apply: (leased, events, commit) => {
      const isLocked = isLockedIn(consumer, leased)
      const handleIt = handleSingle(consumer, handle, events, leased.upToDate)
      const limitOf = (event: EncodedEvent) => HandlerTimeout.limitOf(consumer, policy.handlerTimeout, event)
      const attempt = attemptOf(store, leased, { handle: handleIt, limitOf }, isLocked, commit)
      return applyAll(consumer, leased, events, isLocked, retriesOf(leased), attempt)
    }
  }
}

/** Returns what handles and commits the rest of a batch in one transaction. */
const attemptOf = <A extends CommitResult>(
  store: ConsumerDriver,
  { inHand, maxDuration, partition }: LeasedPartition,
  { handle, limitOf }: {
    readonly handle: (event: EncodedEvent) => Effect.Effect<void, EventStoreError>
    readonly limitOf: (event: EncodedEvent) => EventInHand.HandlerLimit<EventStoreError>
  },
  isLocked: (failure: Failure) => boolean,
  commit: (plan: BatchPlan) => Effect.Effect<A, EventStoreError>
) =>
(rest: Rest): Effect.Effect<A, EventStoreError | EventFailed | KeysLocked | NotAdvanced<A>> => {
  const handleInHand = (event: EncodedEvent) =>
    EventInHand.track(
      inHand,
      event,
      EventInHand.endInTime(
        handle(event),
        Effect.logWarning(EventInHand.abandoned(partition, event, "inTransaction")),
        limitOf(event)
      )
    )
  let failed: EventFailed | undefined
  const inTransaction = EventInHand.awaitTransaction(inHand, (hasBegun) =>
    store.transaction(
      Effect.gen(function*() {
        yield* hasBegun
        const batch = triedOf(rest)
        const handled = yield* Effect.tapError(handleInTime(handleInHand, batch, maxDuration), (error) =>
          Effect.sync(() => {
            failed = error
          }))
        const plan = planOf(batch, rest, handled)
        if (!rest.goesOn && plan.failures.some(isLocked)) {
          return yield* Effect.fail(new KeysLocked(handled > 0))
        }
        const result = yield* commit({ ...plan, changes: [], reads: undefined })
        return result.advanced === "advanced" ? result : yield* Effect.fail(new NotAdvanced(result))
      }),
      { runsHandlers: true }
    ))
  return Effect.mapError(
    inTransaction,
    (error) =>
      failed !== undefined && error instanceof EventStoreError && isOfHandler(failed.error, error) ? failed : error
  )
}

/**
 * Whether a handler is the reason why a transaction could not be rolled back. The server ends the session of a handler that sends nothing for too
 * long, and has rolled it back then.
 */
const isOfHandler = (failure: EventStoreError, ofTransaction: EventStoreError): boolean =>
  HandlerTimeout.is(failure) || !(isOfTheStore(failure) || isOfTheStore(ofTransaction))

/**
 * Tries a batch until a part of it from its beginning is committed. A failure rolls back the events before it. They are handled once more and
 * committed before any other is tried, so that none is handled again for each event that fails after it.
 */
const applyAll = Effect.fnUntraced(function*<A extends CommitResult>(
  consumer: HandlingConsumer,
  { parksAll = false }: LeasedPartition,
  events: ReadonlyArray<ConsumerKey.KeyedEvent>,
  isLocked: (failure: Pick<Failure, "error">) => boolean,
  retries: BatchRetries.BatchRetries,
  attempt: (rest: Rest) => Effect.Effect<A, EventStoreError | EventFailed | KeysLocked | NotAdvanced<A>>
): Effect.fn.Return<A, EventStoreError> {
  let rest: Rest = {
    batch: ConsumerKey.deliveriesOf(events),
    failures: [],
    stopsAt: undefined,
    goesOn: false,
    until: undefined
  }
  yield* retries.awaitNext(events[0]?.event.position)
  while (true) {
    const result = yield* Effect.result(attempt(rest))
    if (Result.isSuccess(result)) {
      retries.carry(rest.until)
      return result.success
    }
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
    const isFirst = batch[0]!.event.position === event.position
    const { attempts, mayRetry } = yield* retries.failed(event, error)
    // A key whose lock is not free is tried once more if the others go on.
    const isOnce = !goesOn && isLocked({ error }) && failures.some(isLocked)
    if (mayRetry && !isOnce) {
      if (isFirst) yield* retries.awaitNext(event.position)
      else rest = { ...rest, until: event.position }
    } else {
      rest = withoutFailed(rest, index, { event, key, error, attempts }, !parksAll && stopsAt(consumer, error))
      if (!isFirst) rest = { ...rest, until: positionAfter(events, event) }
    }
  }
})

const positionAfter = (
  events: ReadonlyArray<ConsumerKey.KeyedEvent>,
  { position }: EncodedEvent
): Position | undefined => events.find((later) => later.event.position > position)?.event.position

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
  /** The position of the first event that is not tried, so that those before it are committed. */
  readonly until: Position | undefined
}

/** Leaves out an event that failed: with the later ones of its key, or with all later ones if the consumer stops there. */
const withoutFailed = (
  { batch, failures, goesOn, stopsAt, until }: Rest,
  index: number,
  failure: Failure,
  isStopped: boolean
): Rest => {
  const { event, key } = failure
  return isStopped
    ? {
      goesOn,
      until,
      stopsAt: event.position,
      // Later events are tried together with this one.
      failures: [...failures.filter((other) => other.event.position < event.position), failure],
      batch: batch.slice(0, index)
    }
    : {
      goesOn,
      until,
      stopsAt,
      // An earlier event of the same key may fail only now, after a later one has.
      failures: [...failures.filter((other) => other.key !== key), failure],
      batch: batch.filter((other, i) => i < index || other.key !== key)
    }
}

/** Adds the events of keys that wait for locks again: a lock may have become free since, and that may be why the others go on. */
const withLocked = (events: ReadonlyArray<ConsumerKey.KeyedEvent>, { failures, stopsAt }: Rest): Rest => ({
  goesOn: true,
  until: undefined,
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

/** Returns the deliveries that the next transaction handles. */
const triedOf = ({ batch, until }: Rest): ReadonlyArray<ConsumerKey.Delivery> =>
  until === undefined ? batch : batch.filter(({ event }) => event.position < until)

/** Returns what to commit of a batch. A later event that failed in an earlier attempt fails again after the events before it. */
const planOf = (
  batch: ReadonlyArray<ConsumerKey.Delivery>,
  { failures, until }: Rest,
  handled: number
): Outcome => {
  const untriedFrom = batch[handled]?.event.position ?? until
  return untriedFrom === undefined ? { applied: batch, failures } : {
    applied: batch.slice(0, handled),
    failures: failures.filter(({ event }) => event.position < untriedFrom),
    untriedFrom
  }
}
