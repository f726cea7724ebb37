/**
 * The health of process managers: that of their consumers, and of their deadlines, parked and deferred instances.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { EventStoreError, ProjectionBehind } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { monotonicMillis } from "../core/monotonic.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as Health from "../operations/Health.ts"
import * as HealthCheck from "../operations/HealthCheck.ts"
import * as Parking from "../operations/Parking.ts"
import * as ProjectionStore from "../projection/ProjectionStore.ts"
import * as OverdueDeadlines from "./OverdueDeadlines.ts"
import * as ProcessConsumers from "./ProcessConsumers.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import * as ProcessInstances from "./ProcessInstances.ts"

/**
 * Options of the health check of a process manager.
 *
 * @since 0.1.0
 * @category options
 */
export interface HealthOptions extends Health.HealthOptions {
  /** Health is red when a deadline has been overdue, or an instance has been parked or deferred, for longer; 30 seconds by default. */
  readonly overdueTimeout?: Duration.Input | undefined
}

/**
 * The health of a process manager.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessHealth extends Health.Health {
  /** The instance with the earliest deadline, among those with a deadline overdue for longer than `overdueTimeout`, counted from when it was due and set. */
  readonly overdue: ProcessInstances.Instance | undefined
  /** Instances that a program has deferred to a newer release, the longest waiting first, 100 at most. */
  readonly deferred: ReadonlyArray<ProcessInstances.Instance>
}

/** Returns the instance that has been parked longest at a command or at the reaction to a deadline, and the one parked longest at an input. */
const stuckIn = Effect.fnUntraced(function*(process: ProcessContract.Any, parkedBefore: DateTime.Utc) {
  const first = { parkedBefore, limit: 1 }
  const outputs = yield* Parking.list(ProcessConsumers.of(process).outputs, first)
  const inputs = ProcessConsumers.keyedInputs(process)
  return [
    ...outputs.items.map(({ error, parkedAt, stream }) => ({
      at: parkedAt,
      error,
      id: stream.slice(ProcessInstances.streamPrefix(process.name).length),
      input: undefined
    })),
    // Health.of says where a consumer waits because the key is unknown.
    ...inputs === undefined ?
      [] :
      (yield* Parking.list(inputs, first)).items.flatMap((input) =>
        input.key === "" ? [] : [{ at: input.parkedAt, error: input.error, id: input.key, input }]
      )
  ]
})

const othersOf = ({ isMore, others }: OverdueDeadlines.Overdue): string =>
  others === 0
    ? ""
    : `, and those of ${isMore ? `${others} or more` : `up to ${others}`} other ${
      others === 1 ? "instance" : "instances"
    }`

/** The maximum number of instances that a check counts. */
const maxDeferred = 100

/**
 * Returns the health of a process manager: that of its consumers, and whether deadlines are overdue, or instances parked or deferred. It is red while a
 * deadline is overdue, or a command, the reaction to a deadline or an input is parked, for longer than `overdueTimeout`. It is yellow while instances wait for
 * a newer release, and red when one has waited for longer.
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
  const { inputs, outputs } = ProcessConsumers.of(process)
  const instances = ProcessInstances.of(process)
  const begun = yield* monotonicMillis
  // Without inputs, as for schedules, no worker runs their consumer.
  const found = yield* Health.of([...process.handles.length === 0 ? [] : [inputs], outputs, instances], options)
  const overdueTimeout = Duration.fromInputUnsafe(options.overdueTimeout ?? "30 seconds")
  const parkedBefore = DateTime.subtractDuration(found.at, overdueTimeout)
  const { driver: log } = (yield* EventStore.EventStore)[internals]
  // The health of the consumers has taken part of the time.
  const passed = Duration.millis((yield* monotonicMillis) - begun)
  const { deferred, overdue, stuck } = yield* HealthCheck.within(
    log,
    { timeout: HealthCheck.timeoutOf(options), passed },
    Effect.fnUntraced(function*(reading) {
      reading.what = `the deadlines and instances of the process manager "${process.name}"`
      const overdue = yield* OverdueDeadlines.first(process, found.at, overdueTimeout)
      const stuck = yield* stuckIn(process, parkedBefore)
      const { items: deferred } = yield* ProjectionStore.list(instances, {
        where: { deferredSince: { lte: found.at } },
        orderBy: { field: "deferredSince" },
        limit: maxDeferred
      })
      return { overdue, stuck, deferred }
    })
  )
  const reasons = [...found.reasons]
  const since = (at: DateTime.Utc) => Duration.format(DateTime.distance(at, found.at))
  if (overdue !== undefined) {
    reasons.push(
      `a deadline of the instance "${overdue.instance.id}" of the process manager "${process.name}" has been overdue for ${
        since(overdue.since)
      }${
        othersOf(overdue)
      }; run a program with ProcessManager.layer, or see in its log why it cannot take the inputs or fire the deadline`
    )
  }
  for (const { at, error, id, input } of stuck) {
    reasons.push(
      `the instance "${id}" of the process manager "${process.name}" has been parked for ${since(at)}` +
        (input === undefined
          ? "; see ProcessManager.inspect, then use ProcessManager.retry or ProcessManager.abandon"
          : ` at the input "${input.type}" at position ${input.position}; correct what failed, then use ProcessManager.retry, or Parking.skip of the inputs`)
        + `. The error: ${error}`
    )
  }
  const [first] = deferred
  const waitingSince = first?.deferredSince ?? undefined
  if (first !== undefined && waitingSince !== undefined) {
    const count = deferred.length === 1
      ? "1 instance was"
      : `${deferred.length}${deferred.length === maxDeferred ? " or more" : ""} instances were`
    reasons.push(
      `${count} changed by a newer release of the process manager "${process.name}": a program does not declare ${first.deferredReason} of "${first.id}", `
        + `which has waited for ${
          since(waitingSince)
        }; run a release that declares it with the Schema by which it was stored`
    )
  }
  const isLate = waitingSince !== undefined
    && DateTime.isLessThan(waitingSince, parkedBefore)
  const isRed = overdue !== undefined || stuck.length > 0 || isLate
  return {
    ...found,
    status: isRed ? "red" : deferred.length > 0 && found.status === "green" ? "yellow" : found.status,
    reasons,
    overdue: overdue?.instance,
    deferred
  }
})
