/**
 * The gauges and the log lines of a worker.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import { EventStoreError } from "../../core/errors.ts"
import { internals } from "../../core/internals.ts"
import { logEvent } from "../../core/telemetry/logEvent.ts"
import * as Metrics from "../../core/telemetry/Metrics.ts"
import { countStoreError } from "../../core/telemetry/metricUpdates.ts"
import * as LockHolders from "../../eventStore/driver/LockHolders.ts"
import { drainDetail } from "../ConsumerStatus.ts"
import type * as HandOver from "../HandOver.ts"
import type { Claim } from "../LeaseDriver.ts"
import type * as PartitionReport from "../PartitionReport.ts"
import { awaitsNewerCode } from "../UnknownTypes.ts"
import * as EventInHand from "./EventInHand.ts"
import { attributesOf, statusOf, type Worker } from "./Worker.ts"
import * as WorkerState from "./WorkerState.ts"

/**
 * Updates the gauges of the consumer.
 *
 * @since 0.1.0
 * @category combinators
 */
export const publish = (worker: Worker): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const { lag, parked, state } = statusOf(worker, now)
    const gauge = <Input, State>(metric: Metric.Metric<Input, State>) =>
      Metric.withAttributes(metric, attributesOf(worker))
    return Effect.all([
      Metric.update(gauge(Metrics.consumerLag), lag),
      Metric.update(gauge(Metrics.consumerStuck), state === "stuck" ? 1 : 0),
      Metric.update(gauge(Metrics.consumerParkedKeys), parked)
    ], { discard: true })
  })

/**
 * Removes the gauges of the consumer.
 *
 * @since 0.1.0
 * @category combinators
 */
export const unpublish = (worker: Worker): Effect.Effect<void> =>
  Effect.forEach(
    [Metrics.consumerLag, Metrics.consumerStuck, Metrics.consumerParkedKeys],
    (metric: Metric.Metric<never, unknown>) => Metric.remove(Metric.withAttributes(metric, attributesOf(worker))),
    { discard: true }
  )

/**
 * Logs that the worker or a partition failed: once in an outage.
 *
 * @since 0.1.0
 * @category combinators
 */
export const logFailure = (
  { outages, processor: { consumer } }: Worker,
  source: number | "claim",
  { detail, state }: WorkerState.Failure,
  cause: Cause.Cause<unknown>
): Effect.Effect<void> => {
  const isStuck = state === "stuck"
  // The words of a passing failure vary with the statement that met it.
  const kind = isStuck ? detail : state
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  return Effect.andThen(
    error instanceof EventStoreError
      ? Effect.contextWith((context: Context.Context<never>) => Effect.sync(() => countStoreError(error, context)))
      : Effect.void,
    outages.failed({ source, kind, message: `${consumer.id} is ${state}: ${detail}`, cause, isStuck })
  )
}

/**
 * Logs that a partition has stopped at an event, or that it works. The worker logs an event of newer code when it stops claiming.
 *
 * @since 0.1.0
 * @category combinators
 */
export const logReport = (
  worker: Worker,
  partition: number,
  { detail = "", error, state }: Omit<PartitionReport.Report, "applied">
): Effect.Effect<void> =>
  // The processor logs the attempts at an event.
  state === "retrying"
    ? Effect.void
    : state !== "stuck" || error === undefined
    ? worker.outages.succeeded(partition)
    : awaitsNewerCode(worker.processor.consumer, error)
    ? Effect.void
    : logFailure(worker, partition, { state, detail }, Cause.fail(error))

/**
 * Logs, in one line, which partitions the worker has taken over because the leases of their owners have ended.
 *
 * @since 0.1.0
 * @category combinators
 */
export const logTakenOver = (
  { processor: { consumer } }: Worker,
  { assigned, generation }: Pick<Claim, "assigned" | "generation">
): Effect.Effect<void> => {
  const taken = assigned.flatMap(({ partition, takenFrom }) =>
    takenFrom === undefined ? [] : [{ partition, takenFrom }]
  )
  if (taken.length === 0) return Effect.void
  const partitions = taken.map(({ partition }) => partition)
  const from = Array.from(new Set(taken.map(({ takenFrom }) => takenFrom)))
  return logEvent(
    "partitions.takenOver",
    `${consumer.id} has taken over partition${partitions.length === 1 ? "" : "s"} ${partitions.join(", ")} from ${
      from.map((owner) => `worker ${owner}`).join(", ")
    }, whose lease has ended`,
    { consumer: generation, partitions, from }
  )
}

/**
 * Returns whether the worker for which others wait has had an event in hand for longer than the lease.
 *
 * @since 0.1.0
 * @category guards
 */
export const isLong = ({ settings: { lease } }: Worker, { seconds }: HandOver.HandOver): boolean =>
  seconds > Duration.toSeconds(lease)

/**
 * Logs that the worker waits for partitions: once, and again when their worker has had an event in hand for longer than the lease.
 *
 * @since 0.1.0
 * @category combinators
 */
export const logHandOver = (worker: Worker, handOver: HandOver.HandOver): Effect.Effect<void> =>
  worker.outages.failed({
    source: "handOver",
    kind: isLong(worker, handOver) ? "handOver in hand" : "handOver",
    message: handOver.detail,
    cause: Cause.empty
  })

/**
 * Logs, once, that an event has been in hand for longer than the lease, and once if others wait for the partition meanwhile. An attempt that fails
 * does not end it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const logInHand = (worker: Worker): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const { outages, processor: { consumer }, running, settings: { lease }, state } = worker
    const inHand = EventInHand.describeLongest(running, lease, now)
    if (inHand === undefined) return WorkerState.isRetrying(state) ? Effect.void : outages.succeeded("inHand")
    const isDraining = state._tag === "Standby" && state.detail === drainDetail
    return outages.failed({
      source: "inHand",
      kind: isDraining ? "inHand drain" : "inHand",
      message: `${consumer.id} waits: ${isDraining ? `${drainDetail}: ` : ""}${inHand}`,
      cause: Cause.empty
    })
  })

/**
 * Logs, once in an outage, that a transaction holds back all readers, and which one.
 *
 * @since 0.1.0
 * @category combinators
 */
export const logHeldBack = (worker: Worker): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const { events, outages, processor: { consumer }, settings, state } = worker
    if (!state.isHeldBack) return outages.succeeded("head")
    return LockHolders.observe(events[internals].driver).pipe(
      Effect.timeout(Duration.times(settings.lease, 1 / 6)),
      Effect.map(LockHolders.describeAppend),
      Effect.orElseSucceed(() => "Health names it"),
      Effect.flatMap((holder) => {
        const message = `${consumer.id} waits: ${WorkerState.heldBack(statusOf(worker, now))}: ${holder}`
        return outages.failed({ source: "head", kind: "head", message, cause: Cause.empty })
      })
    )
  })
