/**
 * Commits the plan of a batch: decides how far the checkpoint moves and what is parked, and writes both in one transaction.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import type * as LogPosition from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import { isInDatabaseOf } from "../../eventStore/LogIdentity.ts"
import type { Advanced } from "../CheckpointDriver.ts"
import type { Consumer } from "../Consumer.ts"
import * as ConsumerKey from "../ConsumerKey.ts"
import { segmentsOf } from "../DeliveryLog.ts"
import type { FailedEvent } from "../parking/ParkingDriver.ts"
import type * as Unparking from "../parking/Unparking.ts"
import * as ReadsChange from "../ReadsChange.ts"
import type { BatchPlan } from "./BatchProcessor.ts"
import { failedEventOf, type Failure, stopsAt } from "./Failure.ts"

/**
 * How far a plan moves the checkpoint, and what it parks.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  /** The new checkpoint. The event at which a consumer stops is the next that it reads. */
  readonly reached: Position.Position
  readonly stopped: Failure | undefined
  readonly toPark: ReadonlyArray<Failure>
}

/**
 * Returns how far a plan moves the checkpoint on the way `from` one position `to` another.
 *
 * @since 0.1.0
 * @category accessors
 */
export const outcomeOf = (
  consumer: Pick<Consumer, "onFailure" | "unknownTypes">,
  { applied, failures, untriedFrom }: Pick<BatchPlan, "applied" | "failures" | "untriedFrom">,
  from: Position.Position,
  to: Position.Position
): Outcome => {
  const stopped = failures.find(({ error }) => stopsAt(consumer, error))
  const waiting = failures.find((failure) => failure !== stopped && failure.key === ConsumerKey.unknownKey)
  const toPark = failures.filter((failure) => failure !== stopped)
  const done = [...applied, ...toPark].map(({ event }) => event)
    .filter(({ position }) => untriedFrom === undefined || position < untriedFrom)
  return {
    reached: stopped === undefined && waiting === undefined && untriedFrom === undefined
      ? to
      : done.reduce((max, { position }) => Position.max(max, position), from),
    stopped,
    toPark
  }
}

/**
 * The result of a commit, and how much of the batch it covers.
 *
 * @since 0.1.0
 * @category models
 */
export interface Committed extends Outcome {
  readonly advanced: Advanced
  readonly applied: number
  readonly isPartial: boolean
}

/**
 * What the commit needs of a partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommittingPartition extends Unparking.OwnedPartition {
  /** Whether other code waits for the partition, so that its owner reads no further page. */
  isTaken: boolean
}

/**
 * Writes a plan. If code that reads more waits for the partition, it writes what comes before the first event that only that code reads.
 *
 * @since 0.1.0
 * @category combinators
 */
export const commit = Effect.fnUntraced(function*(
  partition: CommittingPartition,
  from: Position.Position,
  to: Position.Position,
  logPositionAt: (position: Position.Position) => LogPosition.LogPosition,
  plan: BatchPlan
): Effect.fn.Return<Committed, EventStoreError> {
  const written = yield* write(partition, from, to, logPositionAt, plan)
  if (written.advanced !== "lost") return written
  const { events: { [internals]: { driver } }, partition: index, processor: { consumer }, store } = partition
  const takenBy = yield* ReadsChange.waitingFor(store, consumer, partition, from)
  if (takenBy === undefined) return written
  partition.isTaken = true
  const passed = yield* ReadsChange.firstBeyond(driver, consumer, takenBy, { after: from, upTo: to, partition: index })
  return yield* write(partition, from, to, logPositionAt, passed === undefined ? plan : before(plan, passed), takenBy)
})

/** Returns the part of a plan before a position. */
const before = ({ applied, failures, untriedFrom, ...plan }: BatchPlan, position: Position.Position): BatchPlan => ({
  ...plan,
  applied: applied.filter(({ event }) => event.position < position),
  failures: failures.filter(({ event }) => event.position < position),
  untriedFrom: untriedFrom === undefined || untriedFrom > position ? position : untriedFrom
})

/** Writes a plan: documents, checkpoint, delivery log and parked keys, in one transaction. */
const write = Effect.fnUntraced(function*(
  { epoch, events, generation, partition, processor, store }: Unparking.OwnedPartition,
  from: Position.Position,
  to: Position.Position,
  logPositionAt: (position: Position.Position) => LogPosition.LogPosition,
  plan: BatchPlan,
  takenBy?: string
): Effect.fn.Return<Committed, EventStoreError> {
  const outcome = outcomeOf(processor.consumer, plan, from, to)
  const { applied, changes, reads } = plan
  const { count, eventId } = logPositionAt(outcome.reached)
  const advance = store.advance({
    generation,
    partition,
    epoch,
    from,
    to: outcome.reached,
    toEventId: eventId,
    toCount: count,
    reads,
    changes,
    applied: segmentsOf(applied),
    takenBy,
    isOfLog: isInDatabaseOf(events[internals].driver, store)
  })
  const toPark: ReadonlyArray<FailedEvent> = outcome.toPark.map(failedEventOf)
  const advanced = yield* toPark.length === 0 ? advance : store.transaction(Effect.tap(
    advance,
    (advanced) => advanced === "advanced" ? store.park(generation, partition, toPark) : Effect.void
  ))
  return { ...outcome, advanced, applied: applied.length, isPartial: plan.untriedFrom !== undefined }
})
