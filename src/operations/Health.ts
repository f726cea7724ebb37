/**
 * The health of consumers as the database shows it, whichever processes run them, including processes that hang or died.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Progress } from "../consumer/CheckpointDriver.ts"
import type * as Consumer from "../consumer/Consumer.ts"
import * as ConsumerDefinition from "../consumer/ConsumerDefinition.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import * as ConsumerReads from "../consumer/ConsumerReads.ts"
import type { ParkedCount } from "../consumer/parking/ParkingDriver.ts"
import { filterOf } from "../consumer/PartitionProcessor.ts"
import * as UnknownTypes from "../consumer/UnknownTypes.ts"
import { type EventStoreError, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import * as Background from "../core/telemetry/background.ts"
import * as Metrics from "../core/telemetry/Metrics.ts"
import * as OutageLog from "../core/telemetry/OutageLog.ts"
import * as EventFilter from "../event/EventFilter.ts"
import * as EventTags from "../event/EventTags.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import type { EventStoreDriver, EventType, LogFilter } from "../eventStore/EventStoreDriver.ts"
import * as UntaggedEvents from "../eventStore/UntaggedEvents.ts"
import * as InlineCompleteness from "../projection/InlineCompleteness.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import * as HealthStatus from "./HealthStatus.ts"
import * as LogHealth from "./LogHealth.ts"

export type { Assessment, Status } from "./HealthStatus.ts"
export type { LogHealth } from "./LogHealth.ts"

/**
 * Options of a health check.
 *
 * @since 0.1.0
 * @category options
 */
export interface HealthOptions {
  /**
   * A partition is red when its last heartbeat is older; 20 seconds by default. A worker sends a heartbeat every third of its lease.
   */
  readonly heartbeatTimeout?: Duration.Input | undefined
  /**
   * A partition is red when events wait and its checkpoint has not moved for longer; 30 seconds by default. Choose a longer time than a batch takes. The
   * log is red when a transaction holds back its readers for longer.
   */
  readonly stallTimeout?: Duration.Input | undefined
  /** A partition, or the log, is yellow when an event has waited for longer; 10 seconds by default. */
  readonly maxWait?: Duration.Input | undefined
  /** The number up to which waiting events are counted; 10,000 by default. */
  readonly maxCount?: number | undefined
  /** An earlier report. The throughput is computed since then. */
  readonly previous?: Health | undefined
}

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
 * A health report.
 *
 * @since 0.1.0
 * @category models
 */
export interface Health extends HealthStatus.Assessment {
  /** The time of the report by the clock of the database. */
  readonly at: DateTime.Utc
  /** The log: whether its readers get to the last committed event. */
  readonly log: LogHealth.LogHealth
  readonly consumers: ReadonlyArray<ConsumerHealth>
}

/**
 * Returns the health of consumers. Fails when the database cannot be reached; combine it with `Effect.timeout` for a shorter wait.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = Effect.fn("Health.of")(function*(
  consumers: ReadonlyArray<Consumer.Consumer>,
  options: HealthOptions = {}
): Effect.fn.Return<Health, EventStoreError, EventStore | ProjectionStore> {
  const { driver: log } = (yield* EventStore)[internals]
  const { driver: store } = (yield* ProjectionStore)[internals]
  const limits = limitsOf(options)
  const end = yield* LogHealth.read(log)
  const { at } = end
  const all: Array<ConsumerHealth> = []
  const types = yield* countTypes(log, end.head)
  for (const consumer of consumers) {
    if (consumer.lifecycle === "inline" || consumer.lifecycle === "live") {
      all.push(
        yield* synchronousHealth(log, consumer, end.last, UnknownTypes.of(consumer, types), untaggedOf(consumer, types))
      )
      continue
    }
    const unknownTypes = UnknownTypes.of(consumer, types)
    const active = yield* Effect.result(store.activeGeneration(consumer.id))
    if (Result.isFailure(active)) {
      if (active.failure.reason._tag !== "GenerationDiscarded") return yield* Effect.fail(active.failure)
      all.push(withoutPartitions(consumer.id, Position.start, unknownTypes, redBecause(active.failure.message)))
      continue
    }
    const generation = active.success
    const progress = yield* store.progress(generation)
    const parked = yield* store.parkedCounts(generation)
    const previous = options.previous?.consumers.find((one) =>
      one.consumer === consumer.id && one.generation === generation
    )
    const elapsed = options.previous === undefined ? 0 : HealthStatus.secondsBetween(options.previous.at, at)
    const partitions = yield* Effect.forEach(
      progress,
      (one) =>
        partitionHealth(log, consumer, one, end.last, limits, {
          stopping: UnknownTypes.stopping(consumer, types),
          parked: parked.find(({ partition }) => partition === one.partition),
          elapsed,
          appliedBefore: previous?.partitions.find(({ partition }) => partition === one.partition)?.applied
        })
    )
    const policies = yield* Effect.forEach(unknownTypes, (one) => policyFor(log, consumer, types, progress, one))
    const ofTypes = HealthStatus.worstOf(
      [
        HealthStatus.ofUnknownTypes(policies, UnknownTypes.undecided(consumer, types)),
        untaggedOf(consumer, types)
      ],
      () => undefined
    )
    const isInline = progress.length === 0 && (yield* log.inlineProjections.find(consumer.id)) !== undefined
    all.push(consumerHealth(consumer, generation, partitions, { unknownTypes, ofTypes, isInline }))
  }
  const reached = all.flatMap(({ partitions }) => partitions).map(({ position }) => position)
  const logHealth = yield* LogHealth.of(log, end, reached.reduce(Position.max, Position.start), limits)
  const health: Health = {
    at,
    log: logHealth,
    consumers: all,
    ...HealthStatus.worstOf([logHealth, ...all], (one) => "consumer" in one ? one.consumer : "log")
  }
  yield* Metric.update(Metrics.heldBackSeconds, logHealth.lag.seconds)
  yield* Effect.forEach(all, publish, { discard: true })
  return health
})

/** The maximum number of calls in which a health check counts the types of a large log; the next check continues. */
const maxCounts = 20

const countTypes = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  head: Position.Position
): Effect.fn.Return<ReadonlyArray<EventType>, EventStoreError> {
  let counted = yield* log.eventTypes
  for (let counts = 1, last = Position.start; counts < maxCounts && counted.position < head; counts++) {
    // An append in flight may hold the high-water mark back.
    if (counted.position === last) break
    last = counted.position
    counted = yield* log.eventTypes
  }
  return counted.types
})

/** Returns the assessment of a consumer by the events that it does not read because they were stored without a tag. */
const untaggedOf = (
  { events, from, partitionBy, reads, where }: Consumer.Consumer,
  types: ReadonlyArray<EventType>
): HealthStatus.Assessment => {
  const { streamPrefix = "", tags = [] } = where
  const ofPartitions = typeof partitionBy === "object" ? [partitionBy.tag] : []
  const tagNames = Array.from(new Set([...tags.flatMap((tag) => EventTags.nameOf(tag) ?? []), ...ofPartitions]))
  // Of a consumer that starts with the events of now it is not known whether it should have read them.
  if (from === "now") return HealthStatus.ofUntagged([], [])
  const selection = { events, types: reads, tagNames }
  const isInPrefix = ({ category }: EventType) => `${category}-`.startsWith(streamPrefix)
  const mayBe = ({ category }: EventType) => category === "" || streamPrefix.startsWith(`${category}-`)
  return HealthStatus.ofUntagged(
    UntaggedEvents.find(selection, types.filter(isInPrefix)),
    UntaggedEvents.find(selection, types.filter((one) => !isInPrefix(one) && mayBe(one)))
  )
}

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
  const ofDocuments: HealthStatus.Assessment = incomplete === undefined
    ? { status: "green", reasons: [] }
    : redBecause(incomplete.message)
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

/** Two earlier reports: the throughput is computed since `base`; `next` takes its place once it is 10 seconds old. */
interface Reports {
  readonly base: Health | undefined
  readonly next: Health | undefined
}

/**
 * Returns a health check that remembers earlier reports, so that each report has the throughput of the last ten seconds or more.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  consumers: ReadonlyArray<Consumer.Consumer>,
  options: Omit<HealthOptions, "previous"> = {}
): Effect.Effect<Effect.Effect<Health, EventStoreError, EventStore | ProjectionStore>> =>
  Effect.map(
    Ref.make<Reports>({ base: undefined, next: undefined }),
    (reports) =>
      Effect.gen(function*() {
        const { base } = yield* Ref.get(reports)
        const health = yield* of(consumers, { ...options, previous: base })
        yield* Ref.update(reports, (before) => reportsAfter(before, health))
        return health
      })
  )

const reportsAfter = ({ base, next }: Reports, health: Health): Reports => {
  if (base === undefined) return { base: health, next: undefined }
  if (next === undefined) return { base, next: health }
  return HealthStatus.secondsBetween(next.at, health.at) >= 10 ? { base: next, next: health } : { base, next }
}

/**
 * Checks the health at intervals, so that the gauges show consumers whether or not this process runs them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const watch = (
  consumers: ReadonlyArray<Consumer.Consumer>,
  options: Omit<HealthOptions, "previous"> & {
    /** The time between two checks; 10 seconds by default. */
    readonly interval?: Duration.Input | undefined
  } = {}
): Effect.Effect<void, never, EventStore | ProjectionStore | Scope.Scope> =>
  Effect.flatMap(make(consumers, options), (check) => {
    const outages = OutageLog.make("The health check")
    const checkOnce = OutageLog.watch(outages, "The health of consumers could not be checked", check)
    return Effect.asVoid(Effect.forkScoped(Background.withoutSpans(
      Effect.repeat(checkOnce, Schedule.spaced(options.interval ?? "10 seconds"))
    )))
  })

/** The options of a check that are limits, with their defaults, in seconds. */
interface HealthLimits {
  readonly heartbeatTimeout: number
  readonly stallTimeout: number
  readonly maxWait: number
  readonly maxCount: number
}

const limitsOf = (options: HealthOptions): HealthLimits => {
  const seconds = (input: Duration.Input | undefined, otherwise: number) =>
    input === undefined ? otherwise : Duration.toSeconds(Duration.fromInputUnsafe(input))
  return {
    heartbeatTimeout: seconds(options.heartbeatTimeout, 20),
    stallTimeout: seconds(options.stallTimeout, 30),
    maxWait: seconds(options.maxWait, 10),
    maxCount: options.maxCount ?? 10_000
  }
}

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
      diverged,
      stored: partitions === consumer.partitions && partitionedBy === ConsumerKey.format(consumer.partitionBy)
        ? undefined
        : { partitions, partitionedBy },
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
  { isInline, ofTypes, unknownTypes }: {
    /** Whether it never ran in the background because the log has it as an inline projection. */
    readonly isInline: boolean
    readonly unknownTypes: ReadonlyArray<EventType>
    readonly ofTypes: HealthStatus.Assessment
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
  const assessment = HealthStatus.worstOf(
    [ofPartitions, ofTypes],
    () => undefined
  )
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

/** Updates the gauges of a consumer. */
const publish = ({ consumer, heartbeatAge, lag, status }: ConsumerHealth) => {
  const gauge = <Input, State>(metric: Metric.Metric<Input, State>) => Metric.withAttributes(metric, { consumer })
  return Effect.all([
    Metric.update(gauge(Metrics.consumerLagEvents), lag.events),
    Metric.update(gauge(Metrics.consumerLagSeconds), lag.seconds),
    Metric.update(gauge(Metrics.consumerHealth), HealthStatus.rank(status)),
    heartbeatAge === undefined ? Effect.void : Metric.update(gauge(Metrics.consumerHeartbeatAge), heartbeatAge)
  ], { discard: true })
}
