/**
 * How consumers of the log are, as the database tells it: of whichever processes work on them, also of those that are frozen or gone.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
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
import { filterOf } from "../consumer/PartitionProcessor.ts"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Metrics from "../core/Metrics.ts"
import * as Position from "../core/Position.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import type { EventStoreDriver } from "../eventStore/EventStoreDriver.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import * as HealthStatus from "./HealthStatus.ts"

export type { Assessment, Status } from "./HealthStatus.ts"

/**
 * - `silence`: after how long without a heartbeat a partition is red; 20 seconds by default. A worker gives one every third of its lease
 * - `stall`: after how long a partition is red of which events are waiting and none is applied; 30 seconds by default. Longer than a batch takes
 * - `late`: how long an event may wait before a partition is yellow; 10 seconds by default
 * - `countUpTo`: so many of the events that wait are counted; 10,000 by default
 * - `previous`: an earlier report, from which on the throughput is reckoned
 *
 * @since 0.1.0
 * @category options
 */
export interface HealthOptions {
  readonly silence?: Duration.Input | undefined
  readonly stall?: Duration.Input | undefined
  readonly late?: Duration.Input | undefined
  readonly countUpTo?: number | undefined
  readonly previous?: Health | undefined
}

/**
 * How a partition is. Ages are by the clock of the database, in seconds.
 *
 * - `lag`: the events that wait, at most as many as are counted, and how long the oldest of them has waited
 * - `parked`: the streams that are parked
 * - `owner`: who works on it; nobody when it was given back
 * - `heartbeat`: the owner's last heartbeat, so many seconds ago as `silentFor`
 * - `applied`: the events applied so far; `throughput` how many a second since the previous report
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionHealth extends HealthStatus.Assessment {
  readonly partition: number
  readonly position: Position.Position
  readonly lag: { readonly events: number; readonly isMore: boolean; readonly seconds: number }
  readonly parked: number
  readonly owner: string | undefined
  readonly heartbeat: DateTime.Utc
  readonly silentFor: number
  readonly applied: bigint
  readonly throughput: number | undefined
}

/**
 * How a consumer is: its worst partition's status, the slowest one's position and seconds, and the sums of all.
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
  readonly silentFor: number | undefined
  readonly throughput: number | undefined
  readonly partitions: ReadonlyArray<PartitionHealth>
}

/**
 * - `at`: when it was looked, by the clock of the database; of this process where no consumer has ever run
 * - `head`: the high-water mark of the log
 *
 * @since 0.1.0
 * @category models
 */
export interface Health extends HealthStatus.Assessment {
  readonly at: DateTime.Utc
  readonly head: Position.Position
  readonly consumers: ReadonlyArray<ConsumerHealth>
}

/**
 * How consumers are now. Fails when the database does not answer; how long to wait for that is the caller's choice.
 *
 * @since 0.1.0
 * @category looking
 */
export const of = Effect.fn("Health.of")(function*(
  consumers: ReadonlyArray<Consumer.Consumer>,
  options: HealthOptions = {}
): Effect.fn.Return<Health, EventStoreError, EventStore | ProjectionStore> {
  const { driver: log } = (yield* EventStore)[internals]
  const { driver: store } = (yield* ProjectionStore)[internals]
  const head = yield* log.head
  let at = yield* DateTime.now
  const all: Array<ConsumerHealth> = []
  for (const consumer of consumers) {
    const generation = yield* store.activeGeneration(consumer.id)
    const progress = yield* store.progress(generation)
    const parked = yield* store.parked(generation)
    at = progress[0]?.readAt ?? at
    const previous = options.previous?.consumers.find((one) =>
      one.consumer === consumer.id && one.generation === generation
    )
    const since = options.previous === undefined ? 0 : secondsBetween(options.previous.at, at)
    const partitions = yield* Effect.forEach(progress, (one) =>
      lookAt(log, consumer, one, head, options, {
        parked: parked.filter(({ partition }) => partition === one.partition).length,
        since,
        applied: previous?.partitions.find(({ partition }) => partition === one.partition)?.applied
      }))
    all.push(sumOf(consumer, generation, partitions))
  }
  const health: Health = { at, head, consumers: all, ...HealthStatus.worstOf(all, ({ consumer }) => consumer) }
  yield* Effect.forEach(all, publish, { discard: true })
  return health
})

/**
 * A look that remembers the last ones, so that every report tells the throughput of the last ten seconds or more.
 *
 * @since 0.1.0
 * @category looking
 */
export const make = (
  consumers: ReadonlyArray<Consumer.Consumer>,
  options: Omit<HealthOptions, "previous"> = {}
): Effect.Effect<Effect.Effect<Health, EventStoreError, EventStore | ProjectionStore>> =>
  Effect.map(
    Ref.make<readonly [base: Health | undefined, next: Health | undefined]>([undefined, undefined]),
    (looks) =>
      Effect.gen(function*() {
        const [base, next] = yield* Ref.get(looks)
        const health = yield* of(consumers, { ...options, previous: base })
        const isOld = next !== undefined && secondsBetween(next.at, health.at) >= 10
        yield* Ref.set(
          looks,
          isOld ? [next, health] : [base ?? health, base === undefined ? undefined : next ?? health]
        )
        return health
      })
  )

/**
 * Looks at intervals, 10 seconds by default, so that the gauges tell of consumers whether or not this process works on them.
 *
 * @since 0.1.0
 * @category looking
 */
export const watch = (
  consumers: ReadonlyArray<Consumer.Consumer>,
  options: Omit<HealthOptions, "previous"> & { readonly interval?: Duration.Input | undefined } = {}
): Effect.Effect<void, never, EventStore | ProjectionStore | Scope.Scope> =>
  Effect.flatMap(make(consumers, options), (look) => {
    const one = Effect.catchCause(look, (cause) => Effect.logWarning("The health of consumers is not known", cause))
    return Effect.asVoid(Effect.forkScoped(Effect.repeat(one, Schedule.spaced(options.interval ?? "10 seconds"))))
  })

const secondsBetween = (from: DateTime.Utc, to: DateTime.Utc): number =>
  Math.max(0, DateTime.toEpochMillis(to) - DateTime.toEpochMillis(from)) / 1000

const lookAt = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  consumer: Consumer.Consumer,
  progress: Progress,
  head: Position.Position,
  options: HealthOptions,
  known: { readonly parked: number; readonly since: number; readonly applied: bigint | undefined }
): Effect.fn.Return<PartitionHealth, EventStoreError> {
  const { applied, appliedAt, owner, partition, partitions, position, readAt, heartbeatAt } = progress
  const limit = options.countUpTo ?? 10_000
  const lag = yield* log.lag({ after: position, to: head, limit, ...filterOf({ ...consumer, partitions }, partition) })
  const age = (since: DateTime.Utc) => secondsBetween(since, readAt)
  const waited = Option.match(lag.since, { onNone: () => 0, onSome: age })
  // The head may step back for a moment; the last event does not.
  const isBeyond = position > head && position > (yield* log.last)
  const isLeft = owner === undefined && lag.events > 0
  const newer = isLeft ? yield* newerAfter(log, consumer, { partition, partitions, position }) : undefined
  const seconds = (input: Duration.Input | undefined, otherwise: number) =>
    input === undefined ? otherwise : Duration.toSeconds(Duration.fromInputUnsafe(input))
  const silentFor = age(heartbeatAt)
  return {
    partition,
    position,
    lag: { events: lag.events, isMore: lag.events >= limit, seconds: waited },
    parked: known.parked,
    owner,
    heartbeat: heartbeatAt,
    silentFor,
    applied,
    throughput: known.applied === undefined || known.since === 0
      ? undefined
      : Number(applied - known.applied) / known.since,
    ...HealthStatus.of({
      owner,
      silentFor,
      waiting: lag.events,
      waited,
      idleFor: Math.min(waited, appliedAt === undefined ? waited : age(appliedAt)),
      parked: known.parked,
      newer,
      isBeyond,
      otherPartitions: partitions === consumer.partitions ? undefined : partitions,
      silence: seconds(options.silence, 20),
      stall: seconds(options.stall, 30),
      late: seconds(options.late, 10)
    })
  }
})

/** Why the next event of a partition cannot be decoded, where newer code has written it. */
const newerAfter = (
  log: EventStoreDriver,
  consumer: Consumer.Consumer,
  { partition, partitions, position }: Pick<Progress, "partition" | "partitions" | "position">
): Effect.Effect<string | undefined, EventStoreError> =>
  Effect.map(
    log.readAll({ after: position, limit: 1, ...filterOf({ ...consumer, partitions }, partition) }),
    ({ events: [next] }) => {
      const failure = next && Result.getOrUndefined(Result.flip(ConsumerDefinition.decode(consumer, next)))
      return failure?.problem === "NewerVersion" ? failure.message : undefined
    }
  )

const sumOf = (
  consumer: Consumer.Consumer,
  generation: string,
  partitions: ReadonlyArray<PartitionHealth>
): ConsumerHealth => {
  const [first] = partitions
  const max = (of: (one: PartitionHealth) => number) => Math.max(0, ...partitions.map(of))
  const sum = (of: (one: PartitionHealth) => number) => partitions.reduce((sum, one) => sum + of(one), 0)
  const judgement: HealthStatus.Assessment = first === undefined
    ? { status: "red", reasons: ["nobody has ever worked on it"] }
    : HealthStatus.worstOf(partitions, (one) => partitions.length === 1 ? undefined : `partition ${one.partition}`)
  return {
    consumer: consumer.id,
    generation,
    position: partitions.reduce(
      (least, one) => one.position < least ? one.position : least,
      first?.position ?? Position.start
    ),
    lag: {
      events: sum((one) => one.lag.events),
      isMore: partitions.some((one) => one.lag.isMore),
      seconds: max((one) => one.lag.seconds)
    },
    parked: sum((one) => one.parked),
    silentFor: first === undefined ? undefined : max((one) => one.silentFor),
    throughput: partitions.some((one) => one.throughput === undefined) || first === undefined
      ? undefined
      : sum((one) => one.throughput ?? 0),
    partitions,
    ...judgement
  }
}

const publish = ({ consumer, lag, silentFor, status }: ConsumerHealth) => {
  const gauge = <Input, State>(metric: Metric.Metric<Input, State>) => Metric.withAttributes(metric, { consumer })
  return Effect.all([
    Metric.update(gauge(Metrics.consumerLagEvents), lag.events),
    Metric.update(gauge(Metrics.consumerLagSeconds), lag.seconds),
    Metric.update(gauge(Metrics.consumerHealth), HealthStatus.rank(status)),
    silentFor === undefined ? Effect.void : Metric.update(gauge(Metrics.consumerHeartbeatAge), silentFor)
  ], { discard: true })
}
