/**
 * The health of the instances of a process manager: overdue deadlines, and instances that are parked or deferred.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { EventStoreError, ProjectionBehind } from "../../core/errors.ts"
import * as Metrics from "../../core/telemetry/Metrics.ts"
import type * as EventStore from "../../eventStore/EventStore.ts"
import * as HealthStatus from "../../operations/HealthStatus.ts"
import * as Parking from "../../operations/Parking.ts"
import * as ProjectionStore from "../../projection/ProjectionStore.ts"
import * as ProcessConsumers from "../ProcessConsumers.ts"
import type * as ProcessContract from "../ProcessContract.ts"
import * as ProcessInstances from "../ProcessInstances.ts"
import * as OverdueDeadlines from "./OverdueDeadlines.ts"

/**
 * The health of the instances of a process manager.
 *
 * @since 0.1.0
 * @category models
 */
export interface InstanceHealth extends HealthStatus.Assessment {
  /** Among the instances with a deadline overdue for longer than `overdueTimeout`, the one with the earliest. The time counts from when it was due and set. */
  readonly overdue: ProcessInstances.Instance | undefined
  /** Instances that a program has deferred to a newer release, the longest waiting first, 100 at most. */
  readonly deferred: ReadonlyArray<ProcessInstances.Instance>
  /** The seconds for which the earliest deadline, or that of `overdue`, has been due and set; 0 while none is due. */
  readonly deadlineLag: number
}

/**
 * Returns the time after which an overdue deadline, or an instance that is parked or deferred, turns the health red.
 *
 * @since 0.1.0
 * @category accessors
 */
export const overdueTimeoutOf = (
  { overdueTimeout = "30 seconds" }: { readonly overdueTimeout?: Duration.Input | undefined }
): Duration.Duration => Duration.fromInputUnsafe(overdueTimeout)

/** An instance that is parked. */
interface Stuck {
  readonly id: string
  readonly at: DateTime.Utc
  readonly error: string
  /** The input at which it is parked; undefined at a command or the reaction to a deadline. */
  readonly input: Parking.Parked | undefined
}

/** Returns the instance that has been parked longest at a command or at the reaction to a deadline, and the one parked longest at an input. */
const stuckIn = Effect.fnUntraced(function*(process: ProcessContract.Any, parkedBefore: DateTime.Utc) {
  const first = { parkedBefore, limit: 1 }
  const outputs = yield* Parking.list(ProcessConsumers.of(process).outputs, first)
  const inputs = ProcessConsumers.keyedInputs(process)
  return [
    ...outputs.items.map(({ error, parkedAt, stream }): Stuck => ({
      at: parkedAt,
      error,
      id: stream.slice(ProcessInstances.streamPrefix(process.name).length),
      input: undefined
    })),
    // Health.of says where a consumer waits because the key is unknown.
    ...inputs === undefined ?
      [] :
      (yield* Parking.list(inputs, first)).items.flatMap((input): ReadonlyArray<Stuck> =>
        input.key === "" ? [] : [{ at: input.parkedAt, error: input.error, id: input.key, input }]
      )
  ]
})

/** The maximum number of instances that a check counts. */
const maxDeferred = 100

/**
 * Returns the health of the instances of a process manager at a time of the database's clock, and sets the gauges of the process manager.
 *
 * @since 0.1.0
 * @category constructors
 */
export const read = Effect.fnUntraced(function*(
  process: ProcessContract.Any,
  at: DateTime.Utc,
  overdueTimeout: Duration.Duration
): Effect.fn.Return<
  InstanceHealth,
  ProjectionBehind | EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore
> {
  const before = DateTime.subtractDuration(at, overdueTimeout)
  const { overdue, since } = yield* OverdueDeadlines.read(process, at, overdueTimeout)
  const stuck = yield* stuckIn(process, before)
  const { items: deferred } = yield* ProjectionStore.list(ProcessInstances.of(process), {
    where: { deferredSince: { lte: at } },
    orderBy: { field: "deferredSince" },
    limit: maxDeferred
  })
  const { name } = process
  const waiting = deferred.length === 0 ? [] : [reasonOfDeferred(name, deferred, at)]
  const isLate = deferred.some(({ deferredSince }) =>
    deferredSince !== null && DateTime.isLessThan(deferredSince, before)
  )
  const isRed = overdue !== undefined || stuck.length > 0 || isLate
  const health: InstanceHealth = {
    status: isRed ? "red" : deferred.length > 0 ? "yellow" : "green",
    reasons: [
      ...overdue === undefined ? [] : [reasonOfOverdue(name, overdue, at)],
      ...stuck.map((one) => reasonOfStuck(name, one, at)),
      ...waiting
    ],
    overdue: overdue?.instance,
    deferred,
    deadlineLag: since === undefined ? 0 : HealthStatus.secondsBetween(since, at)
  }
  const gauge = <Input, State>(metric: Metric.Metric<Input, State>) => Metric.withAttributes(metric, { process: name })
  yield* Metric.update(gauge(Metrics.processHealth), HealthStatus.rank(health.status))
  yield* Metric.update(gauge(Metrics.processDeadlineLag), health.deadlineLag)
  yield* Metric.update(gauge(Metrics.processDeferredInstances), deferred.length)
  return health
})

const since = (from: DateTime.Utc, at: DateTime.Utc): string => Duration.format(DateTime.distance(from, at))

const reasonOfOverdue = (name: string, overdue: OverdueDeadlines.Overdue, at: DateTime.Utc): string =>
  `a deadline of the instance "${overdue.instance.id}" of the process manager "${name}" has been overdue for ${
    since(overdue.since, at)
  }${
    othersOf(overdue)
  }; run a program with ProcessManager.layer, or see in its log why it cannot take the inputs or fire the deadline`

const othersOf = ({ isMore, others }: OverdueDeadlines.Overdue): string =>
  others === 0
    ? ""
    : `, and those of ${isMore ? `${others} or more` : `up to ${others}`} other ${
      others === 1 ? "instance" : "instances"
    }`

const reasonOfStuck = (name: string, { at: parkedAt, error, id, input }: Stuck, at: DateTime.Utc): string =>
  `the instance "${id}" of the process manager "${name}" has been parked for ${since(parkedAt, at)}` +
  (input === undefined
    ? "; see ProcessManager.inspect, then use ProcessManager.retry or ProcessManager.abandon"
    : ` at the input "${input.type}" at position ${input.position}; correct what failed, then use ProcessManager.retry, or Parking.skip of the inputs`)
  + `. The error: ${error}`

const reasonOfDeferred = (
  name: string,
  deferred: ReadonlyArray<ProcessInstances.Instance>,
  at: DateTime.Utc
): string => {
  const [first] = deferred
  const count = deferred.length === 1
    ? "1 instance was"
    : `${deferred.length}${deferred.length === maxDeferred ? " or more" : ""} instances were`
  return `${count} changed by a newer release of the process manager "${name}": a program does not declare ${first?.deferredReason} of "${first?.id}", `
    + `which has waited for ${
      since(first?.deferredSince ?? at, at)
    }; run a release that declares it with the Schema by which it was stored`
}
