/**
 * The health of one consumer, by its checkpoints, parked keys and the types of events in the log.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { ConsumerDriver, Progress } from "../consumer/CheckpointDriver.ts"
import type * as Consumer from "../consumer/Consumer.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import { continuedDetail } from "../consumer/ConsumerStatus.ts"
import * as GenerationId from "../consumer/GenerationId.ts"
import * as HandOver from "../consumer/HandOver.ts"
import * as StartPosition from "../consumer/StartPosition.ts"
import * as UnknownTypes from "../consumer/UnknownTypes.ts"
import type { EventStoreError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as EventFilter from "../event/EventFilter.ts"
import * as EventTags from "../event/EventTags.ts"
import type { EventStoreDriver, EventType, EventTypes } from "../eventStore/driver/EventStoreDriver.ts"
import { describeMaker } from "../eventStore/driver/InlineProjectionsDriver.ts"
import * as PastTags from "../eventStore/PastTags.ts"
import * as UntaggedEvents from "../eventStore/UntaggedEvents.ts"
import * as InlineCompleteness from "../projection/inline/InlineCompleteness.ts"
import type { GenerationsDriver } from "../projection/ProjectionStoreDriver.ts"
import * as HealthStatus from "./HealthStatus.ts"
import * as PartitionHealth from "./PartitionHealth.ts"

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
  readonly lag: PartitionHealth.PartitionHealth["lag"]
  readonly parked: number
  readonly requested: number
  readonly heartbeatAge: number | undefined
  readonly throughput: number | undefined
  readonly partitions: ReadonlyArray<PartitionHealth.PartitionHealth>
  /** Types of events in the log, of the same streams as those of the consumer's set, that its code does not know. */
  readonly unknownTypes: ReadonlyArray<EventType>
}

/**
 * What the health of one consumer is computed from.
 *
 * @since 0.1.0
 * @category models
 */
export interface Measured {
  readonly log: EventStoreDriver
  readonly store: ConsumerDriver & Pick<GenerationsDriver, "generationPage">
  /** The types of events in the log. */
  readonly counted: EventTypes
  /** The position of the last committed event. */
  readonly last: Position.Position
  readonly limits: PartitionHealth.HealthLimits
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
  if (progress.length === 0) {
    const starting = yield* startOf(store, consumer, limits)
    if (starting !== undefined) return withoutPartitions(consumer.id, Position.start, unknownTypes, starting)
  }
  const { isHandedOver, ofChange } = yield* changeOf(store, consumer, generation, progress)
  const before = previous.find((one) => one.consumer === consumer.id && one.generation === generation)?.partitions
  const partitions = yield* PartitionHealth.ofAll(log, consumer, progress, {
    last,
    limits,
    stopping: UnknownTypes.stopping(consumer, types),
    parked: progress.length === 0 ? [] : yield* store.parkedCounts(generation),
    appliedBefore: new Map(before?.map(({ applied, partition }) => [partition, applied])),
    elapsed,
    isHandedOver
  })
  const policies = yield* Effect.forEach(unknownTypes, (one) => policyFor(log, consumer, types, progress, one))
  const ofTypes = HealthStatus.worstOf(
    [HealthStatus.ofUnknownTypes(policies, UnknownTypes.undecided(consumer, types)), ofTags],
    () => undefined
  )
  const obstacle = progress.length === 0 ? yield* obstacleOf(log, store, consumer.id) : undefined
  return consumerHealth(consumer, generation, partitions, { unknownTypes, ofTypes, obstacle, idleHolders, ofChange })
})

/** Returns why no worker can run a consumer that never ran in the background, if it is known. */
const obstacleOf = Effect.fnUntraced(function*(
  log: Measured["log"],
  store: Measured["store"],
  id: string
): Effect.fn.Return<string | undefined, EventStoreError> {
  if ((yield* log.inlineProjections.find(id)) !== undefined) {
    return "it is an inline projection in this log, so no worker can run it; raise its version, or call Projector.retireInline when no program "
      + "runs it inline any more"
  }
  const left = yield* store.generationPage({ generation: id, limit: 1 })
  if (left.length === 0) return undefined
  return "it has documents of an inline projection that was retired, so no worker can run it; call Projector.retireInline again, which removes them, "
    + "or raise its version"
})

/** Returns the assessment of a change that waits for partitions, or of a number of partitions other than that of the definition. */
const changeOf = Effect.fnUntraced(function*(
  store: ConsumerDriver,
  { id, partitions: defined }: Consumer.Consumer,
  generation: string,
  progress: ReadonlyArray<Progress>
): Effect.fn.Return<
  { readonly isHandedOver: boolean; readonly ofChange: HealthStatus.Assessment },
  EventStoreError
> {
  const stored = progress[0]?.partitions ?? defined
  if (stored === defined && progress.every(({ owner, takenBy }) => owner !== undefined && takenBy === undefined)) {
    return { isHandedOver: false, ofChange: green }
  }
  const workers = yield* store.workers(generation)
  const waits = HandOver.of(id, workers, progress)
  const obstacle = stored !== defined || waits !== undefined ? yield* store.repartitionObstacle(generation) : undefined
  // A partition that is given back to a release that reads more is one without an owner, until it has one.
  const takeover = HandOver.takeover(id, workers, progress)
  const isAwaited = workers.some(({ resets, successor }) => successor !== undefined || resets)
  const isPending = HandOver.nextPartitions(workers, progress) !== undefined
  const handOver = isAwaited || takeover !== undefined || !isPending || obstacle === undefined
    ? waits?.detail
    : undefined
  const ofNumber = stored === defined ? green : HealthStatus.ofOtherPartitions({
    stored,
    defined,
    obstacle,
    workers: isPending ? undefined : HandOver.workersWith(workers, progress)
  })
  const ofWait: HealthStatus.Assessment = handOver === undefined ? green : { status: "yellow", reasons: [handOver] }
  const isHandedOver = handOver !== undefined && (isAwaited || takeover === undefined)
  return { isHandedOver, ofChange: HealthStatus.worstOf([ofWait, ofNumber], () => undefined) }
})

/** Returns why a consumer that has never run does not continue from an earlier version, if it waits for one or cannot. */
const startOf = Effect.fnUntraced(function*(
  store: ConsumerDriver,
  consumer: Consumer.Consumer,
  limits: PartitionHealth.HealthLimits
): Effect.fn.Return<HealthStatus.Assessment | undefined, EventStoreError> {
  const { from, id } = consumer
  if (typeof from === "string" || !("version" in from)) return undefined
  const cannotStart = yield* StartPosition.obstacleOf(store, consumer)
  if (cannotStart !== undefined) return redBecause(cannotStart)
  const earlier = GenerationId.otherVersion(id, from.version)
  const generation = yield* store.activeGeneration(earlier)
  const workers = yield* store.workers(generation)
  if (!workers.some(({ successor }) => successor === id)) return undefined
  const { detail, seconds } = HandOver.ofVersion(id, earlier, yield* store.progress(generation))
  return { status: seconds > limits.stallTimeout ? "red" : "yellow", reasons: [detail] }
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
    ? green
    : {
      status: "red",
      reasons: [
        incomplete.message,
        // The session may also remove copies, after it has made documents that this definition does not read.
        ...maker === undefined ? [] : [
          `The documents of inline projection "${id}" are being made from the log by ${
            describeMaker(maker)
          }, or others of it are removed`
        ]
      ]
    }
  const ofTypes = HealthStatus.ofUnknownTypes(unknownTypes.map((one) => ({ ...one, policy: "passes" })), [])
  const assessment = HealthStatus.worstOf([ofDocuments, ofTypes, ofTags], () => undefined)
  return withoutPartitions(id, position, unknownTypes, assessment)
})

const green: HealthStatus.Assessment = { status: "green", reasons: [] }

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
  partitions: ReadonlyArray<PartitionHealth.PartitionHealth>,
  { idleHolders, obstacle, ofChange, ofTypes, unknownTypes }: {
    readonly ofChange: HealthStatus.Assessment
    /** Why no worker can run it. */
    readonly obstacle: string | undefined
    readonly unknownTypes: ReadonlyArray<EventType>
    readonly ofTypes: HealthStatus.Assessment
    readonly idleHolders: ReadonlyArray<string>
  }
): ConsumerHealth => {
  const [first] = partitions
  const max = (of: (one: PartitionHealth.PartitionHealth) => number) => Math.max(0, ...partitions.map(of))
  const sum = (of: (one: PartitionHealth.PartitionHealth) => number) =>
    partitions.reduce((sum, one) => sum + of(one), 0)
  const ofPartitions: HealthStatus.Assessment = first === undefined
    ? redBecause(obstacle ?? "no worker has ever run it")
    : HealthStatus.worstOf(partitions, (one) => partitions.length === 1 ? undefined : `partition ${one.partition}`)
  const isStalled = partitions.some(({ status }) => status === "red")
  const ofLocks: HealthStatus.Assessment = { status: "green", reasons: isStalled ? idleHolders : [] }
  const assessment = HealthStatus.worstOf([ofChange, ofPartitions, ofLocks, ofTypes], () => undefined)
  return {
    consumer: consumer.id,
    generation,
    position: partitions.reduce(
      (least, one) => one.position < least ? one.position : least,
      first?.position ?? Position.start
    ),
    lag: {
      // Each partition by document or instance reads all events, so the slowest one's count includes those of the others.
      events: (ConsumerKey.isComputed(consumer.partitionBy) ? max : sum)((one) => one.lag.events),
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
