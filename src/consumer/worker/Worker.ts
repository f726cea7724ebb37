/**
 * What a worker works with, and its status.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type * as Fiber from "effect/Fiber"
import type * as Latch from "effect/Latch"
import * as Position from "../../core/Position.ts"
import type * as OutageLog from "../../core/telemetry/OutageLog.ts"
import type * as EventStore from "../../eventStore/EventStore.ts"
import type { BatchProcessor } from "../batch/BatchProcessor.ts"
import type { ConsumerDriver } from "../CheckpointDriver.ts"
import type { ConsumerStatus } from "../ConsumerStatus.ts"
import type * as PartitionReport from "../PartitionReport.ts"
import * as EventInHand from "./EventInHand.ts"
import type * as WorkerOptions from "./WorkerOptions.ts"
import * as WorkerState from "./WorkerState.ts"

/**
 * A partition of a worker, and the fiber that processes it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Running {
  readonly fiber: Fiber.Fiber<void>
  readonly epoch: bigint
  readonly generation: string
  readonly requests: Latch.Latch
  readonly inHand: EventInHand.Tracker
  /** Whether another worker owns the partition, or this one under a later epoch. */
  isLost: boolean
  /** Whether it waits for events. */
  isIdle: boolean
}

/**
 * A worker's dependencies, and what changes: its state, its fibers and the end of its leases.
 *
 * @since 0.1.0
 * @category models
 */
export interface Worker {
  readonly events: EventStore.EventStore["Service"]
  readonly store: ConsumerDriver
  readonly processor: BatchProcessor
  readonly settings: WorkerOptions.Settings
  readonly owner: string
  readonly wakeUp: Latch.Latch
  /** Opens when a partition has events to process. */
  readonly activity: Latch.Latch
  readonly running: Map<number, Running>
  readonly outages: OutageLog.OutageLog
  readonly logs: PartitionReport.ProcessorLogs
  /** The sizes of the next batches of partitions whose last batch had only events that wait for locks. */
  readonly batchSizes: Map<number, number>
  /** Whether the worker knows that the consumer need not wait for an earlier version. */
  hasStarted: boolean
  state: WorkerState.WorkerState
  /** When its leases end, by the monotonic clock, in milliseconds. */
  leasedUntil: number
  /** The generation of which the store keeps its leases; undefined while it sends heartbeats. */
  kept: string | undefined
}

/**
 * Returns the status of a worker.
 *
 * @since 0.1.0
 * @category accessors
 */
export const statusOf = (worker: Worker, now: number): ConsumerStatus => {
  const { kept, processor: { consumer }, running, settings: { lease }, state } = worker
  const inHand = EventInHand.describeLongest(running, Duration.times(lease, 1 / 3), now)
  const status = WorkerState.statusOf(consumer.id, state, running.size, inHand)
  return kept === undefined ? status : { ...status, heartbeat: now, last: Position.max(status.last, status.head) }
}

/**
 * Returns the attributes of a worker's gauges and log lines.
 *
 * @since 0.1.0
 * @category accessors
 */
export const attributesOf = ({ processor: { consumer }, settings: { generation } }: Worker) => ({
  consumer: generation ?? consumer.id
})
