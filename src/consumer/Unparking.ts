/**
 * Carries out a request to retry or skip the event at which a stream is parked.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type EventStoreError, LogDiverged, storeError } from "../core/errors.ts"
import type { LogPosition } from "../core/LogPosition.ts"
import * as EventFilter from "../event/EventFilter.ts"
import type { EventStore } from "../eventStore/EventStore.ts"
import type { LogFilter } from "../eventStore/EventStoreDriver.ts"
import { type BatchPlan, type BatchProcessor, failedEventOf, type Failure } from "./BatchProcessor.ts"
import type { Advanced, ConsumerDriver } from "./CheckpointDriver.ts"
import { segmentsOf } from "./DeliveryLog.ts"
import type { Parked, ParkingRequest, Unpark } from "./ParkingDriver.ts"

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
}

/**
 * The result of a request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unparked {
  readonly advanced: Advanced
  /** The event at which the stream is parked now; undefined when the stream is free. */
  readonly next: Failure | undefined
  /** How many events were applied. */
  readonly applied: number
}

/**
 * Applies the parked event and the stream's events after it, up to the partition's checkpoint. The stream is parked again at the first event
 * that fails, also when newer code wrote that event: the other streams go on, even where no newer code runs.
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
  const { events, filter, generation, processor } = owned
  const [first, ...later] = yield* events.readStreamEncoded(parked.stream, { from: parked.version }).pipe(
    Stream.takeWhile((event) => event.position <= checkpoint.position),
    Stream.runCollect
  )
  if (first?.id !== parked.eventId) {
    const { eventId, position, stream, version } = parked
    return yield* storeError(new LogDiverged({ eventId, position, stream, version }))
  }
  const missed = (request.action === "skip" ? later : [first, ...later]).filter(EventFilter.matcher(filter))
  while (true) {
    const unparked = yield* processor.apply(
      generation,
      missed,
      (plan) => commit(owned, parked, request, checkpoint, plan)
    )
    if (unparked.advanced !== "changed") return unparked
  }
})

/** Writes the documents, the delivery log and the new state of the stream. The checkpoint does not move, but the lease is checked. */
const commit = (
  { epoch, generation, partition, store }: OwnedPartition,
  parked: Parked,
  request: ParkingRequest,
  checkpoint: LogPosition,
  { applied, changes, failures: [next], reads }: BatchPlan
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
    if (advanced !== "advanced") return { advanced, next: undefined, applied: 0 }
    if (applied.length > 0) yield* store.recordLateDelivery(generation, partition, segmentsOf(applied, 1))
    yield* store.unpark({
      generation,
      partition,
      stream: parked.stream,
      action: actionOf(request, parked, next),
      next: next === undefined ? undefined : failedEventOf(next)
    })
    return { advanced, next, applied: applied.length }
  }))

const actionOf = ({ action }: ParkingRequest, parked: Parked, next: Failure | undefined): Unpark["action"] => {
  if (next !== undefined && next.event.position === parked.position) return "failed"
  return action === "skip" ? "skipped" : "retried"
}
