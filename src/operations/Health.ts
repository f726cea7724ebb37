/**
 * The health of consumers as the database shows it, whichever processes run them, including processes that hang or died.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import type * as Consumer from "../consumer/Consumer.ts"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { monotonicMillisUnsafe } from "../core/monotonic.ts"
import * as Position from "../core/Position.ts"
import * as Metrics from "../core/telemetry/Metrics.ts"
import type { EventStoreDriver, EventTypes } from "../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import * as ConsumerHealth from "./ConsumerHealth.ts"
import * as HealthCheck from "./HealthCheck.ts"
import * as HealthStatus from "./HealthStatus.ts"
import * as HealthWatch from "./HealthWatch.ts"
import * as LogHealth from "./LogHealth.ts"
import type { HealthLimits } from "./PartitionHealth.ts"

export type { ConsumerHealth } from "./ConsumerHealth.ts"
export type { Assessment, Status } from "./HealthStatus.ts"
export type { LogHealth } from "./LogHealth.ts"
export type { PartitionHealth } from "./PartitionHealth.ts"

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
  /**
   * The time for the whole check; 15 seconds by default. Then it fails with `StoreUnavailable`, whose message says what could not be read and, after at
   * most another two seconds, which session may be the cause. Choose a shorter time for a probe that has a deadline.
   */
  readonly timeout?: Duration.Input | undefined
  /** An earlier report. The throughput is computed since then. */
  readonly previous?: Health | undefined
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
  readonly consumers: ReadonlyArray<ConsumerHealth.ConsumerHealth>
}

/**
 * Returns the health of consumers. Fails when the database cannot be reached, or does not respond in time: then the error says what could not be read,
 * and names a transaction that holds a lock of the store. However many partitions a consumer has, its health takes about eight statements.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = Effect.fn("Health.of")(function*(
  consumers: ReadonlyArray<Consumer.Consumer>,
  options: HealthOptions = {}
): Effect.fn.Return<Health, EventStoreError, EventStore | ProjectionStore> {
  const { driver: log } = (yield* EventStore)[internals]
  return yield* HealthCheck.within(
    log,
    { timeout: HealthCheck.timeoutOf(options) },
    (reading) => read(log, consumers, options, reading)
  )
})

const read = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  consumers: ReadonlyArray<Consumer.Consumer>,
  options: HealthOptions,
  reading: HealthCheck.Reading
): Effect.fn.Return<Health, EventStoreError, ProjectionStore> {
  const { driver: store } = (yield* ProjectionStore)[internals]
  const limits = limitsOf(options)
  const end = yield* LogHealth.read(log)
  const { at, last } = end
  reading.what = "the types of events in the log"
  const counted = yield* countTypes(log, end.head, HealthCheck.timeoutOf(options))
  const { previous } = options
  const elapsed = previous === undefined ? 0 : HealthStatus.secondsBetween(previous.at, at)
  const idleHolders = LogHealth.idleHolders(end, limits)
  const measured = { log, store, counted, last, limits, idleHolders, previous: previous?.consumers ?? [], elapsed }
  const all = yield* Effect.forEach(consumers, (consumer, index) => {
    reading.what = `the health of ${consumer.id}, after that of ${index} of ${consumers.length} consumers`
    return ConsumerHealth.of(consumer, measured)
  })
  reading.what = "how many events no reader gets"
  const logHealth = yield* LogHealth.of(log, end, counted, limits)
  const health: Health = {
    at,
    log: logHealth,
    consumers: all,
    ...HealthStatus.worstOf([logHealth, ...all], (one) => "consumer" in one ? one.consumer : "log")
  }
  yield* Metric.update(Metrics.heldBackSeconds, logHealth.lag.seconds)
  yield* Metric.update(Metrics.logHealth, HealthStatus.rank(logHealth.status))
  yield* Effect.forEach(all, publish, { discard: true })
  return health
})

/** The share of the timeout for which a health check counts the types of a large log; the next check continues. */
const maxCounting = 1 / 5

const countTypes = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  head: Position.Position,
  timeout: Duration.Duration
): Effect.fn.Return<EventTypes, EventStoreError> {
  const clock = yield* Clock.Clock
  const end = monotonicMillisUnsafe(clock) + Duration.toMillis(timeout) * maxCounting
  let counted = yield* log.eventTypes
  for (let last = Position.start; counted.position < head && monotonicMillisUnsafe(clock) < end;) {
    // An append in flight may hold the high-water mark back.
    if (counted.position === last) break
    last = counted.position
    counted = yield* log.eventTypes
  }
  return counted
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
 * **Details**
 *
 * It logs a line, with the reasons, for a consumer or the log that has not been green for longer than `maxWait`, another when yellow turns red,
 * and one when it is green again. While the check itself fails, the gauges of the log's and the consumers' health are red, and the log has a line with
 * the error.
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
  Effect.flatMap(make(consumers, options), (check) =>
    HealthWatch.run(Effect.map(check, HealthWatch.partsOf), {
      ...options,
      whenFailed: HealthWatch.publishUnknown(consumers)
    }))

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

/** Updates the gauges of a consumer. */
const publish = ({ consumer, heartbeatAge, lag, status }: ConsumerHealth.ConsumerHealth) => {
  const gauge = <Input, State>(metric: Metric.Metric<Input, State>) => Metric.withAttributes(metric, { consumer })
  return Effect.all([
    Metric.update(gauge(Metrics.consumerLagEvents), lag.events),
    Metric.update(gauge(Metrics.consumerLagSeconds), lag.seconds),
    Metric.update(gauge(Metrics.consumerHealth), HealthStatus.rank(status)),
    heartbeatAge === undefined ? Effect.void : Metric.update(gauge(Metrics.consumerHeartbeatAge), heartbeatAge)
  ], { discard: true })
}
