/**
 * Processes one partition of a consumer while its lease lasts: reads pages of the log, applies them, and moves the checkpoint.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Latch from "effect/Latch"
import type * as Tracer from "effect/Tracer"
import * as TraceContext from "../command/TraceContext.ts"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import type * as Position from "../core/Position.ts"
import * as Background from "../core/telemetry/background.ts"
import { inSpan } from "../core/telemetry/inSpan.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { LogFilter } from "../eventStore/driver/EventStoreDriver.ts"
import * as EventEncryption from "../eventStore/EventEncryption.ts"
import type { EventStore } from "../eventStore/EventStore.ts"
import * as LogIdentity from "../eventStore/LogIdentity.ts"
import type { BatchProcessor } from "./batch/BatchProcessor.ts"
import type { Failure } from "./batch/Failure.ts"
import { commit, type CommittingPartition, type Outcome } from "./batch/PlanCommit.ts"
import type { ConsumerDriver } from "./CheckpointDriver.ts"
import type { Consumer } from "./Consumer.ts"
import * as ConsumerKey from "./ConsumerKey.ts"
import * as FormerPartitions from "./FormerPartitions.ts"
import type { Assignment } from "./LeaseDriver.ts"
import * as PageReader from "./page/PageReader.ts"
import * as SavedPosition from "./page/SavedPosition.ts"
import * as ParkingRequests from "./parking/ParkingRequests.ts"
import type * as Unparking from "./parking/Unparking.ts"
import {
  countApplied,
  freeingOf,
  logCarried,
  parkedAt,
  type ProcessorLogs,
  type Report,
  type ReportedPartition,
  reportWaiting,
  retryReporter
} from "./PartitionReport.ts"
import { awaitsNewerCode } from "./UnknownTypes.ts"
import type { Tracker } from "./worker/EventInHand.ts"
import type { PartitionLease } from "./worker/PartitionLease.ts"

/**
 * Options of a processor.
 *
 * @since 0.1.0
 * @category options
 */
export interface PartitionOptions {
  readonly events: EventStore["Service"]
  readonly store: ConsumerDriver
  readonly processor: BatchProcessor
  readonly generation: string
  /** The number of partitions of the generation, which may differ from that of the consumer's definition. */
  readonly partitions: number
  /** The maximum number of events in a page that follows one that was not full. */
  readonly batchSize: number
  /** The maximum number of events in any page. */
  readonly maxBatchSize: number
  /** The maximum number of events in the first page; `batchSize` by default. */
  readonly firstBatchSize?: number | undefined
  /** The pause before an event at which the consumer has stopped is tried again. */
  readonly retryDelay: { readonly first: Duration.Duration; readonly max: Duration.Duration }
  /** Open while a request to retry or skip a parked key may be waiting. */
  readonly requests: Latch.Latch
  /** How long the handler of an event may take to end after an interruption. */
  readonly stopTimeout: Duration.Duration
  readonly lease: PartitionLease
  /** A transaction of handlers that has lasted longer commits what it has. */
  readonly maxDuration: Duration.Duration
  /** Runs the wait of a partition that has processed all events. */
  readonly whileIdle: <E>(wait: Effect.Effect<void, E>) => Effect.Effect<void, E>
  /** Shows the event whose handler runs. */
  readonly inHand?: Tracker | undefined
  /** The logs of parked keys and of failed attempts. */
  readonly logs: ProcessorLogs
  readonly report: (report: Report) => Effect.Effect<unknown>
}

/**
 * Returns the filter of the log with which a partition is read. `ConsumerKey.select` finds the keys of the partition among the events.
 *
 * @since 0.1.0
 * @category accessors
 */
export const filterOf = (
  { partitionBy, partitions, reads, where }: Pick<Consumer, "partitions" | "partitionBy" | "reads" | "where">,
  partition: number
): LogFilter => ({
  types: reads,
  ...where,
  partition: ConsumerKey.partitionFilter(partitionBy, partition, partitions)
})

interface Partition extends ReportedPartition, CommittingPartition {
  readonly maxDuration: Duration.Duration
  readonly requests: ParkingRequests.ParkingRequests
  /** Whether the checkpoint moves up to 100 ms later after a page without an event for the partition; never for a projection, as a query may wait for it. */
  readonly savesLater: boolean
}

/**
 * Processes a partition until another worker owns it. Returns the error of an event that newer code wrote when it comes to one: then a process
 * with that code should take over.
 *
 * @since 0.1.0
 * @category combinators
 */
export const run = Effect.fnUntraced(function*(
  options: PartitionOptions,
  { count, epoch, eventId, former = [], partition: index, position }: Assignment
): Effect.fn.Return<EventStoreError | undefined, EventStoreError> {
  const { batchSize, events, generation, inHand, lease, logs, maxBatchSize, partitions, report, stopTimeout, store } =
    options
  const processor = { ...options.processor, consumer: { ...options.processor.consumer, partitions } }
  const filter = filterOf(processor.consumer, index)
  const owned: Unparking.OwnedPartition = {
    events,
    store,
    processor,
    generation,
    partition: index,
    partitions,
    former,
    epoch,
    filter,
    batchSize,
    maxBatchSize,
    stopTimeout,
    inHand,
    lease,
    upToDate: (read) => EventEncryption.upToDate(events[internals].keys, read)
  }
  const partition: Partition = {
    ...owned,
    maxDuration: options.maxDuration,
    parked: yield* parkedKeysOf(owned),
    requests: ParkingRequests.make(owned),
    logs,
    report,
    carried: { freed: 0, failed: 0 },
    savesLater: processor.consumer.kind === "subscription" && events[internals].driver.schema !== undefined,
    isTaken: false
  }
  const { consumer } = processor
  const pages = PageReader.make({
    driver: events[internals].driver,
    filter,
    batchSize,
    maxBatchSize,
    firstBatchSize: options.firstBatchSize,
    stopsAtUnknown: consumer.unknownTypes === "stop" ? consumer : undefined
  })
  return yield* Effect.ensuring(
    processPages(options, partition, pages, LogPosition.make(position, eventId, count)),
    pages.discard
  )
})

/** The maximum number of parked keys that one statement reads. */
const keysInPage = 5_000

const parkedKeysOf = Effect.fnUntraced(function*(
  { generation, partition, store }: Unparking.OwnedPartition
): Effect.fn.Return<Set<string>, EventStoreError> {
  const parked = new Set<string>()
  let page: ReadonlyArray<string> = []
  do {
    page = yield* store.parkedKeys(generation, partition, page.at(-1), keysInPage)
    for (const key of page) parked.add(key)
  } while (page.length === keysInPage)
  return parked
})

const processPages = Effect.fnUntraced(function*(
  { events, requests, retryDelay, whileIdle }: PartitionOptions,
  partition: Partition,
  pages: PageReader.PageReader,
  start: LogPosition.LogPosition
): Effect.fn.Return<EventStoreError | undefined, EventStoreError> {
  const place = SavedPosition.make(start)
  let head = start.position
  let delay = retryDelay.first
  const formerlyReached = FormerPartitions.reached(partition.former)
  let isDeferred = false
  while (true) {
    if ((place.isDue() || requests.isOpen()) && !(yield* save(partition, place, head))) return undefined
    const { saved: checkpoint } = place
    // The events that wait behind a parked key are those up to the checkpoint, so that must not be below the former one of the key.
    const isCaughtUp = checkpoint.position >= formerlyReached
    if (!isCaughtUp) {
      const { former } = partition
      yield* LogIdentity.requireEvents(
        events[internals].driver,
        FormerPartitions.checkpointsOf({ ...checkpoint, former })
      )
    }
    const isWaiting = partition.parked.has(ConsumerKey.unknownKey)
    if (requests.isOpen() && !isCaughtUp) {
      isDeferred = true
      if (!isWaiting) yield* requests.close
    } else if (isCaughtUp && isDeferred) {
      yield* requests.open
      isDeferred = false
    }
    if (requests.isOpen()) {
      yield* requests.close
      // Without the event at which it waits the partition cannot catch up.
      const carried = yield* handleRequests(partition, checkpoint, head, isCaughtUp ? "all" : "unknownKey")
      if (carried === undefined) return undefined
      // The other keys go on in between.
      if (carried.later !== undefined) yield* Effect.forkChild(Effect.andThen(carried.later, requests.open))
      else if (carried.hasMore) yield* requests.open
    }
    if (partition.parked.has(ConsumerKey.unknownKey)) {
      yield* pages.discard
      head = yield* events[internals].driver.head
      yield* reportWaiting(partition, checkpoint.position, head)
      yield* requests.await
      continue
    }
    const page = yield* pages.read(place.read)
    head = page.head
    const done = yield* processPage(partition, place, page)
    if (done === undefined || partition.isTaken) return undefined
    if (done.stopped === undefined) {
      delay = retryDelay.first
      // The rest is read again. If the worker stops, it is interrupted there.
      if (done.isPartial) yield* pages.discard
      else if (page.isLast) {
        yield* whileIdle(Effect.raceAllFirst([pages.changed(place.read), requests.await, place.due]))
      }
      continue
    }
    if (awaitsNewerCode(partition.processor.consumer, done.stopped.error)) return done.stopped.error
    yield* pages.discard
    if (done.applied > 0) delay = retryDelay.first
    yield* Effect.raceFirst(Effect.sleep(delay), requests.await)
    delay = Duration.min(Duration.times(delay, 2), retryDelay.max)
  }
})

/** Saves the checkpoint, if the partition has read more. Returns false when another worker owns the partition. */
const save = Effect.fnUntraced(function*(
  partition: Partition,
  place: SavedPosition.SavedPosition,
  head: Position.Position
): Effect.fn.Return<boolean, EventStoreError> {
  const { read, saved } = place
  if (read.position === saved.position) return true
  // A release that waits for the partition may read more types, and have an event after the checkpoint. Then the checkpoint stays where it is.
  const at = (position: Position.Position) => position === saved.position ? saved : read
  const committed = yield* commit(partition, saved.position, read.position, at, nothing)
  if (committed.advanced !== "advanced" || partition.isTaken) return false
  yield* place.hasSaved(read)
  yield* partition.report({
    state: "live",
    position: read.position,
    head,
    applied: 0,
    parked: partition.parked.size,
    detail: freeingOf(partition)
  })
  return true
})

const nothing = { applied: [], failures: [], changes: [], reads: undefined } as const

/** Returns the events with their keys of the partition that are not parked. */
const selectFrom = (
  { former, parked, partition, processor: { consumer, keysOf } }: Partition,
  events: ReadonlyArray<EncodedEvent>
): ReadonlyArray<ConsumerKey.KeyedEvent> => {
  const of = { index: partition, of: consumer.partitions, isRead: !ConsumerKey.isComputed(consumer.partitionBy) }
  const by = ConsumerKey.format(consumer.partitionBy)
  return events.flatMap((event) => {
    const isLeftOut = (key: string) => parked.has(key) || FormerPartitions.isProcessed(former, by, event, key)
    return ConsumerKey.select(event, keysOf(event), { ...of, isLeftOut }) ?? []
  })
}

/** How far a page was processed, and the event at which the consumer stopped. */
interface ProcessedPage {
  readonly checkpoint: LogPosition.LogPosition
  readonly stopped: Failure | undefined
  readonly applied: number
  /** Whether the events after the checkpoint were not tried. */
  readonly isPartial: boolean
}

/** Applies one page and moves the checkpoint, at once if the page has an event for the partition. Returns undefined when another worker owns the partition. */
const processPage = Effect.fnUntraced(function*(
  partition: Partition,
  place: SavedPosition.SavedPosition,
  page: PageReader.Page
): Effect.fn.Return<ProcessedPage | undefined, EventStoreError> {
  const { parked, report } = partition
  const { events, head, isLast, reached: { position: to } } = page
  const batch = selectFrom(partition, events.filter(page.isRelevant))
  const hasRead = to !== place.read.position
  if (batch.length > 0 || (hasRead && !(isLast && partition.savesLater))) {
    const applying = applyBatch(partition, place.saved, page, to, batch)
    const done = yield* batch.length > 0 ? inStepSpan(applying, partition, batch) : applying
    if (done !== undefined) yield* place.hasSaved(done.checkpoint)
    return done
  }
  if (hasRead) {
    if (page.verify !== undefined) yield* page.verify
    yield* place.hasRead(logPositionsOf(place.read, page)(to))
  }
  yield* report({ state: "live", position: to, head, applied: 0, parked: parked.size, detail: freeingOf(partition) })
  return { checkpoint: place.read, stopped: undefined, applied: 0, isPartial: false }
})

const inStepSpan = <A, E, R>(
  step: Effect.Effect<A, E, R>,
  { partition, processor }: Partition,
  batch: ReadonlyArray<ConsumerKey.KeyedEvent>
): Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>> =>
  Background.withSpans(inSpan(
    step,
    "Consumer.step",
    { "evsrc.consumer": processor.consumer.id, "evsrc.partition": partition, "evsrc.events": batch.length },
    { ...TraceContext.ofBatch(batch.map(({ event }) => event)), kind: "consumer" }
  ))

const applyBatch = Effect.fnUntraced(
  function*(
    partition: Partition,
    checkpoint: LogPosition.LogPosition,
    page: PageReader.Page,
    to: Position.Position,
    batch: ReadonlyArray<ConsumerKey.KeyedEvent>
  ): Effect.fn.Return<ProcessedPage | undefined, EventStoreError> {
    const { parked, processor, report } = partition
    const { head, isLast } = page
    const { position: from } = checkpoint
    const logPositionAt = logPositionsOf(checkpoint, page)
    const verified = yield* verifying(processor, page)
    while (true) {
      const committed = yield* processor.apply(
        { ...partition, onRetry: retryReporter(partition, from, head) },
        batch,
        (plan) => Effect.andThen(verified, commit(partition, from, to, logPositionAt, plan))
      )
      if (committed.advanced === "lost") return undefined
      // Another partition has written a document in the meantime.
      if (committed.advanced === "changed") continue
      yield* logParked(partition, committed)
      yield* countApplied(partition, committed.applied)
      const { applied, isPartial, reached: position, stopped } = committed
      yield* report({
        state: stopped !== undefined ? "stuck" : isLast && !isPartial ? "live" : "catching-up",
        position,
        head,
        applied,
        parked: parked.size,
        detail: stopped === undefined ? freeingOf(partition) : stopped.error.message,
        ...stopped === undefined ? {} : { error: stopped.error }
      })
      return { checkpoint: logPositionAt(position), stopped, applied, isPartial }
    }
  }
)

/** Verifies a page before the user's code runs; or, if that has no effects, meanwhile: then it returns what to await before the commit. */
const verifying = (
  { grows }: BatchProcessor,
  { verify }: PageReader.Page
): Effect.Effect<Effect.Effect<void, EventStoreError>, EventStoreError> =>
  verify === undefined
    ? Effect.succeed(Effect.void)
    : grows
    ? Effect.map(Effect.forkChild(verify, { startImmediately: true }), Fiber.join)
    : Effect.as(verify, Effect.void)

/** Returns the function that finds the event at a position that a page may reach, and the number of events before it. */
const logPositionsOf = (
  checkpoint: LogPosition.LogPosition,
  { events, head, headCount, headEventId, reached }: PageReader.Page
) =>
(position: Position.Position): LogPosition.LogPosition =>
  position === checkpoint.position
    ? checkpoint
    : position === head
    ? LogPosition.make(head, headEventId, headCount)
    : position === reached.position
    ? reached
    : LogPosition.make(position, events.find((event) => event.position === position)?.id)

/** Carries out a chunk of the requests for parked keys. Returns undefined when another worker owns the partition. */
const handleRequests = Effect.fnUntraced(function*(
  partition: Partition,
  checkpoint: LogPosition.LogPosition,
  head: Position.Position,
  which: ParkingRequests.Progress["which"]
): Effect.fn.Return<ParkingRequests.Carried | undefined, EventStoreError> {
  const { carried, parked, report, requests } = partition
  const { position } = checkpoint
  const done = yield* Background.withSpans(
    requests.next({ checkpoint, parked, which, onRetry: retryReporter(partition, position, head) })
  )
  if (done.advanced !== "advanced") return undefined
  const { applied, failures, freed, hasMore } = done
  for (const key of freed) parked.delete(key)
  for (const failure of failures) yield* parkedAt(partition, failure)
  carried.freed += freed.length
  carried.failed += failures.length
  if (!hasMore) yield* logCarried(partition)
  yield* countApplied(partition, applied)
  const state = head > position ? "catching-up" : "live"
  yield* report({ state, position, head, applied, parked: parked.size, detail: freeingOf(partition) })
  return done
})

const logParked = Effect.fnUntraced(function*(partition: ReportedPartition, { toPark }: Outcome) {
  for (const failure of toPark) yield* parkedAt(partition, failure)
})
