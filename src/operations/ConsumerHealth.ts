/**
 * The health of one consumer, by its checkpoints, parked keys and the types of events in the log.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { ConsumerDriver, Progress } from "../consumer/CheckpointDriver.ts"
import type * as Consumer from "../consumer/Consumer.ts"
import * as ConsumerDefinition from "../consumer/ConsumerDefinition.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import * as ConsumerReads from "../consumer/ConsumerReads.ts"
import { continuedDetail, drainingDetail } from "../consumer/ConsumerStatus.ts"
import * as FormerPartitions from "../consumer/FormerPartitions.ts"
import * as GenerationId from "../consumer/GenerationId.ts"
import type { ParkedCount } from "../consumer/parking/ParkingDriver.ts"
import { filterOf } from "../consumer/PartitionProcessor.ts"
import type { RepartitionObstacle } from "../consumer/RepartitionObstacle.ts"
import * as StartPosition from "../consumer/StartPosition.ts"
import * as UnknownTypes from "../consumer/UnknownTypes.ts"
import { type EventStoreError, storeError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as EventFilter from "../event/EventFilter.ts"
import * as EventTags from "../event/EventTags.ts"
import type { EventStoreDriver, EventType, EventTypes, LogFilter } from "../eventStore/EventStoreDriver.ts"
import { describeMaker } from "../eventStore/InlineProjectionsDriver.ts"
import * as LogIdentity from "../eventStore/LogIdentity.ts"
import * as PastTags from "../eventStore/PastTags.ts"
import * as UntaggedEvents from "../eventStore/UntaggedEvents.ts"
import * as InlineCompleteness from "../projection/InlineCompleteness.ts"
import * as HealthStatus from "./HealthStatus.ts"

/**
 * The health of a partition. Times are in seconds, by the clock of the database.
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionHealth extends HealthStatus.Assessment {
  readonly partition: number
  /** The checkpoint. */
  readonly position: Position.Position
  /**
   * The waiting events up to `maxCount`, whether there may be more, and how long the oldest of them has waited. The count ends after
   * `Limits.scannedPositions`. If no waiting event is among them, the seconds are those of the next event of any kind: no event has waited for longer.
   */
  readonly lag: { readonly events: number; readonly isMore: boolean; readonly seconds: number }
  /** The number of parked keys. */
  readonly parked: number
  /** The number of parked keys with a request to retry or skip them that is not carried out yet. */
  readonly requested: number
  /** The worker that owns the partition. */
  readonly owner: string | undefined
  /** The time of the last heartbeat. */
  readonly heartbeat: DateTime.Utc
  /** The seconds since the last heartbeat. */
  readonly heartbeatAge: number
  /** The number of events applied so far. */
  readonly applied: bigint
  /** Events applied per second since the previous report. */
  readonly throughput: number | undefined
}

/**
 * The health of a consumer: the status of its worst partition, the position and the seconds of its slowest one, and the sums of all.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConsumerHealth extends HealthStatus.Assessment {
  readonly consumer: string
  readonly generation: string
  readonly position: Position.Position
  readonly lag: PartitionHealth["lag"]
  readonly parked: number
  readonly requested: number
  readonly heartbeatAge: number | undefined
  readonly throughput: number | undefined
  readonly partitions: ReadonlyArray<PartitionHealth>
  /** Types of events in the log, of the same streams as those of the consumer's set, that its code does not know. */
  readonly unknownTypes: ReadonlyArray<EventType>
}

/**
 * The options of a check that are limits, with their defaults, in seconds.
 *
 * @since 0.1.0
 * @category options
 */
export interface HealthLimits {
  readonly heartbeatTimeout: number
  readonly stallTimeout: number
  readonly maxWait: number
  readonly maxCount: number
}

/**
 * What the health of one consumer is computed from.
 *
 * @since 0.1.0
 * @category models
 */
export interface Measured {
  readonly log: EventStoreDriver
  readonly store: ConsumerDriver
  /** The types of events in the log. */
  readonly counted: EventTypes
  /** The position of the last committed event. */
  readonly last: Position.Position
  readonly limits: HealthLimits
  /** Sentences about transactions that hold a lock of the store and do nothing. A stalled consumer may wait for them. */
  readonly idleHolders: ReadonlyArray<string>
  /** An earlier report of the consumers, and the seconds since then. */
  readonly previous: ReadonlyArray<ConsumerHealth>
  readonly elapsed: number
}

/**
 * Returns the health of one consumer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = Effect.fnUntraced(function*(
  consumer: Consumer.Consumer,
  { counted, elapsed, idleHolders, last, limits, log, previous, store }: Measured
): Effect.fn.Return<ConsumerHealth, EventStoreError> {
  const { types } = counted
  const unknownTypes = UnknownTypes.of(consumer, types)
  const ofTags = yield* untaggedOf(log, consumer, counted)
  if (consumer.lifecycle === "inline" || consumer.lifecycle === "live") {
    return yield* synchronousHealth(log, consumer, last, unknownTypes, ofTags)
  }
  const active = yield* Effect.result(store.activeGeneration(consumer.id))
  if (Result.isFailure(active)) {
    if (active.failure.reason._tag !== "GenerationDiscarded") return yield* active.failure
    return withoutPartitions(consumer.id, Position.start, unknownTypes, redBecause(active.failure.message))
  }
  const generation = active.success
  const progress = yield* store.progress(generation)
  const continuedBy = progress[0]?.continuedBy
  if (continuedBy !== undefined) {
    const position = progress.reduce((least, one) => one.position < least ? one.position : least, progress[0]!.position)
    const reasons = [continuedDetail(continuedBy)]
    return withoutPartitions(consumer.id, position, unknownTypes, { status: "yellow", reasons })
  }
  const handOver = yield* handOverOf(store, consumer, generation, progress)
  if (handOver !== undefined && progress.length === 0) {
    return withoutPartitions(consumer.id, Position.start, unknownTypes, { status: "yellow", reasons: [handOver] })
  }
  const cannotStart = progress.length === 0 ? yield* StartPosition.obstacleOf(store, consumer) : undefined
  if (cannotStart !== undefined) {
    return withoutPartitions(consumer.id, Position.start, unknownTypes, redBecause(cannotStart))
  }
  const parked = yield* store.parkedCounts(generation)
  const obstacle = progress.some(({ partitions }) => partitions !== consumer.partitions)
    ? yield* store.repartitionObstacle(generation)
    : undefined
  const before = previous.find((one) => one.consumer === consumer.id && one.generation === generation)
  const partitions = yield* Effect.forEach(
    progress,
    (one) =>
      partitionHealth(log, consumer, one, last, limits, {
        stopping: UnknownTypes.stopping(consumer, types),
        parked: parked.find(({ partition }) => partition === one.partition),
        elapsed,
        obstacle,
        handOver,
        appliedBefore: before?.partitions.find(({ partition }) => partition === one.partition)?.applied
      })
  )
  const policies = yield* Effect.forEach(unknownTypes, (one) => policyFor(log, consumer, types, progress, one))
  const ofTypes = HealthStatus.worstOf(
    [HealthStatus.ofUnknownTypes(policies, UnknownTypes.undecided(consumer, types)), ofTags],
    () => undefined
  )
  const isInline = progress.length === 0 && (yield* log.inlineProjections.find(consumer.id)) !== undefined
  return consumerHealth(consumer, generation, partitions, { unknownTypes, ofTypes, isInline, idleHolders })
})

/** Says which version waits for which partitions, if a version waits to continue from another: for the consumer itself, or for it to end. */
const handOverOf = Effect.fnUntraced(function*(
  store: ConsumerDriver,
  { from, id }: Consumer.Consumer,
  generation: string,
  progress: ReadonlyArray<Progress>
): Effect.fn.Return<string | undefined, EventStoreError> {
  if (progress.length > 0) {
    if (progress.every(({ owner }) => owner !== undefined)) return undefined
    const successor = yield* store.successor(generation)
    return successor && drainingDetail(successor, id, progress)
  }
  if (typeof from === "string" || !("version" in from)) return undefined
  const earlier = GenerationId.otherVersion(id, from.version)
  const active = yield* Effect.result(store.activeGeneration(earlier))
  if (Result.isFailure(active) || (yield* store.successor(active.success)) !== id) return undefined
  return drainingDetail(id, earlier, yield* store.progress(active.success))
})

/** Returns the assessment of a consumer by the events that it does not read because they were stored without a tag. */
const untaggedOf = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  { events, from, handles, partitionBy, reads, where }: Consumer.Consumer,
  counted: EventTypes
): Effect.fn.Return<HealthStatus.Assessment, EventStoreError> {
  const { streamPrefix = "", tags = [] } = where
  const ofPartitions = typeof partitionBy === "object" ? [partitionBy.tag] : []
  const tagNames = Array.from(new Set([...tags.flatMap((tag) => EventTags.nameOf(tag) ?? []), ...ofPartitions]))
  // Of a consumer that starts with the events of now it is not known whether it should have read them.
  if (tagNames.length === 0 || from === "now") return HealthStatus.ofUntagged([], [])
  const past = yield* PastTags.compare(log, events, counted)
  const selection = { events, handles, types: reads, tagNames }
  const isInPrefix = ({ category }: Pick<EventType, "category">) => `${category}-`.startsWith(streamPrefix)
  const mayBe = (one: Pick<EventType, "category">) =>
    !isInPrefix(one) && (one.category === "" || streamPrefix.startsWith(`${one.category}-`))
  return HealthStatus.ofUntagged(
    UntaggedEvents.find(selection, counted.types.filter(isInPrefix), past.filter(isInPrefix)),
    UntaggedEvents.find(selection, counted.types.filter(mayBe), past.filter(mayBe))
  )
})

/** Returns the health of an inline or live projection, which has no worker. */
const synchronousHealth = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  consumer: Consumer.Consumer,
  position: Position.Position,
  unknownTypes: ReadonlyArray<EventType>,
  ofTags: HealthStatus.Assessment
): Effect.fn.Return<ConsumerHealth, EventStoreError> {
  const { id, lifecycle } = consumer
  const incomplete = lifecycle === "live"
    ? undefined
    : InlineCompleteness.whyIncomplete(consumer, yield* log.inlineProjections.find(id))
  const maker = incomplete === undefined ? undefined : yield* log.inlineProjections.maker(id)
  const ofDocuments: HealthStatus.Assessment = incomplete === undefined
    ? { status: "green", reasons: [] }
    : redBecause(
      maker === undefined
        ? incomplete.message
        : `The documents of inline projection "${id}" are being made from the log by ${describeMaker(maker)}`
    )
  const ofTypes = HealthStatus.ofUnknownTypes(unknownTypes.map((one) => ({ ...one, policy: "passes" })), [])
  const assessment = HealthStatus.worstOf([ofDocuments, ofTypes, ofTags], () => undefined)
  return withoutPartitions(id, position, unknownTypes, assessment)
})

const redBecause = (reason: string): HealthStatus.Assessment => ({ status: "red", reasons: [reason] })

const withoutPartitions = (
  consumer: string,
  position: Position.Position,
  unknownTypes: ReadonlyArray<EventType>,
  assessment: HealthStatus.Assessment
): ConsumerHealth => ({
  consumer,
  generation: consumer,
  position,
  lag: { events: 0, isMore: false, seconds: 0 },
  parked: 0,
  requested: 0,
  heartbeatAge: undefined,
  throughput: undefined,
  partitions: [],
  unknownTypes,
  ...assessment
})

const partitionHealth = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  consumer: Consumer.Consumer,
  progress: Progress,
  last: Position.Position,
  limits: HealthLimits,
  measured: {
    readonly stopping: ReadonlyArray<EventType>
    readonly parked: ParkedCount | undefined
    readonly elapsed: number
    readonly obstacle: RepartitionObstacle | undefined
    readonly handOver: string | undefined
    readonly appliedBefore: bigint | undefined
  }
): Effect.fn.Return<PartitionHealth, EventStoreError> {
  const { advancedAt, applied, owner, partition, partitionedBy, partitions, position, readAt, heartbeatAt } = progress
  const stored = { ...consumer, partitions, partitionBy: ConsumerKey.parse(partitionedBy) }
  const limit = limits.maxCount
  const waitsFor = UnknownTypes.addTo(filterOf(stored, partition), measured.stopping)
  // Up to the last committed event: a transaction that holds back the high-water mark makes events wait too.
  const lag = yield* log.lag({ after: position, to: last, limit, ...waitsFor })
  const isMore = lag.reached < last
  const age = (since: DateTime.Utc) => HealthStatus.secondsBetween(since, readAt)
  const waited = Option.match(lag.since, { onNone: () => 0, onSome: age })
  // The worker may have moved the checkpoint since `last` was read.
  const isBeyond = position > last && position > (yield* log.last)
  const { count, eventId } = progress
  const checkpoint = { after: position, afterEventId: eventId, afterCount: count, limit: 1 }
  const diverged: string | undefined = yield* log.readAll(checkpoint).pipe(
    Effect.andThen(LogIdentity.requireEvents(log, FormerPartitions.checkpointsOf(progress).slice(1))),
    Effect.as(undefined),
    Effect.catchReason("EventStoreError", "LogDiverged", ({ message }) => Effect.succeed(message))
  )
  const isAbandoned = owner === undefined && lag.events > 0
  const newer = isAbandoned ? yield* newerAfter(log, stored, position, waitsFor) : undefined
  const heartbeatAge = age(heartbeatAt)
  const { appliedBefore, elapsed } = measured
  const { parked = 0, requested = 0, waitsAt } = measured.parked ?? {}
  return {
    partition,
    position,
    lag: { events: lag.events, isMore, seconds: waited },
    parked,
    requested,
    owner,
    heartbeat: heartbeatAt,
    heartbeatAge,
    applied,
    throughput: appliedBefore === undefined || elapsed === 0
      ? undefined
      : Number(applied - appliedBefore) / elapsed,
    ...HealthStatus.of({
      owner,
      heartbeatAge,
      position,
      waiting: lag.events,
      isMore,
      waited,
      idleFor: Math.min(waited, advancedAt === undefined ? waited : age(advancedAt)),
      parked,
      requested,
      newer,
      isBeyond,
      handOver: measured.handOver,
      diverged,
      stored: partitionedBy === ConsumerKey.format(consumer.partitionBy) ? undefined : { partitions, partitionedBy },
      otherPartitions: partitions === consumer.partitions
        ? undefined
        : { stored: partitions, defined: consumer.partitions, obstacle: measured.obstacle },
      hasOtherReads: progress.reads !== ConsumerReads.format(ConsumerReads.of(consumer)),
      waitsAt,
      ...limits
    })
  }
})

/** Returns why the next event of a partition cannot be decoded, if newer code wrote it. */
const newerAfter = (
  log: EventStoreDriver,
  consumer: Consumer.Consumer,
  after: Position.Position,
  filter: LogFilter
): Effect.Effect<string | undefined, EventStoreError> =>
  Effect.map(
    log.readAll({ after, limit: 1, ...filter }),
    ({ events: [next] }) => {
      const failure = next && Result.getOrUndefined(Result.flip(ConsumerDefinition.decode(consumer, next)))
      return failure !== undefined && UnknownTypes.awaitsNewerCode(consumer, storeError(failure))
        ? failure.message
        : undefined
    }
  )

/** Returns an unknown type and what the consumer does about it. Reads its first event if the checkpoint of a partition is past it. */
const policyFor = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  consumer: Consumer.Consumer,
  types: ReadonlyArray<EventType>,
  progress: ReadonlyArray<Progress>,
  unknown: EventType
): Effect.fn.Return<Parameters<typeof HealthStatus.ofUnknownTypes>[0][number], EventStoreError> {
  if (consumer.unknownTypes === "pass") return { ...unknown, policy: "passes" }
  const past = progress.filter(({ position }) => position >= unknown.first)
  if (past.length === 0) return { ...unknown, policy: "stops" }
  // A subscription from "now" may have started after it.
  if (!UnknownTypes.opensCategory(consumer, types, unknown) || consumer.from === "now") {
    return { ...unknown, policy: "stopsLater" }
  }
  const { events } = yield* log.readAll({ after: Position.make(unknown.first - 1n), limit: 1, types: [unknown.type] })
  const isPassed = events.filter(EventFilter.matcher(consumer.where)).some((event) =>
    past.some(({ partition, partitionedBy, partitions }) => {
      const keys = ConsumerKey.keysOf({ ...consumer, partitionBy: ConsumerKey.parse(partitionedBy) }, event)
      return ConsumerKey.select(event, keys, { index: partition, of: partitions }) !== undefined
    })
  )
  return { ...unknown, policy: isPassed ? "passed" : "stopsLater" }
})

const consumerHealth = (
  consumer: Consumer.Consumer,
  generation: string,
  partitions: ReadonlyArray<PartitionHealth>,
  { idleHolders, isInline, ofTypes, unknownTypes }: {
    /** Whether it never ran in the background because the log has it as an inline projection. */
    readonly isInline: boolean
    readonly unknownTypes: ReadonlyArray<EventType>
    readonly ofTypes: HealthStatus.Assessment
    readonly idleHolders: ReadonlyArray<string>
  }
): ConsumerHealth => {
  const [first] = partitions
  const max = (of: (one: PartitionHealth) => number) => Math.max(0, ...partitions.map(of))
  const sum = (of: (one: PartitionHealth) => number) => partitions.reduce((sum, one) => sum + of(one), 0)
  const ofPartitions: HealthStatus.Assessment = first === undefined
    ? {
      status: "red",
      reasons: [
        isInline
          ? "it is an inline projection in this log, so no worker can run it; raise its version, or call Projector.retireInline when no program "
            + "runs it inline any more"
          : "no worker has ever run it"
      ]
    }
    : HealthStatus.worstOf(partitions, (one) => partitions.length === 1 ? undefined : `partition ${one.partition}`)
  const isStalled = partitions.some(({ status }) => status === "red")
  const ofLocks: HealthStatus.Assessment = { status: "green", reasons: isStalled ? idleHolders : [] }
  const assessment = HealthStatus.worstOf([ofPartitions, ofLocks, ofTypes], () => undefined)
  return {
    consumer: consumer.id,
    generation,
    position: partitions.reduce(
      (least, one) => one.position < least ? one.position : least,
      first?.position ?? Position.start
    ),
    lag: {
      // Each partition by document reads all events, so the slowest one's count includes those of the others.
      events: (consumer.partitionBy === "document" ? max : sum)((one) => one.lag.events),
      isMore: partitions.some((one) => one.lag.isMore),
      seconds: max((one) => one.lag.seconds)
    },
    parked: sum((one) => one.parked),
    requested: sum((one) => one.requested),
    heartbeatAge: first === undefined ? undefined : max((one) => one.heartbeatAge),
    throughput: partitions.some((one) => one.throughput === undefined) || first === undefined
      ? undefined
      : sum((one) => one.throughput ?? 0),
    partitions,
    unknownTypes,
    ...assessment
  }
}
