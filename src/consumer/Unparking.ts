/**
 * Carries out a request to retry or skip the event at which a key is parked.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { type EventStoreError, LogDiverged, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { LogPosition } from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import * as EventFilter from "../event/EventFilter.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStore } from "../eventStore/EventStore.ts"
import type { LogFilter } from "../eventStore/EventStoreDriver.ts"
import { defaultPageSize } from "../eventStore/LogReader.ts"
import {
  type BatchPlan,
  type BatchProcessor,
  failedEventOf,
  type Failure,
  type LeasedPartition
} from "./BatchProcessor.ts"
import type { Advanced, ConsumerDriver } from "./CheckpointDriver.ts"
import type { Consumer } from "./Consumer.ts"
import * as ConsumerKey from "./ConsumerKey.ts"
import { segmentsOf } from "./DeliveryLog.ts"
import type { Parked, ParkingRequest, Unpark } from "./ParkingDriver.ts"
import * as UnknownTypes from "./UnknownTypes.ts"

/**
 * A partition and what its owner needs to apply events to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnedPartition {
  readonly events: EventStore["Service"]
  readonly store: ConsumerDriver
  readonly processor: BatchProcessor
  readonly generation: string
  readonly partition: number
  readonly epoch: bigint
  readonly filter: LogFilter
  readonly onRetry?: LeasedPartition["onRetry"]
}

/**
 * The result of a request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unparked {
  readonly advanced: Advanced
  /** The events at which keys are parked now; none when the key is free. */
  readonly failures: ReadonlyArray<Failure>
  /** How many deliveries were applied. */
  readonly applied: number
}

/**
 * Applies the parked event and the key's events after it, up to the partition's checkpoint. The key is parked again at the first event that
 * fails, also when newer code wrote that event: the other keys go on, even where no newer code runs.
 *
 * @since 0.1.0
 * @category combinators
 */
export const unpark = Effect.fnUntraced(function*(
  owned: OwnedPartition,
  parked: Parked,
  request: ParkingRequest,
  checkpoint: LogPosition
): Effect.fn.Return<Unparked, EventStoreError> {
  const missed = yield* missedBy(owned, parked, request, checkpoint.position)
  while (true) {
    const unparked = yield* owned.processor.apply(
      owned,
      missed,
      (plan) => commit(owned, parked, request, checkpoint, plan)
    )
    if (unparked.advanced !== "changed") return unparked
  }
})

/** Returns the events that waited, in order. */
const missedBy = Effect.fnUntraced(function*(
  owned: OwnedPartition,
  parked: Parked,
  { action }: ParkingRequest,
  checkpoint: Position.Position
): Effect.fn.Return<ReadonlyArray<ConsumerKey.KeyedEvent>, EventStoreError> {
  const { generation, partition, processor: { consumer, keysOf }, store } = owned
  const isSkip = action === "skip"
  const [recorded] = yield* Stream.runCollect(
    owned.events.readStreamEncoded(parked.stream, { from: parked.version, limit: 1 })
  )
  if (recorded?.id !== parked.eventId) {
    const { eventId, position, stream, version } = parked
    return yield* storeError(new LogDiverged({ eventId, position, stream, version }))
  }
  if (parked.key === ConsumerKey.unknownKey) {
    // The partition has waited at this event, so no other one was missed. Its keys may be known by now, and parked.
    if (isSkip) return []
    const others = new Set((yield* store.parked(generation, partition)).map(({ key }) => key))
    others.delete(parked.key)
    const of = { index: partition, of: consumer.partitions, isParked: (key: string) => others.has(key) }
    return Arr.fromNullishOr(ConsumerKey.select(recorded, keysOf(recorded), of))
  }
  const waiting = yield* Stream.runCollect(
    waitingEvents(owned.events, owned.filter, consumer, keysOf, parked, checkpoint)
  )
  // An event that was skipped because its keys were unknown is skipped under each of them, also where they are known by now.
  const state = yield* store.deliveryState(generation, partition, false)
  const skipped = new Set(
    Option.match(state, { onNone: () => [], onSome: (one) => one.skipped })
      .filter(({ key }) => key === ConsumerKey.unknownKey)
      .map(({ position }) => position)
  )
  return waiting.flatMap(({ event, isSingle }) =>
    (isSkip && event.position === parked.position) || skipped.has(event.position)
      ? []
      : [{ event, isSingle, keys: [parked.key] }]
  )
})

/**
 * An event of a parked key.
 *
 * @since 0.1.0
 * @category models
 */
export interface WaitingEvent {
  readonly event: EncodedEvent
  readonly isSingle: boolean
}

/**
 * Returns the events of a parked key, from the parked one up to a position. If the key is the stream, it is read; otherwise the events of the
 * partition are read, since the parked one. A consumer that stops at unknown types gets the events of these, too: they fail, so that the key is
 * parked there until newer code retries it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const waitingEvents = (
  store: EventStore["Service"],
  filter: LogFilter,
  consumer: Consumer,
  keysOf: (event: EncodedEvent) => ReadonlyArray<string> | undefined,
  parked: Parked,
  upTo: Position.Position
): Stream.Stream<WaitingEvent, EventStoreError> =>
  Stream.unwrap(Effect.map(
    UnknownTypes.stoppingUpTo(store[internals].driver, consumer, upTo),
    (unknown) =>
      readFrom(store, UnknownTypes.addTo(filter, unknown), consumer, parked, upTo).pipe(
        Stream.takeWhile((event) => event.position <= upTo),
        Stream.filter((event) => UnknownTypes.isRelevant(unknown, event)),
        Stream.filterMap((event) => {
          const keys = keysOf(event)
          return keys === undefined || keys.includes(parked.key)
            ? Result.succeed({ event, isSingle: keys === undefined || keys.length === 1 })
            : Result.failVoid
        })
      )
  ))

/** Returns the events that a filter selects, from the parked one up to a position or further. */
const readFrom = (
  store: EventStore["Service"],
  filter: LogFilter,
  { partitionBy }: Consumer,
  parked: Parked,
  upTo: Position.Position
): Stream.Stream<EncodedEvent, EventStoreError> => {
  const { driver } = store[internals]
  const from = Position.make(parked.position - 1n)
  return partitionBy === "stream"
    ? Stream.filter(store.readStreamEncoded(parked.stream, { from: parked.version }), EventFilter.matcher(filter))
    : Stream.paginate(
      from,
      (after: Position.Position) =>
        Effect.map(driver.readAll({ ...filter, after, limit: defaultPageSize }), ({ events }) => {
          const last = events.at(-1)?.position
          const isDone = last === undefined || events.length < defaultPageSize || last >= upTo
          return [events, isDone ? Option.none() : Option.some(last)] as const
        })
    )
}

/** Rolls the transaction back because the key is not parked at the event any more. */
class NotParked {
  readonly _tag = "NotParked"
}

/**
 * Writes the documents, the delivery log and the new state of the key. The lease is checked, but the checkpoint does not move. So it is checked
 * that the key is still parked, too: a transaction whose connection was lost may have committed after all, under the same lease.
 */
const commit = (
  { epoch, generation, partition, store }: OwnedPartition,
  parked: Parked,
  request: ParkingRequest,
  checkpoint: LogPosition,
  { applied, changes, failures, reads }: BatchPlan
): Effect.Effect<Unparked, EventStoreError> =>
  store.transaction(Effect.gen(function*() {
    const advanced = yield* store.advance({
      generation,
      partition,
      epoch,
      from: checkpoint.position,
      to: checkpoint.position,
      toEventId: checkpoint.eventId,
      toCount: checkpoint.count,
      reads,
      changes,
      applied: []
    })
    if (advanced !== "advanced") return { advanced, failures: [], applied: 0 }
    if (applied.length > 0) yield* store.recordLateDelivery(generation, partition, segmentsOf(applied, 1))
    const next = failures.find(({ key }) => key === parked.key)
    const wasParked = yield* store.unpark({
      generation,
      partition,
      key: parked.key,
      position: parked.position,
      action: actionOf(request, parked, next),
      next: next === undefined ? undefined : failedEventOf(next)
    })
    if (!wasParked) return yield* Effect.fail(new NotParked())
    const others = failures.filter((failure) => failure !== next)
    if (others.length > 0) yield* store.park(generation, partition, others.map(failedEventOf))
    return { advanced, failures, applied: applied.length }
  })).pipe(Effect.catchTag("NotParked", () => Effect.succeed(notParked)))

const notParked: Unparked = { advanced: "lost", failures: [], applied: 0 }

const actionOf = ({ action }: ParkingRequest, parked: Parked, next: Failure | undefined): Unpark["action"] => {
  if (next !== undefined && next.event.position === parked.position) return "failed"
  return action === "skip" ? "skipped" : "retried"
}
