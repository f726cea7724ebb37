/**
 * What a process says of a consumer of the log, of the partitions that it works on.
 *
 * @since 0.1.0
 */
import * as Position from "../core/Position.ts"

/**
 * - `starting`: not yet seen the store
 * - `standby`: others own all partitions
 * - `catching-up`: events are waiting
 * - `live`: everything up to the head is applied, or parked
 * - `retrying`: the store cannot be reached; it is tried again
 * - `stuck`: an event cannot be processed and the consumer is to stop there, or the store refuses; nothing more is applied until somebody
 *   mends it. It is tried again
 *
 * @since 0.1.0
 * @category models
 */
export type ConsumerState = "starting" | "standby" | "catching-up" | "live" | "retrying" | "stuck"

/**
 * What this process says of a consumer, of the partitions that it works on.
 *
 * - `position`: the checkpoint furthest behind, `head` the high-water mark of the log and `lag` the positions between, when it last looked
 * - `partitions`: how many it works on; `parked`: how many streams are parked in them
 * - `applied`: how many events it has applied
 * - `heartbeat`: when it last did anything, in milliseconds of the epoch
 * - `detail`: why it is stuck or retrying
 *
 * @since 0.1.0
 * @category models
 */
export interface ConsumerStatus {
  readonly consumer: string
  readonly state: ConsumerState
  readonly position: Position.Position
  readonly head: Position.Position
  readonly lag: bigint
  readonly partitions: number
  readonly parked: number
  readonly applied: number
  readonly heartbeat: number
  readonly detail: string | undefined
}

/**
 * What is said of one partition, or of a consumer that this process has no partition of.
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
}

/** From the worst to the best. */
const states: ReadonlyArray<ConsumerState> = ["stuck", "retrying", "catching-up", "starting", "live", "standby"]

/**
 * The state of the worst partition and the position of the slowest, unless `others`, which stands for the process's dealings with the store,
 * is worse.
 *
 * @since 0.1.0
 * @category combining
 */
export const combine = (
  others: PartitionStatus,
  mine: ReadonlyArray<PartitionStatus>
): PartitionStatus & { readonly lag: bigint } => {
  const rank = ({ state }: PartitionStatus) => states.indexOf(state)
  const worst = mine.reduce((worst, one) => rank(one) < rank(worst) ? one : worst, mine[0] ?? others)
  const { detail, state } = rank(others) < 2 ? others : worst
  const least = mine.reduce((least, one) => one.position < least.position ? one : least, mine[0] ?? others)
  return {
    state,
    detail,
    position: least.position,
    head: mine.reduce((most, { head }) => Position.max(most, head), others.head),
    parked: mine.reduce((sum, { parked }) => sum + parked, 0),
    lag: mine.reduce((most, { head, position }) => {
      const lag = head > position ? head - position : 0n
      return lag > most ? lag : most
    }, 0n)
  }
}
