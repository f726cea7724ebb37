/**
 * The health of the partitions of a consumer. However many they are, it takes the same number of statements.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { InHand, Progress } from "../consumer/CheckpointDriver.ts"
import type * as Consumer from "../consumer/Consumer.ts"
import * as ConsumerDefinition from "../consumer/ConsumerDefinition.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import * as ConsumerReads from "../consumer/ConsumerReads.ts"
import * as FormerPartitions from "../consumer/FormerPartitions.ts"
import * as HandOver from "../consumer/HandOver.ts"
import type { ParkedCount } from "../consumer/parking/ParkingDriver.ts"
import { filterOf } from "../consumer/PartitionProcessor.ts"
import * as UnknownTypes from "../consumer/UnknownTypes.ts"
import { type EventStoreError, LogDiverged, storeError } from "../core/errors.ts"
import type * as LogPosition from "../core/LogPosition.ts"
import type * as Position from "../core/Position.ts"
import type { EventStoreDriver, EventType, PartitionLag } from "../eventStore/driver/EventStoreDriver.ts"
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
  /** What the owner had in hand at its last heartbeat, unless it is known to have ended. */
  readonly inHand: InHand | undefined
  /** Events applied per second since the previous report. */
  readonly throughput: number | undefined
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
 * What the health of the partitions is computed from, besides their progress.
 *
 * @since 0.1.0
 * @category models
 */
export interface Measured {
  /** The position of the last committed event. */
  readonly last: Position.Position
  readonly limits: HealthLimits
  /** Types that the consumer does not know, and stops at. */
  readonly stopping: ReadonlyArray<EventType>
  readonly parked: ReadonlyArray<ParkedCount>
  /** Events applied by each partition up to an earlier report, and the seconds since then. */
  readonly appliedBefore: ReadonlyMap<number, bigint>
  readonly elapsed: number
  /** Whether another version, or another number of partitions, waits until all partitions are given back. */
  readonly isHandedOver: boolean
}

/**
 * Returns the health of partitions of one generation.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofAll = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  consumer: Consumer.Consumer,
  progress: ReadonlyArray<Progress>,
  measured: Measured
): Effect.fn.Return<ReadonlyArray<PartitionHealth>, EventStoreError> {
  const [first] = progress
  if (first === undefined) return []
  const { last, limits, stopping } = measured
  const partitionBy = ConsumerKey.parse(first.partitionedBy)
  const filter = UnknownTypes.addTo(filterOf({ ...consumer, partitionBy, partitions: 1 }, 0), stopping)
  // Up to the last committed event: a transaction that holds back the high-water mark makes events wait too.
  const lags = yield* log.partitionLags({
    types: filter.types,
    tags: filter.tags,
    streamPrefix: filter.streamPrefix,
    // Without a known hash, 0 partitions, it is not known which events are for which.
    dividedBy: ConsumerKey.partitionFilter(partitionBy, 0, Math.max(first.partitions, 1)),
    partitions: progress.map(({ partition, position }) => ({ index: partition, after: position })),
    to: last,
    limit: limits.maxCount
  })
  // The workers may have moved the checkpoints since `last` was read.
  const end = progress.some(({ position }) => position > last) ? yield* log.last : last
  const diverged = yield* divergedOf(log, progress)
  const newer = yield* newerOf(log, { ...consumer, partitionBy, partitions: first.partitions }, progress, lags)
  return progress.map((one, index) =>
    ofOne(consumer, one, measured, {
      lag: lags[index]!,
      isBeyond: one.position > end,
      diverged: diverged(one),
      newer: newer(lags[index]!)
    })
  )
})

const ofOne = (
  consumer: Consumer.Consumer,
  progress: Progress,
  measured: Measured,
  { diverged, isBeyond, lag, newer }: Pick<HealthStatus.Signals, "isBeyond" | "diverged" | "newer"> & {
    readonly lag: PartitionLag
  }
): PartitionHealth => {
  const { advancedAt, applied, inHand, owner, partition, partitionedBy, partitions, position, readAt, heartbeatAt } =
    progress
  const { appliedBefore, elapsed, isHandedOver, last, limits } = measured
  const isMore = lag.reached < last
  const age = (since: DateTime.Utc) => HealthStatus.secondsBetween(since, readAt)
  const waited = Option.match(lag.since, { onNone: () => 0, onSome: age })
  // After the clock of the database was set back, a heartbeat in the future is no sign of life.
  const heartbeatAge = Math.max(age(heartbeatAt), HealthStatus.secondsBetween(readAt, heartbeatAt))
  const { parked = 0, requested = 0, waitsAt } = measured.parked.find((one) => one.partition === partition) ?? {}
  const before = appliedBefore.get(partition)
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
    inHand,
    throughput: before === undefined || elapsed === 0 ? undefined : Number(applied - before) / elapsed,
    ...HealthStatus.of({
      owner,
      heartbeatAge,
      position,
      waiting: lag.events,
      isMore,
      waited,
      idleFor: Math.min(waited, advancedAt === undefined ? waited : age(advancedAt)),
      inHand: inHand === undefined || age(inHand.since) <= limits.maxWait
        ? undefined
        : HandOver.describeInHand(inHand, readAt),
      parked,
      requested,
      newer,
      isBeyond,
      isHandedOver,
      diverged,
      stored: partitionedBy === ConsumerKey.format(consumer.partitionBy) ? undefined : { partitions, partitionedBy },
      hasOtherReads: progress.reads !== ConsumerReads.format(ConsumerReads.of(consumer)),
      waitsAt,
      ...limits
    })
  }
}

type Checkpoint = LogPosition.LogPosition & Pick<Progress, "count">

const placeOf = ({ eventId, position }: LogPosition.LogPosition): string => `${position} ${eventId?.toLowerCase()}`

const rangeOf = ({ count, position }: Checkpoint): string => `${count?.since} ${position}`

/** Returns a function that finds why a partition and the log differ: an event of its checkpoints is missing, or there are fewer events before one. */
const divergedOf = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  progress: ReadonlyArray<Progress>
): Effect.fn.Return<(one: Progress) => string | undefined, EventStoreError> {
  const known = new Map(
    progress.flatMap(FormerPartitions.checkpointsOf)
      .filter(({ eventId }) => eventId !== undefined)
      .map((one) => [placeOf(one), one])
  )
  const counted = new Map(progress.filter(({ count }) => count !== undefined).map((one) => [rangeOf(one), one]))
  const places = Array.from(known.values())
  const ids = places.length === 0 ? [] : yield* log.eventIds(places.map(({ position }) => position))
  const lost = new Set(
    places.filter(({ eventId }, index) => ids[index]?.toLowerCase() !== eventId?.toLowerCase()).map(placeOf)
  )
  const ranges = Array.from(counted.values())
  const events = ranges.length === 0
    ? []
    : yield* log.eventCounts(ranges.map(({ count, position }) => ({ after: count!.since, to: position })))
  const found = new Map(ranges.map((one, index) => [rangeOf(one), events[index]!]))
  return (one) => {
    const { count, eventId = "", position } = one
    const missing = count === undefined ? 0 : count.events - (found.get(rangeOf(one)) ?? count.events)
    const [own, ...former] = FormerPartitions.checkpointsOf(one)
    if (own !== undefined && lost.has(placeOf(own))) return new LogDiverged({ eventId, position }).message
    if (missing !== 0) return new LogDiverged({ eventId, position, missing }).message
    const other = former.find((place) => lost.has(placeOf(place)))
    return other && new LogDiverged({ eventId: other.eventId ?? "", position: other.position }).message
  }
})

/** The maximum number of events that are read to see whether newer code wrote them. */
const maxNewer = 16

/** Returns a function that finds why the next event of a partition without an owner cannot be decoded, if newer code wrote it. */
const newerOf = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  consumer: Consumer.Consumer,
  progress: ReadonlyArray<Progress>,
  lags: ReadonlyArray<PartitionLag>
): Effect.fn.Return<(lag: PartitionLag) => string | undefined, EventStoreError> {
  const next = new Set(
    progress.flatMap(({ owner }, index) => {
      const { first } = lags[index]!
      return owner === undefined && first !== undefined ? [first] : []
    })
  )
  const positions = Array.from(next).toSorted((a, b) => a < b ? -1 : 1).slice(0, maxNewer)
  const events = positions.length === 0 ? [] : yield* log.eventsAt(positions)
  const failures = new Map(events.flatMap((event) => {
    const failure = Result.getOrUndefined(Result.flip(ConsumerDefinition.decode(consumer, event)))
    return failure !== undefined && UnknownTypes.awaitsNewerCode(consumer, storeError(failure))
      ? [[event.position, failure.message]]
      : []
  }))
  return ({ first }) => first === undefined ? undefined : failures.get(first)
})
