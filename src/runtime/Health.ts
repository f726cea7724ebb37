/**
 * How followers of the log are, as the database tells it: of whichever processes work on them, also of those that are frozen or gone.
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
import type { EventStoreError } from "../domain/errors.ts"
import * as Follower from "../domain/Follower.ts"
import * as Position from "../domain/Position.ts"
import { EventStore } from "../store/EventStore.ts"
import type { EventStoreDriver } from "../store/EventStoreDriver.ts"
import { ProjectionStore } from "../store/ProjectionStore.ts"
import type { Progress } from "../store/ProjectionStoreDriver.ts"
import * as Telemetry from "../store/Telemetry.ts"
import * as HealthVerdict from "./HealthVerdict.ts"
import { filterOf } from "./PartitionWorker.ts"

export type { Judgement, Verdict } from "./HealthVerdict.ts"

/**
 * - `silence`: after how long without a sign of life a partition is red; 20 seconds by default. A worker gives one every third of its lease
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
 * - `parked`: the streams that are set aside
 * - `owner`: who works on it; nobody when it was given back
 * - `heartbeat`: the owner's last sign of life, so many seconds ago as `silentFor`
 * - `applied`: the events applied so far; `throughput` how many a second since the previous report
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionHealth extends HealthVerdict.Judgement {
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
 * How a follower is: its worst partition's verdict, the slowest one's position and seconds, and the sums of all.
 *
 * @since 0.1.0
 * @category models
 */
export interface FollowerHealth extends HealthVerdict.Judgement {
  readonly follower: string
  readonly target: string
  readonly position: Position.Position
  readonly lag: PartitionHealth["lag"]
  readonly parked: number
  readonly silentFor: number | undefined
  readonly throughput: number | undefined
  readonly partitions: ReadonlyArray<PartitionHealth>
}

/**
 * - `at`: when it was looked, by the clock of the database; of this process where no follower has ever run
 * - `head`: the safe head of the log
 *
 * @since 0.1.0
 * @category models
 */
export interface Health extends HealthVerdict.Judgement {
  readonly at: DateTime.Utc
  readonly head: Position.Position
  readonly followers: ReadonlyArray<FollowerHealth>
}

/**
 * How followers are now. Fails when the database does not answer; how long to wait for that is the caller's choice.
 *
 * @since 0.1.0
 * @category looking
 */
export const of = Effect.fn("Health.of")(function*(
  followers: ReadonlyArray<Follower.Follower>,
  options: HealthOptions = {}
): Effect.fn.Return<Health, EventStoreError, EventStore | ProjectionStore> {
  const { driver: log } = yield* EventStore
  const { driver: store } = yield* ProjectionStore
  const head = yield* log.head
  let at = yield* DateTime.now
  const all: Array<FollowerHealth> = []
  for (const follower of followers) {
    const target = yield* store.activeTarget(follower.id)
    const progress = yield* store.progress(target)
    const parked = yield* store.parked(target)
    at = progress[0]?.readAt ?? at
    const previous = options.previous?.followers.find((one) => one.follower === follower.id && one.target === target)
    const since = options.previous === undefined ? 0 : secondsBetween(options.previous.at, at)
    const partitions = yield* Effect.forEach(progress, (one) =>
      lookAt(log, follower, one, head, options, {
        parked: parked.filter(({ partition }) => partition === one.partition).length,
        since,
        applied: previous?.partitions.find(({ partition }) => partition === one.partition)?.applied
      }))
    all.push(sumOf(follower, target, partitions))
  }
  const health: Health = { at, head, followers: all, ...HealthVerdict.worstOf(all, ({ follower }) => follower) }
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
  followers: ReadonlyArray<Follower.Follower>,
  options: Omit<HealthOptions, "previous"> = {}
): Effect.Effect<Effect.Effect<Health, EventStoreError, EventStore | ProjectionStore>> =>
  Effect.map(
    Ref.make<readonly [base: Health | undefined, next: Health | undefined]>([undefined, undefined]),
    (looks) =>
      Effect.gen(function*() {
        const [base, next] = yield* Ref.get(looks)
        const health = yield* of(followers, { ...options, previous: base })
        const isOld = next !== undefined && secondsBetween(next.at, health.at) >= 10
        yield* Ref.set(
          looks,
          isOld ? [next, health] : [base ?? health, base === undefined ? undefined : next ?? health]
        )
        return health
      })
  )

/**
 * Looks at intervals, 10 seconds by default, so that the gauges tell of followers whether or not this process works on them.
 *
 * @since 0.1.0
 * @category looking
 */
export const watch = (
  followers: ReadonlyArray<Follower.Follower>,
  options: Omit<HealthOptions, "previous"> & { readonly interval?: Duration.Input | undefined } = {}
): Effect.Effect<void, never, EventStore | ProjectionStore | Scope.Scope> =>
  Effect.flatMap(make(followers, options), (look) => {
    const one = Effect.catchCause(look, (cause) => Effect.logWarning("The health of followers is not known", cause))
    return Effect.asVoid(Effect.forkScoped(Effect.repeat(one, Schedule.spaced(options.interval ?? "10 seconds"))))
  })

const secondsBetween = (from: DateTime.Utc, to: DateTime.Utc): number =>
  Math.max(0, DateTime.toEpochMillis(to) - DateTime.toEpochMillis(from)) / 1000

const lookAt = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  follower: Follower.Follower,
  progress: Progress,
  head: Position.Position,
  options: HealthOptions,
  known: { readonly parked: number; readonly since: number; readonly applied: bigint | undefined }
): Effect.fn.Return<PartitionHealth, EventStoreError> {
  const { applied, appliedAt, owner, partition, partitions, position, readAt, seenAt } = progress
  const limit = options.countUpTo ?? 10_000
  const lag = yield* log.lag({ after: position, to: head, limit, ...filterOf({ ...follower, partitions }, partition) })
  const age = (since: DateTime.Utc) => secondsBetween(since, readAt)
  const waited = Option.match(lag.since, { onNone: () => 0, onSome: age })
  // The head may step back for a moment; the last event does not.
  const isBeyond = position > head && position > (yield* log.last)
  const isLeft = (owner === undefined || owner === "") && lag.events > 0
  const newer = isLeft ? yield* newerAfter(log, follower, { partition, partitions, position }) : undefined
  const seconds = (input: Duration.Input | undefined, otherwise: number) =>
    input === undefined ? otherwise : Duration.toSeconds(Duration.fromInputUnsafe(input))
  const silentFor = age(seenAt)
  return {
    partition,
    position,
    lag: { events: lag.events, isMore: lag.events >= limit, seconds: waited },
    parked: known.parked,
    owner: owner === "" ? undefined : owner,
    heartbeat: seenAt,
    silentFor,
    applied,
    throughput: known.applied === undefined || known.since === 0
      ? undefined
      : Number(applied - known.applied) / known.since,
    ...HealthVerdict.of({
      owner,
      silentFor,
      waiting: lag.events,
      waited,
      idleFor: Math.min(waited, appliedAt === undefined ? waited : age(appliedAt)),
      parked: known.parked,
      newer,
      isBeyond,
      otherPartitions: partitions === follower.partitions ? undefined : partitions,
      silence: seconds(options.silence, 20),
      stall: seconds(options.stall, 30),
      late: seconds(options.late, 10)
    })
  }
})

/** Why the next event of a partition cannot be decoded, where newer code has written it. */
const newerAfter = (
  log: EventStoreDriver,
  follower: Follower.Follower,
  { partition, partitions, position }: Pick<Progress, "partition" | "partitions" | "position">
): Effect.Effect<string | undefined, EventStoreError> =>
  Effect.map(
    log.readAll({ after: position, limit: 1, ...filterOf({ ...follower, partitions }, partition) }),
    ({ events: [next] }) => {
      const failure = next && Result.getOrUndefined(Result.flip(Follower.decode(follower, next)))
      return failure?.problem === "NewerVersion" ? failure.message : undefined
    }
  )

const sumOf = (
  follower: Follower.Follower,
  target: string,
  partitions: ReadonlyArray<PartitionHealth>
): FollowerHealth => {
  const [first] = partitions
  const most = (of: (one: PartitionHealth) => number) => Math.max(0, ...partitions.map(of))
  const sum = (of: (one: PartitionHealth) => number) => partitions.reduce((sum, one) => sum + of(one), 0)
  const judgement: HealthVerdict.Judgement = first === undefined
    ? { verdict: "red", reasons: ["nobody has ever worked on it"] }
    : HealthVerdict.worstOf(partitions, (one) => partitions.length === 1 ? undefined : `partition ${one.partition}`)
  return {
    follower: follower.id,
    target,
    position: partitions.reduce(
      (least, one) => one.position < least ? one.position : least,
      first?.position ?? Position.start
    ),
    lag: {
      events: sum((one) => one.lag.events),
      isMore: partitions.some((one) => one.lag.isMore),
      seconds: most((one) => one.lag.seconds)
    },
    parked: sum((one) => one.parked),
    silentFor: first === undefined ? undefined : most((one) => one.silentFor),
    throughput: partitions.some((one) => one.throughput === undefined) || first === undefined
      ? undefined
      : sum((one) => one.throughput ?? 0),
    partitions,
    ...judgement
  }
}

const publish = ({ follower, lag, silentFor, verdict }: FollowerHealth) => {
  const gauge = <Input, State>(metric: Metric.Metric<Input, State>) =>
    Metric.withAttributes(metric, { projection: follower })
  return Effect.all([
    Metric.update(gauge(Telemetry.projectionLagEvents), lag.events),
    Metric.update(gauge(Telemetry.projectionLagSeconds), lag.seconds),
    Metric.update(gauge(Telemetry.projectionHealth), HealthVerdict.rank(verdict)),
    silentFor === undefined ? Effect.void : Metric.update(gauge(Telemetry.projectionSilence), silentFor)
  ], { discard: true })
}
