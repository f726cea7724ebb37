/**
 * The status of a consumer in one process, over the partitions that the process owns.
 *
 * @since 0.1.0
 */
import type { EventStoreError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"

/**
 * The state of a consumer in this process.
 *
 * - `starting`: it has not reached the store yet
 * - `standby`: other workers own all partitions
 * - `catching-up`: events wait
 * - `live`: every event up to the high-water mark is applied, or parked
 * - `retrying`: the store is unavailable, or the handler of an event failed; the worker tries again
 * - `stuck`: an event fails and the consumer is to stop there, or the store rejects a request; the worker tries again, but an operator must act
 *
 * @since 0.1.0
 * @category models
 */
export type ConsumerState = "starting" | "standby" | "catching-up" | "live" | "retrying" | "stuck"

/**
 * The status of a consumer in this process.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConsumerStatus {
  /** The id of the consumer. */
  readonly consumer: string
  readonly state: ConsumerState
  /** The lowest checkpoint of the partitions. */
  readonly position: Position.Position
  /** The high-water mark of the log, when it was last read. */
  readonly head: Position.Position
  /** The position of the last committed event, as of the last heartbeat. A transaction that holds back readers keeps `head` below it. */
  readonly last: Position.Position
  /** The positions behind `last`, or behind `head` if that is higher. */
  readonly lag: bigint
  /** The number of partitions that this process owns. */
  readonly partitions: number
  /** The number of parked keys in them. */
  readonly parked: number
  /** The number of events that this process applied. */
  readonly applied: number
  /** When the worker last did anything, in milliseconds of the epoch. */
  readonly heartbeat: number
  /** Why the consumer is stuck or retrying. */
  readonly detail: string | undefined
  /** The error of the event at which the consumer has stopped, if it has. */
  readonly error?: EventStoreError | undefined
}

/**
 * The status of one partition, or of a worker without partitions.
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionStatus {
  readonly state: ConsumerState
  readonly position: Position.Position
  readonly head: Position.Position
  readonly parked: number
  readonly detail: string | undefined
  readonly error?: EventStoreError | undefined
}

/** From the worst to the best. */
const states: ReadonlyArray<ConsumerState> = ["stuck", "retrying", "catching-up", "starting", "live", "standby"]

/**
 * Combines the status of a worker with those of its partitions. Returns the state of the worst partition and the position of the slowest, or the
 * worker's own state when its requests to the store fail. `last` is the position of the last committed event.
 *
 * @since 0.1.0
 * @category combinators
 */
export const combine = (
  worker: PartitionStatus,
  partitions: ReadonlyArray<PartitionStatus>,
  last: Position.Position
): PartitionStatus & Pick<ConsumerStatus, "last" | "lag"> => {
  const rank = ({ state }: PartitionStatus) => states.indexOf(state)
  const worst = partitions.reduce((worst, one) => rank(one) < rank(worst) ? one : worst, partitions[0] ?? worker)
  const { detail, error, state } = rank(worker) < 2 ? worker : worst
  const slowest = partitions.reduce(
    (slowest, one) => one.position < slowest.position ? one : slowest,
    partitions[0] ?? worker
  )
  return {
    state,
    detail,
    ...error === undefined ? {} : { error },
    position: slowest.position,
    head: partitions.reduce((max, { head }) => Position.max(max, head), worker.head),
    parked: partitions.reduce((sum, { parked }) => sum + parked, 0),
    last,
    lag: partitions.reduce((max, { head, position }) => {
      const lag = Position.max(head, last) - position
      return lag > max ? lag : max
    }, 0n)
  }
}

/**
 * The `detail` of the status of a worker that gives its partitions back.
 *
 * @since 0.1.0
 * @category accessors
 */
export const drainDetail =
  "it gives its partitions back, because another version is to continue from them, their number is to change, a release that reads more takes "
  + "them over, or an operator resets its checkpoints"

/**
 * Returns the text for the status of a consumer from which another version has continued.
 *
 * @since 0.1.0
 * @category accessors
 */
export const continuedDetail = (successor: string): string =>
  `${successor} has continued from its checkpoints, so it handles nothing more; remove it from the program`
