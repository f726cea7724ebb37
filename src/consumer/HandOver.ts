/**
 * The texts that say which partitions another version, another number of partitions, or a release that reads more waits for.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import type { InHand, Progress } from "./CheckpointDriver.ts"
import * as ConsumerReads from "./ConsumerReads.ts"
import type { LiveWorker } from "./LeaseDriver.ts"

type Owned = Pick<
  Progress,
  "inHand" | "leasedUntil" | "owner" | "partition" | "partitions" | "position" | "readAt" | "reads" | "takenBy"
>

/**
 * A change for which workers give their partitions back.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandOver {
  /** The text that names what waits, the partitions, their workers and the events that these have in hand. */
  readonly detail: string
  /** For how many seconds the first of the events in hand has been so; 0 without any. */
  readonly seconds: number
}

const secondsSince = (since: DateTime.Utc, at: DateTime.Utc): number =>
  Math.max(0, DateTime.toEpochMillis(at) - DateTime.toEpochMillis(since)) / 1000

/**
 * Returns the text of what a worker has in hand, and since when: "event 21 (Sent) in hand for 18 s".
 *
 * @since 0.1.0
 * @category accessors
 */
export const describeInHand = ({ event, since }: InHand, at: DateTime.Utc): string => {
  const time = `${Math.floor(secondsSince(since, at))} s`
  return event === undefined
    ? `no connection for the transaction of its handlers for ${time}`
    : `event ${event.position} (${event.type}) in hand for ${time}`
}

/**
 * Returns the partitions that a worker has, or that no worker may claim yet.
 *
 * @since 0.1.0
 * @category accessors
 */
export const leasedOf = <One extends Pick<Progress, "leasedUntil" | "readAt">>(
  progress: ReadonlyArray<One>
): ReadonlyArray<One> =>
  progress.filter(({ leasedUntil, readAt }) => leasedUntil !== undefined && !DateTime.isLessThan(leasedUntil, readAt))

/** The maximum number of partitions that a text names. */
const maxNamed = 3

/**
 * Names partitions, first those whose worker has had an event in hand for the longest time.
 *
 * @since 0.1.0
 * @category accessors
 */
export const inWords = (owned: ReadonlyArray<Owned>): string => {
  const shown = owned
    .toSorted((a, b) =>
      (a.inHand === undefined ? Infinity : DateTime.toEpochMillis(a.inHand.since))
        - (b.inHand === undefined ? Infinity : DateTime.toEpochMillis(b.inHand.since)) || a.partition - b.partition
    )
    .slice(0, maxNamed)
    .map(({ inHand, owner, partition, position, readAt }) => {
      const held = inHand === undefined ? "" : `, ${describeInHand(inHand, readAt)}`
      return `partition ${partition} (worker ${owner ?? "gone"}, checkpoint ${position}${held})`
    })
  const more = owned.length > maxNamed ? ` and ${owned.length - maxNamed} more` : ""
  return shown.length === 0 ? "its partitions" : `${shown.join(", ")}${more}`
}

const handOver = (progress: ReadonlyArray<Owned>, detailOf: (partitions: string) => string): HandOver => {
  const owned = leasedOf(progress)
  return {
    detail: detailOf(inWords(owned)),
    seconds: Math.max(
      0,
      ...owned.map(({ inHand, readAt }) => inHand === undefined ? 0 : secondsSince(inHand.since, readAt))
    )
  }
}

/**
 * Returns the wait of a version until an earlier one, with this progress, has given back its partitions.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofVersion = (successor: string, earlier: string, progress: ReadonlyArray<Owned>): HandOver =>
  handOver(progress, (partitions) => `${successor} waits until ${earlier} has given back ${partitions}`)

/** Whether a process works on the generation, and does not wait for those that do. */
const isOwn = ({ resets, successor }: LiveWorker): boolean => successor === undefined && !resets

/**
 * Returns the wait of a reset until the workers of a consumer have given back its partitions.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofReset = (consumer: string, progress: ReadonlyArray<Owned>): HandOver =>
  handOver(
    progress,
    (partitions) => `Checkpoints.reset of ${consumer} waits until its workers have given back ${partitions}`
  )

/**
 * Returns the number of partitions to which that of a generation is to change, if no worker has its number any more.
 *
 * @since 0.1.0
 * @category accessors
 */
export const nextPartitions = (
  workers: ReadonlyArray<LiveWorker>,
  [first]: ReadonlyArray<Pick<Progress, "partitions">>
): number | undefined => {
  const own = workers.filter(isOwn)
  return first === undefined || own.some(({ partitions }) => partitions === first.partitions)
    ? undefined
    : own[0]?.partitions
}

/**
 * Returns the wait for which the workers of a generation give back its partitions; undefined if nothing waits.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (
  consumer: string,
  workers: ReadonlyArray<LiveWorker>,
  progress: ReadonlyArray<Owned>
): HandOver | undefined => {
  if (workers.some(({ resets }) => resets)) return ofReset(consumer, progress)
  const successor = workers.find((one) => one.successor !== undefined)?.successor
  if (successor !== undefined) return ofVersion(successor, consumer, progress)
  const taken = takeover(consumer, workers, progress)
  if (taken !== undefined) return taken
  const to = nextPartitions(workers, progress)
  return to === undefined ? undefined : handOver(
    progress,
    (partitions) => `${consumer} changes to ${partitionsOf(to)} when its workers have given back ${partitions}`
  )
}

/**
 * Returns the wait of a release of a consumer that reads more until the workers of another release have given back partitions; undefined if none waits.
 *
 * @since 0.1.0
 * @category constructors
 */
export const takeover = (
  consumer: string,
  workers: ReadonlyArray<LiveWorker>,
  progress: ReadonlyArray<Owned>
): HandOver | undefined => {
  const isWaiting = ({ takenBy }: Owned) => workers.some(({ reads }) => reads !== undefined && reads === takenBy)
  const taken = leasedOf(progress).filter(isWaiting)
  const [first] = taken
  if (first?.takenBy === undefined) return undefined
  const { reads, takenBy } = first
  const takers = workers.filter((one) => one.reads === takenBy).map(({ owner }) => owner)
  const types = ConsumerReads.typesBeyond(ConsumerReads.parse(takenBy), ConsumerReads.parse(reads))
  const more = types.length === 0
    ? "more streams or tags"
    : named(types.map((type) => `"${type}"`))
  return handOver(
    taken,
    (partitions) =>
      `${consumer} changes to the release of worker ${
        named(takers)
      }, which also reads ${more}, when its workers have given back ${partitions}`
  )
}

const named = (all: ReadonlyArray<string>): string =>
  `${all.slice(0, maxNamed).join(", ")}${all.length > maxNamed ? ` and ${all.length - maxNamed} more` : ""}`

/**
 * Returns the text "1 partition", with any number.
 *
 * @since 0.1.0
 * @category accessors
 */
export const partitionsOf = (count: number): string => count === 1 ? "1 partition" : `${count} partitions`

/**
 * Names the workers of a generation whose definition has its number of partitions, with the event that each has had in hand for the longest time, if that
 * is a second or more.
 *
 * @since 0.1.0
 * @category accessors
 */
export const workersWith = (workers: ReadonlyArray<LiveWorker>, progress: ReadonlyArray<Owned>): string => {
  const owners = workers.filter((one) => isOwn(one) && one.partitions === progress[0]?.partitions)
  const shown = owners.slice(0, maxNamed).map(({ owner }) => {
    const [longest] = progress.flatMap((one) =>
      one.owner === owner && one.inHand !== undefined ? [{ ...one.inHand, ...one }] : []
    )
      .toSorted((a, b) => DateTime.toEpochMillis(a.since) - DateTime.toEpochMillis(b.since))
    return longest === undefined || secondsSince(longest.since, longest.readAt) < 1
      ? `worker ${owner}`
      : `worker ${owner}: partition ${longest.partition}, ${describeInHand(longest, longest.readAt)}`
  })
  const more = owners.length > maxNamed ? `; and ${owners.length - maxNamed} more` : ""
  return shown.length === 0 ? "none at the moment" : `${shown.join("; ")}${more}`
}
