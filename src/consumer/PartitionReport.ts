/**
 * What the processor of a partition reports to its worker, logs and counts.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Position from "../core/Position.ts"
import type * as LimitedLog from "../core/telemetry/LimitedLog.ts"
import { logEvent } from "../core/telemetry/logEvent.ts"
import * as Metrics from "../core/telemetry/Metrics.ts"
import * as ConsumerKey from "./ConsumerKey.ts"
import type { PartitionStatus } from "./ConsumerStatus.ts"
import type * as Unparking from "./parking/Unparking.ts"
import type { FailedDelivery } from "./parking/UnreadEvents.ts"
import type * as Retries from "./Retries.ts"

/**
 * A report of a processor, which follows every step.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report extends PartitionStatus {
  readonly state: "catching-up" | "live" | "retrying" | "stuck"
  /** How many events the step applied. */
  readonly applied: number
}

/**
 * Logs whose lines are limited, because very many keys may be parked at a time.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessorLogs {
  readonly parked: LimitedLog.LimitedLog
  readonly attempts: LimitedLog.LimitedLog
}

/**
 * What the reports and logs need of a partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReportedPartition extends Unparking.OwnedPartition {
  /** The parked keys. With `unknownKey` among them, the partition waits. */
  readonly parked: Set<string>
  readonly logs: ProcessorLogs
  readonly report: (report: Report) => Effect.Effect<unknown>
  /** What became of the keys for which requests were carried out since the queue was last empty. */
  readonly carried: { freed: number; failed: number }
}

/**
 * Reports the event of unknown key at which the partition waits.
 *
 * @since 0.1.0
 * @category combinators
 */
export const reportWaiting = Effect.fnUntraced(function*(
  { generation, parked, partition, report, store }: ReportedPartition,
  position: Position.Position,
  head: Position.Position
) {
  const [entry] = yield* store.parked(generation, { partition, key: ConsumerKey.unknownKey, limit: 1 })
  const detail = entry && `${ConsumerKey.waitsAt(entry)}: ${entry.error}`
  yield* report({ state: "stuck", position, head, applied: 0, parked: parked.size, detail })
})

/**
 * Returns the `detail` of the status while requests for parked keys are being carried out.
 *
 * @since 0.1.0
 * @category accessors
 */
export const freeingOf = ({ carried: { failed, freed } }: ReportedPartition): string | undefined =>
  freed + failed === 0
    ? undefined
    : `is carrying out requests for parked keys: so far ${freed} are free, ${failed} are parked again`

/**
 * Logs, once the queue is empty, what became of the keys that were in it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const logCarried = ({ carried, partition, processor: { consumer } }: ReportedPartition): Effect.Effect<void> => {
  const { failed, freed } = carried
  if (freed + failed === 0) return Effect.void
  carried.freed = 0
  carried.failed = 0
  return logEvent(
    "parked.released",
    `${consumer.id} has carried out the requests for parked keys of partition ${partition}: ${freed} are free, ${failed} are parked again`,
    { consumer: consumer.id, partition, free: freed, parkedAgain: failed }
  )
}

/**
 * Returns the function that logs and reports a failed attempt that another follows. The error is free of personal data already.
 *
 * @since 0.1.0
 * @category constructors
 */
export const retryReporter = (
  { logs, parked, processor: { consumer }, report }: ReportedPartition,
  position: Position.Position,
  head: Position.Position
) =>
({ attempts, delay, error, event }: Retries.FailedAttempt): Effect.Effect<void> => {
  const detail = `attempt ${attempts} at event ${event.position} (${event.type}) failed; the next follows in ${
    Duration.format(delay)
  }`
  return Effect.andThen(
    logs.attempts.log("Warn", `${consumer.id}: ${detail}`, error),
    Effect.asVoid(report({
      state: "retrying",
      position,
      head,
      applied: 0,
      parked: parked.size,
      detail: `${detail}: ${error.message}`
    }))
  )
}

/**
 * Adds a key to the parked ones, and logs the event at which it is parked.
 *
 * @since 0.1.0
 * @category combinators
 */
export const parkedAt = (
  { logs, parked, processor: { consumer } }: ReportedPartition,
  { error, event, key }: FailedDelivery
) => {
  parked.add(key)
  return logs.parked.log(
    "Error",
    key === ConsumerKey.unknownKey
      ? `${consumer.id} ${ConsumerKey.waitsAt(event)}`
      : `${consumer.id} has parked ${ConsumerKey.describe(consumer.partitionBy, key)}`,
    error
  )
}

/**
 * Adds applied events to the metric of the consumer.
 *
 * @since 0.1.0
 * @category combinators
 */
export const countApplied = ({ processor: { consumer } }: ReportedPartition, applied: number): Effect.Effect<void> =>
  applied === 0
    ? Effect.void
    : Metric.update(Metric.withAttributes(Metrics.consumerEvents, { consumer: consumer.id }), applied)
