/**
 * The health of process managers: that of their consumers and of their instances.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type * as Consumer from "../../consumer/Consumer.ts"
import type { EventStoreError, ProjectionBehind } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import { monotonicMillis } from "../../core/monotonic.ts"
import * as Metrics from "../../core/telemetry/Metrics.ts"
import * as EventStore from "../../eventStore/EventStore.ts"
import * as Health from "../../operations/Health.ts"
import * as HealthCheck from "../../operations/HealthCheck.ts"
import * as HealthStatus from "../../operations/HealthStatus.ts"
import * as HealthWatch from "../../operations/HealthWatch.ts"
import type * as ProjectionStore from "../../projection/ProjectionStore.ts"
import * as ProcessConsumers from "../ProcessConsumers.ts"
import type * as ProcessContract from "../ProcessContract.ts"
import * as ProcessInstances from "../ProcessInstances.ts"
import * as InstanceHealth from "./InstanceHealth.ts"

/**
 * Options of the health check of a process manager.
 *
 * @since 0.1.0
 * @category options
 */
export interface HealthOptions extends Health.HealthOptions {
  /** Health is red when a deadline has been overdue, or an instance parked or deferred, for longer than this; 30 seconds by default. */
  readonly overdueTimeout?: Duration.Input | undefined
}

/**
 * Options of the checks at intervals.
 *
 * @since 0.1.0
 * @category options
 */
export interface WatchOptions extends Omit<HealthOptions, "previous"> {
  /** Further consumers that the same checks cover; none by default. */
  readonly consumers?: ReadonlyArray<Consumer.Consumer> | undefined
  /** The time between two checks; 10 seconds by default. */
  readonly interval?: Duration.Input | undefined
}

/**
 * The health of a process manager.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessHealth extends Health.Health, Omit<InstanceHealth.InstanceHealth, "status" | "reasons"> {}

/** What a health check covers: consumers and process managers. */
interface Subjects {
  readonly processes: ReadonlyArray<ProcessContract.Any>
  readonly consumers: ReadonlyArray<Consumer.Consumer>
}

const subjectsOf = (
  processes: ReadonlyArray<ProcessContract.Any>,
  others: ReadonlyArray<Consumer.Consumer> = []
): Subjects => {
  const all = processes.flatMap((process) => {
    const { inputs, outputs } = ProcessConsumers.of(process)
    // Without inputs, as for schedules, no worker runs their consumer.
    return [...process.handles.length === 0 ? [] : [inputs], outputs, ProcessInstances.of(process)]
  })
  const ids = new Set(all.map(({ id }) => id))
  return { processes, consumers: [...others.filter(({ id }) => !ids.has(id)), ...all] }
}

/** Returns the health of the instances of each process manager. `begun` is when the check of the consumers began. */
const instancesOf = Effect.fnUntraced(function*(
  processes: ReadonlyArray<ProcessContract.Any>,
  at: DateTime.Utc,
  begun: number,
  options: HealthOptions
): Effect.fn.Return<
  ReadonlyArray<InstanceHealth.InstanceHealth>,
  ProjectionBehind | EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore
> {
  const { driver: log } = (yield* EventStore.EventStore)[internals]
  // The health of the consumers has taken part of the time.
  const passed = Duration.millis((yield* monotonicMillis) - begun)
  const overdueTimeout = InstanceHealth.overdueTimeoutOf(options)
  return yield* HealthCheck.within(
    log,
    { timeout: HealthCheck.timeoutOf(options), passed },
    (reading) =>
      Effect.forEach(processes, (process) => {
        reading.what = `the deadlines and instances of the process manager "${process.name}"`
        return InstanceHealth.read(process, at, overdueTimeout)
      })
  )
})

/**
 * Returns the health of a process manager: that of its consumers and of its instances. It is red while a deadline is overdue, or a command, the reaction
 * to a deadline or an input is parked, for longer than `overdueTimeout`. It is yellow while instances wait for a newer release, and red when an instance has
 * waited for longer than `overdueTimeout`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const health = Effect.fnUntraced(function*(
  process: ProcessContract.Any,
  options: HealthOptions = {}
): Effect.fn.Return<
  ProcessHealth,
  ProjectionBehind | EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore
> {
  const { consumers, processes } = subjectsOf([process])
  const begun = yield* monotonicMillis
  const found = yield* Health.of(consumers, options)
  const [instances] = yield* instancesOf(processes, found.at, begun, options)
  return { ...found, ...instances!, ...HealthStatus.worstOf([found, instances!], () => undefined) }
})

/**
 * Checks the health of process managers and of further consumers at intervals, also of those that other processes run, and sets their gauges. It logs the
 * same lines as `Health.watch`. It also logs process managers with overdue deadlines, or with parked or deferred instances.
 *
 * @since 0.1.0
 * @category constructors
 */
export const watch = (
  watched: ReadonlyArray<ProcessContract.Any>,
  options: WatchOptions = {}
): Effect.Effect<void, never, EventStore.EventStore | ProjectionStore.ProjectionStore | Scope.Scope> => {
  const { consumers, processes } = subjectsOf(watched, options.consumers)
  const whenFailed = Effect.andThen(
    HealthWatch.publishUnknown(consumers),
    Effect.forEach(
      processes,
      ({ name }) =>
        Metric.update(Metric.withAttributes(Metrics.processHealth, { process: name }), HealthStatus.rank("red"))
    )
  )
  return Effect.flatMap(Health.make(consumers, options), (checkConsumers) => {
    const check = Effect.gen(function*() {
      const begun = yield* monotonicMillis
      const found = yield* checkConsumers
      const instances = yield* instancesOf(processes, found.at, begun, options)
      return [
        ...HealthWatch.partsOf(found),
        ...processes.map(({ name }, index) => ({ name: `the process manager "${name}"`, ...instances[index]! }))
      ]
    })
    return HealthWatch.run(check, { ...options, whenFailed })
  })
}
