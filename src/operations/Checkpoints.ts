/**
 * Resets the checkpoints of a subscription, or of a projection with handlers, to a position that the operator chooses. After the log was set
 * back, this is how its consumers go on.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { ConsumerDriver } from "../consumer/CheckpointDriver.ts"
import * as ConsumerReads from "../consumer/ConsumerReads.ts"
import * as HandOver from "../consumer/HandOver.ts"
import type { ParkedPlace } from "../consumer/parking/ParkingDriver.ts"
import * as ParkingRequestWakeups from "../consumer/parking/ParkingRequestWakeups.ts"
import { CircularWait, type EventStoreError, invalidRequest, storeError } from "../core/errors.ts"
import * as HandledEvent from "../core/HandledEvent.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import { monotonicMillis } from "../core/monotonic.ts"
import * as Position from "../core/Position.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as LogIdentity from "../eventStore/LogIdentity.ts"
import type * as Projection from "../projection/Projection.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import type * as Subscription from "../subscription/Subscription.ts"
import { ResetRejected } from "./CheckpointsError.ts"

/**
 * The checkpoints of a consumer before and after a reset.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reset {
  readonly consumer: string
  /**
   * The checkpoint of each partition before, when its worker had given it back. The events that it had handled after `to` are handled again, or were lost
   * with the log.
   */
  readonly from: ReadonlyArray<LogPosition.LogPosition>
  readonly to: LogPosition.LogPosition
}

/**
 * Options of a reset.
 *
 * @since 0.1.0
 * @category options
 */
export interface ResetOptions {
  /** How long to wait until the workers have given back all partitions; 30 seconds by default. */
  readonly timeout?: Duration.Input | undefined
}

type Resettable = Subscription.Any | Projection.AnyHandler<"async">

type Target = Position.Position | LogPosition.LogPosition | "end"

interface Stores {
  readonly log: EventStoreDriver
  readonly store: ConsumerDriver
}

/**
 * Moves the checkpoints of a consumer to a position of the log, and continues from there. The consumer may run: its workers, of all processes, first
 * finish the event in hand, save what they have handled and give back their partitions. Once the reset has returned, no handler begins by the old position.
 *
 * Fails with `ResetRejected`, with nothing changed, when a worker still has a partition after the `timeout`; with `InvalidRequest` when the log has no event at
 * the position, when the position is above the high-water mark, or when the consumer has never run; with `LogDiverged` when the log has another event
 * there; with `CircularWait` in a handler of the consumer.
 *
 * **When to use**
 *
 * After a backup was restored or a failover lost events, a consumer with checkpoints outside the log's database is stuck with `LogDiverged`.
 * Choose as `to` the last event that both logs share to handle every event of the log exactly as if no later one had been seen, or `"end"` to
 * continue with new events only. docs/operations.md describes how to find it. A projection of documents has no reset: `Rebuild.rebuild` it.
 *
 * **Details**
 *
 * A worker learns of the reset by its next heartbeat, a third of its `lease` later at most; one of this process learns of it at once. A worker that is dead or
 * frozen keeps its partitions until its lease ends. Workers claim partitions again when the reset has returned, and 5 seconds after its process was
 * killed.
 *
 * In a transaction of the caller, workers do not see a request to give back partitions. There a projection with handlers is reset at once, because what its
 * handlers have not committed yet is rolled back. A subscription is rejected while a worker has a partition.
 *
 * **Gotchas**
 *
 * Events after `to` that the consumer has handled before are handled again, under the same ids. Effects of lost events are not undone. The
 * delivery log begins again at `to`, and streams that are parked at a later event, or at a lost one, are parked no more. Earlier events do not prevent the
 * code of this definition from continuing there. Code that reads other events is rejected if the log has such events up to the checkpoint, as without a reset.
 *
 * @since 0.1.0
 * @category combinators
 */
export const reset = Effect.fn("Checkpoints.reset")(function*(
  consumer: Resettable,
  to: Target,
  { timeout = "30 seconds" }: ResetOptions = {}
): Effect.fn.Return<Reset, ResetRejected | EventStoreError, EventStore | ProjectionStore> {
  const stores: Stores = {
    log: (yield* EventStore)[internals].driver,
    store: (yield* ProjectionStore)[internals].driver
  }
  const { position } = yield* targetOf(stores, consumer, to)
  if ((yield* HandledEvent.active).some((one) => one.consumer === consumer.id)) {
    return yield* storeError(new CircularWait({ consumer: consumer.id, position, waiting: "reset" }))
  }
  return (yield* stores.store.isInTransaction)
    ? yield* resetAtOnce(stores, consumer, to)
    : yield* resetWhenFree(stores, consumer, to, Duration.fromInputUnsafe(timeout))
})

/** Returns the position of the log to which a consumer is reset, or fails if it cannot be. */
const targetOf = Effect.fnUntraced(function*(
  { log, store }: Stores,
  { id }: Resettable,
  to: Target
): Effect.fn.Return<LogPosition.LogPosition, EventStoreError> {
  const [first] = yield* store.progress(yield* store.activeGeneration(id))
  if (first?.continuedBy !== undefined) {
    return yield* invalidRequest(
      `"${id}" handles no more events, because "${first.continuedBy}" has continued from its checkpoints; reset that instead`
    )
  }
  if (first === undefined) {
    return yield* invalidRequest(`"${id}" has never run, so it has no checkpoints; start it instead`)
  }
  const { eventId: expectedId, position } = LogPosition.from(to === "end" ? yield* log.head : to)
  const [eventId] = yield* log.eventIds([position])
  if (eventId === undefined && position !== Position.start) {
    return yield* invalidRequest(
      `the log has no event at position ${
        String(position)
      }; reset "${id}" to the position of an event, to 0 or to "end"`
    )
  }
  yield* LogIdentity.requireEvents(log, [LogPosition.make(position, expectedId)])
  // An event above the mark may be visible already, but the reset would skip one below it that commits later.
  const head = yield* log.head
  if (position > head) {
    return yield* invalidRequest(
      `cannot reset "${id}" to position ${position}, because the high-water mark of the log is ${head}: an append below `
        + `that position may still be running; reset it to ${head} or below or to "end", or repeat the reset when the append has ended`
    )
  }
  return LogPosition.make(position, eventId)
})

/** The maximum number of parked keys that one statement compares with the log. */
const keysInPage = 1_000

/** Returns the ids of the events that are parked, and that the log does not have. */
const lostOf = Effect.fnUntraced(function*(
  { log, store }: Stores,
  generation: string
): Effect.fn.Return<ReadonlyArray<string>, EventStoreError> {
  const lost: Array<string> = []
  let after: ParkedPlace | undefined
  do {
    const parked = yield* store.parked(generation, { after, limit: keysInPage })
    const ids = yield* log.eventIds(parked.map((entry) => entry.position))
    for (const [index, entry] of parked.entries()) if (ids[index] !== entry.eventId) lost.push(entry.eventId)
    after = parked.length < keysInPage ? undefined : parked.at(-1)
  } while (after !== undefined)
  return lost
})

/** Resets the checkpoints. Returns undefined, with nothing changed, while a partition is leased. */
const move = Effect.fnUntraced(function*(
  stores: Stores,
  consumer: Resettable,
  to: Target,
  evenIfLeased: boolean
): Effect.fn.Return<Reset | undefined, EventStoreError> {
  const target = yield* targetOf(stores, consumer, to)
  const generation = yield* stores.store.activeGeneration(consumer.id)
  const from = yield* stores.store.resetCheckpoints({
    consumer: consumer.id,
    generation,
    to: target,
    lost: yield* lostOf(stores, generation),
    reads: ConsumerReads.format(ConsumerReads.of(consumer)),
    evenIfLeased
  })
  return from && { consumer: consumer.id, from, to: target }
})

const resetAtOnce = Effect.fnUntraced(function*(
  stores: Stores,
  consumer: Resettable,
  to: Target
): Effect.fn.Return<Reset, ResetRejected | EventStoreError> {
  const isRolledBack = consumer.kind !== "subscription"
  return (yield* move(stores, consumer, to, isRolledBack)) ?? (yield* rejected(stores, consumer, "InTransaction"))
})

/** For how long workers claim nothing after a reset whose process was killed. */
const drainDuration = Duration.seconds(5)

const pause = Duration.millis(50)

/** Resets the checkpoints when the workers have given back all partitions. */
const resetWhenFree = Effect.fnUntraced(function*(
  stores: Stores,
  consumer: Resettable,
  to: Target,
  timeout: Duration.Duration
): Effect.fn.Return<Reset, ResetRejected | EventStoreError> {
  const { store } = stores
  const generation = yield* store.activeGeneration(consumer.id)
  const owner = `reset ${(yield* IdGenerator)()}`
  const deadline = (yield* monotonicMillis) + Duration.toMillis(timeout)
  const wake = ParkingRequestWakeups.wake(store, consumer.id)
  const wait = Effect.gen(function*() {
    while (true) {
      const done = (yield* store.drain(generation, owner, drainDuration))
        ? yield* move(stores, consumer, to, false)
        : undefined
      if (done !== undefined) return done
      // No statement is interrupted at the timeout: it may have moved the checkpoints.
      if ((yield* monotonicMillis) >= deadline) return yield* rejected(stores, consumer, "Leased")
      yield* wake
      yield* Effect.sleep(pause)
    }
  })
  return yield* Effect.ensuring(wait, Effect.andThen(Effect.ignore(store.release(generation, owner)), wake))
})

const rejected = Effect.fnUntraced(function*(
  { store }: Stores,
  { id }: Resettable,
  reason: ResetRejected["reason"]
): Effect.fn.Return<never, ResetRejected | EventStoreError> {
  const progress = yield* store.progress(yield* store.activeGeneration(id))
  const held = progress.filter((one) => one.owner !== undefined || one.heldUntil !== undefined)
  return yield* new ResetRejected({
    consumer: id,
    reason,
    partitions: held.map(({ owner, partition }) => ({ partition, ...owner === undefined ? {} : { worker: owner } })),
    detail: HandOver.inWords(held)
  })
})
