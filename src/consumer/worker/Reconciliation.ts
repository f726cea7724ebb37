/**
 * Compares the partitions that a worker owns with those that it runs.
 *
 * @since 0.1.0
 */
import type { Assignment, Claim } from "../LeaseDriver.ts"

/**
 * A partition whose processor this worker has started.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunningPartition {
  readonly generation: string
  readonly epoch: bigint
  /** Whether its processor has ended, so that it can be started again. */
  readonly hasEnded: boolean
}

/**
 * The partitions that a worker must act on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Plan {
  /** Partitions that the worker runs under this epoch no longer: their status is obsolete. */
  readonly lost: ReadonlyArray<number>
  /** Lost partitions whose processor still runs: interrupt it. */
  readonly stop: ReadonlyArray<number>
  /** Partitions whose processor has ended: remove it. */
  readonly ended: ReadonlyArray<number>
  /** Owned partitions beyond the worker's assignment, whose processor does not run: give them back. */
  readonly release: ReadonlyArray<number>
  /** Owned partitions without a processor: start one. */
  readonly start: ReadonlyArray<Assignment>
  /** Running partitions with a request for a parked stream: wake the processor. */
  readonly wake: ReadonlyArray<number>
}

/**
 * Returns what a worker must do after a claim. A partition is released, or started again under another epoch, only when its processor has
 * ended, because the user's code in it may take its time to be interrupted.
 *
 * @since 0.1.0
 * @category constructors
 */
export const reconcile = (
  { assigned, generation }: Pick<Claim, "assigned" | "generation">,
  running: ReadonlyMap<number, RunningPartition>,
  assignmentSize: number
): Plan => {
  const kept = assigned.slice(0, assignmentSize)
  const isOwned = ([partition, { epoch, generation: of }]: [number, RunningPartition]): boolean =>
    of === generation && kept.some((one) => one.partition === partition && one.epoch === epoch)
  const isRunning = (partition: number): boolean => running.get(partition)?.hasEnded === false
  const lost = Array.from(running).filter((entry) => !isOwned(entry)).map(([partition]) => partition)
  return {
    lost,
    stop: lost.filter(isRunning),
    ended: Array.from(running).filter(([, { hasEnded }]) => hasEnded).map(([partition]) => partition),
    release: assigned.slice(assignmentSize).map(({ partition }) => partition)
      .filter((partition) => !isRunning(partition)),
    start: kept.filter(({ partition }) => !isRunning(partition)),
    wake: kept.filter(({ partition, requested }) => requested && isRunning(partition)).map(({ partition }) => partition)
  }
}
