/**
 * Carries out requests to retry or skip the events at which keys are parked, in chunks: each applies up to a batch of events of one key or of many,
 * and saves how far the keys are, in one transaction.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type EventStoreError, LogDiverged, storeError } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import type { LogPosition } from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type { LogFilter } from "../../eventStore/driver/EventStoreDriver.ts"
import type { EventStore } from "../../eventStore/EventStore.ts"
import { isInDatabaseOf } from "../../eventStore/LogIdentity.ts"
import type { BatchPlan, BatchProcessor, LeasedPartition, UpToDate } from "../batch/BatchProcessor.ts"
import { failedEventOf } from "../batch/Failure.ts"
import type { Advanced, ConsumerDriver } from "../CheckpointDriver.ts"
import type * as ConsumerKey from "../ConsumerKey.ts"
import { segmentsOf } from "../DeliveryLog.ts"
import type { FormerPartitions } from "../FormerPartitions.ts"
import * as ReadsChange from "../ReadsChange.ts"
import type { Tracker } from "../worker/EventInHand.ts"
import type { PartitionLease } from "../worker/PartitionLease.ts"
import type { Parked, ParkedEvent, Unpark, UnparkResult } from "./ParkingDriver.ts"
import type { FailedDelivery } from "./UnreadEvents.ts"

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
  /** The number of partitions of the generation. */
  readonly partitions: number
  /** The partitions before, while one of them is ahead of the checkpoint. */
  readonly former: ReadonlyArray<FormerPartitions>
  readonly epoch: bigint
  readonly filter: LogFilter
  /** The maximum number of events in a chunk that follows one that was not full, and in any chunk. */
  readonly batchSize: number
  readonly maxBatchSize: number
  /** How long the handler of an event may take to end after an interruption. */
  readonly stopTimeout: Duration.Duration
  /** Shows the event whose handler runs. */
  readonly inHand?: Tracker | undefined
  readonly lease?: PartitionLease | undefined
  readonly upToDate?: UpToDate | undefined
}

/**
 * How far a parked key has been read.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyProgress {
  readonly parked: Parked
  /** The last of its events that were read; undefined if there was none. */
  readonly reached: ParkedEvent | undefined
  /** Whether it has no further event up to the checkpoint. */
  readonly isComplete: boolean
}

/**
 * Events that waited, in order, and the keys that they belong to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Chunk {
  readonly events: ReadonlyArray<ConsumerKey.KeyedEvent>
  readonly keys: ReadonlyArray<KeyProgress>
  /** Those of the keys that stay parked because this code does not read their events. `events` has none of these keys. */
  readonly unread?: ReadonlyArray<FailedDelivery> | undefined
}

/**
 * The result of a chunk.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unparked {
  readonly advanced: Advanced
  /** The events at which keys are parked now. */
  readonly failures: ReadonlyArray<FailedDelivery>
  /** The keys that are free now. */
  readonly freed: ReadonlyArray<string>
  /** How many deliveries were applied. */
  readonly applied: number
  /** The keys whose request was withdrawn or replaced: nothing of the chunk was written for them. */
  readonly changed: ReadonlyArray<string>
  /** Keys of the chunk that are being freed, each as it is stored now. One of which no event was tried is not among them, unless it is skipped. */
  readonly freeing: ReadonlyArray<Parked>
  /** The position of the first event that was not tried, because the transaction ended before it; undefined if all were tried. */
  readonly untriedFrom: Position.Position | undefined
}

/**
 * Applies a chunk and writes its result: the documents, the delivery log and the new state of each key, in one transaction. A key is parked again at
 * its first event that fails, also when newer code wrote that event: the other keys go on, even where no newer code runs. Events to skip are skipped
 * in a transaction before: from then on their requests stand, so no later event of a key is handled while its request can still be withdrawn.
 *
 * @since 0.1.0
 * @category combinators
 */
export const apply = Effect.fnUntraced(function*(
  owned: OwnedPartition & Pick<LeasedPartition, "onRetry">,
  chunk: Chunk,
  checkpoint: LogPosition
): Effect.fn.Return<Unparked, EventStoreError> {
  const toSkip = chunk.events.length === 0 ? [] : chunk.keys.filter(isToSkip)
  if (toSkip.length === 0) return yield* applyAll(owned, chunk, checkpoint)
  const begun = toSkip.map(({ parked }) => ({ parked, reached: parked, isComplete: false }))
  const skipped = yield* applyAll(owned, { keys: begun, events: [] }, checkpoint)
  if (skipped.advanced !== "advanced") return skipped
  const keys = chunk.keys.map((one) => isToSkip(one) ? { ...one, parked: { ...one.parked, isFreeing: true } } : one)
  const applied = yield* applyAll(owned, without({ ...chunk, keys }, skipped.changed), checkpoint)
  return {
    ...applied,
    changed: [...skipped.changed, ...applied.changed],
    freeing: [...skipped.freeing, ...applied.freeing]
  }
})

const isToSkip = ({ parked: { isFreeing, request } }: KeyProgress): boolean => !isFreeing && request?.action === "skip"

/** Applies a chunk until it is written, without the keys whose request has changed. */
const applyAll = Effect.fnUntraced(function*(
  owned: OwnedPartition & Pick<LeasedPartition, "onRetry">,
  chunk: Chunk,
  checkpoint: LogPosition
): Effect.fn.Return<Unparked, EventStoreError> {
  const changed: Array<string> = []
  let rest = chunk
  while (true) {
    if (rest.keys.length === 0) return { ...none, advanced: "advanced", changed }
    const unparked = yield* owned.processor.apply(
      { ...owned, parksAll: true },
      rest.events,
      (plan) => commit(owned, triedOf(rest, plan), checkpoint, plan)
    )
    changed.push(...unparked.changed)
    if (unparked.advanced !== "changed") return { ...unparked, changed }
    rest = without(rest, unparked.changed)
  }
})

/**
 * Returns a chunk without some of its keys. Nothing is left without the last key.
 *
 * @since 0.1.0
 * @category combinators
 */
export const without = (chunk: Chunk, left: ReadonlyArray<string>): Chunk => {
  if (left.length === 0) return chunk
  const leftOut = new Set(left)
  const keys = chunk.keys.filter(({ parked }) => !leftOut.has(parked.key))
  return {
    keys,
    unread: chunk.unread?.filter(({ key }) => !leftOut.has(key)),
    // The event of an unknown key is applied under others.
    events: keys.length === 0 ? [] : chunk.events.flatMap((one) => {
      const ofEvent = one.keys.filter((key) => !leftOut.has(key))
      return ofEvent.length === 0 ? [] : [{ ...one, keys: ofEvent }]
    })
  }
}

/** Returns the part of a chunk whose events were tried before the worker stopped. */
const triedOf = (chunk: Chunk, { untriedFrom }: Pick<BatchPlan, "untriedFrom">): Chunk =>
  untriedFrom === undefined ? chunk : {
    unread: chunk.unread,
    events: chunk.events.filter(({ event }) => event.position < untriedFrom),
    keys: chunk.keys.flatMap((one): ReadonlyArray<KeyProgress> => {
      const ofKey = chunk.events.filter(({ keys }) => keys.includes(one.parked.key)).map(({ event }) => event)
      const last = ofKey.findLast(({ position }) => position < untriedFrom)
      return ofKey.at(-1) === last ? [one] : last === undefined ? [] : [{
        parked: one.parked,
        reached: placeOf(last),
        isComplete: false
      }]
    })
  }

/** Rolls the transaction back because one of the keys is not parked at the event any more, or has another request. */
class NotWritten {
  readonly _tag = "NotWritten"
  readonly result: Exclude<UnparkResult, "written">
  constructor(result: Exclude<UnparkResult, "written">) {
    this.result = result
  }
}

/** Writes a chunk, unless code that reads more waits for the partition, and events that only that code reads may wait behind the keys. */
const commit = Effect.fnUntraced(function*(
  owned: OwnedPartition,
  chunk: Chunk,
  checkpoint: LogPosition,
  plan: BatchPlan
): Effect.fn.Return<Unparked, EventStoreError> {
  const written = yield* write(owned, chunk, checkpoint, plan)
  if (written.advanced !== "lost") return written
  const { events: { [internals]: { driver } }, partition, processor: { consumer }, store } = owned
  const { position: upTo } = checkpoint
  const takenBy = yield* ReadsChange.waitingFor(store, consumer, owned, upTo)
  if (takenBy === undefined) return written
  const first = chunk.keys.reduce((least, { parked: { position } }) => position < least ? position : least, upTo)
  const range = { after: Position.make(first - 1n), upTo, partition }
  const passed = yield* ReadsChange.firstBeyond(driver, consumer, takenBy, range)
  return passed === undefined ? yield* write(owned, chunk, checkpoint, plan, takenBy) : written
})

/**
 * Writes a chunk. The lease is checked, but the checkpoint does not move. So it is checked that each key is still parked, too: a transaction whose
 * connection was lost may have committed after all, under the same lease. The request is the one that was read, or it is not carried out.
 */
const write = (
  { epoch, events, generation, partition, store }: OwnedPartition,
  { keys, unread = [] }: Chunk,
  checkpoint: LogPosition,
  { applied, changes, failures: failed, reads, untriedFrom }: BatchPlan,
  takenBy?: string
): Effect.Effect<Unparked, EventStoreError> => {
  const failures: ReadonlyArray<FailedDelivery> = [...failed, ...unread]
  const failureOf = new Map(failures.map((failure) => [failure.key, failure]))
  // In the order in which requests lock them.
  const results = keys.map((one) => resultOf(one, failureOf.get(one.parked.key)))
    .toSorted((a, b) => a.position === b.position ? a.key < b.key ? -1 : 1 : a.position < b.position ? -1 : 1)
  const ofChunk = new Set(keys.map(({ parked }) => parked.key))
  const others = failures.filter(({ key }) => !ofChunk.has(key))
  return store.transaction(Effect.gen(function*() {
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
      applied: [],
      takenBy,
      isOfLog: isInDatabaseOf(events[internals].driver, store)
    })
    if (advanced !== "advanced") return { ...none, advanced }
    if (applied.length > 0) yield* store.recordLateDelivery(generation, partition, segmentsOf(applied, 1))
    const result = yield* store.unpark(generation, partition, results)
    if (result !== "written") return yield* Effect.fail(new NotWritten(result))
    if (others.length > 0) yield* store.park(generation, partition, others.map(failedEventOf))
    const freed = results.flatMap(({ key, next, reached }) => next === undefined && reached === undefined ? [key] : [])
    const freeing = keys.flatMap(({ isComplete, parked, reached }): ReadonlyArray<Parked> =>
      isComplete || reached === undefined || failureOf.has(parked.key)
        ? []
        : [{ ...parked, ...reached, isFreeing: true }]
    )
    return { advanced, failures, freed, applied: applied.length, changed: [], freeing, untriedFrom }
  })).pipe(Effect.catchTag("NotWritten", ({ result }): Effect.Effect<Unparked> =>
    Effect.succeed(
      result === "moved" ? { ...none, advanced: "lost" } : { ...none, advanced: "changed", changed: result.changed }
    )))
}

const none: Omit<Unparked, "advanced"> = {
  failures: [],
  freed: [],
  applied: 0,
  changed: [],
  freeing: [],
  untriedFrom: undefined
}

const resultOf = ({ isComplete, parked, reached }: KeyProgress, failure: FailedDelivery | undefined): Unpark => ({
  key: parked.key,
  position: parked.position,
  request: parked.request?.id,
  action: parked.isFreeing
    ? undefined
    : failure?.event.position === parked.position
    ? "failed"
    : parked.request?.action === "skip"
    ? "skipped"
    : "retried",
  next: failure && failedEventOf(failure),
  reached: failure !== undefined || isComplete ? undefined : reached
})

/**
 * Returns a log event as a parked key refers to it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const placeOf = ({ id, position, stream, type, version }: EncodedEvent): ParkedEvent => ({
  stream,
  version,
  position,
  eventId: id,
  type
})

/**
 * Fails with `LogDiverged` unless the log has these events where keys are parked.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireEvents = Effect.fnUntraced(function*(
  { events: { [internals]: { driver } } }: Pick<OwnedPartition, "events">,
  parked: ReadonlyArray<ParkedEvent>
): Effect.fn.Return<void, EventStoreError> {
  for (const some of Arr.chunksOf(parked, 1_000)) {
    const ids = yield* driver.eventIds(some.map(({ position }) => position))
    for (const [index, one] of some.entries()) if (ids[index] !== one.eventId) return yield* diverged(one)
  }
})

/**
 * Returns the error that the log does not have the event at which a key is parked.
 *
 * @since 0.1.0
 * @category constructors
 */
export const diverged = ({ eventId, position, stream, version }: ParkedEvent): EventStoreError =>
  storeError(new LogDiverged({ eventId, position, stream, version }))
