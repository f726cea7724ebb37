/**
 * The partitions that a consumer had before their number or its version changed. The new ones start at the lowest of their checkpoints, and leave out
 * the events that the former ones have processed of each key.
 *
 * @since 0.1.0
 */
import * as LogPosition from "../core/LogPosition.ts"
import { partitionKeys, partitionOf } from "../core/partitionHash.ts"
import * as Position from "../core/Position.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import * as ConsumerKey from "./ConsumerKey.ts"

/**
 * Former partitions of a consumer, with their last checkpoints.
 *
 * @since 0.1.0
 * @category models
 */
export interface FormerPartitions {
  /** What they were divided by, in its stored form. */
  readonly partitionedBy: string
  /** The checkpoint of each partition, in the order of the partitions. */
  readonly positions: ReadonlyArray<Position.Position>
  /** The id of the event at each checkpoint; undefined where it is not known. */
  readonly eventIds: ReadonlyArray<string | undefined>
}

/**
 * Returns the highest checkpoint of former partitions; 0 without any.
 *
 * @since 0.1.0
 * @category accessors
 */
export const reached = (former: ReadonlyArray<FormerPartitions>): Position.Position =>
  former.flatMap(({ positions }) => positions).reduce(Position.max, Position.start)

/**
 * Returns a checkpoint with those of the former partitions while one of them is ahead of it. If the log has another event at one of them, it was set
 * back, and what the former partitions have processed does not say which of its events to leave out.
 *
 * @since 0.1.0
 * @category accessors
 */
export const checkpointsOf = (
  { former = [], ...checkpoint }: LogPosition.LogPosition & {
    readonly former?: ReadonlyArray<FormerPartitions> | undefined
  }
): ReadonlyArray<LogPosition.LogPosition> =>
  checkpoint.position >= reached(former) ? [checkpoint] : [checkpoint, ...allCheckpoints(former)]

/**
 * Returns the last checkpoints of former partitions, each once.
 *
 * @since 0.1.0
 * @category accessors
 */
export const allCheckpoints = (former: ReadonlyArray<FormerPartitions>): ReadonlyArray<LogPosition.LogPosition> => {
  // Most partitions of a layout stand at one position.
  const found = new Map<string, LogPosition.LogPosition>()
  for (const { eventIds, positions } of former) {
    for (const [index, position] of positions.entries()) {
      const eventId = eventIds[index]
      found.set(`${position} ${eventId}`, LogPosition.make(position, eventId))
    }
  }
  return Array.from(found.values())
}

/** The maximum numbers of former layouts, and of partitions in them. */
const [maxLayouts, maxPositions] = [32, 2_048]

/**
 * Returns whether a consumer would have too many former partitions: a worker reads them with every heartbeat, and looks into them for every event.
 *
 * @since 0.1.0
 * @category guards
 */
export const areMany = (former: ReadonlyArray<FormerPartitions>): boolean =>
  former.length > maxLayouts || former.reduce((sum, { positions }) => sum + positions.length, 0) > maxPositions

/**
 * Returns the position up to which the last former partitions have processed all keys; 0 without any.
 *
 * @since 0.1.0
 * @category accessors
 */
export const passed = (former: ReadonlyArray<FormerPartitions>): Position.Position => {
  const [first = Position.start, ...others] = former.at(-1)?.positions ?? []
  return others.reduce((least, one) => one < least ? one : least, first)
}

/**
 * Returns the position up to which the former partitions have processed a key, as events have it under `partitionedBy`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const reachedBy = (
  former: ReadonlyArray<FormerPartitions>,
  partitionedBy: string,
  event: Pick<EncodedEvent, "stream" | "tags">,
  key: string
): Position.Position =>
  former.reduce((most, { partitionedBy: by, positions }) => {
    const keys = by === partitionedBy ? [key] : formerKeys(by, event)
    // An event of unknown key may concern each partition.
    const [first = Position.start, ...others] = key === ConsumerKey.unknownKey || keys === undefined
      ? positions
      : keys.map((one) => positions[partitionOf(one, positions.length)]!)
    return Position.max(most, others.reduce((least, one) => one < least ? one : least, first))
  }, Position.start)

/** Under another `partitionBy`, the former keys are the stream or the tags. Those that the code of then has computed are unknown. */
const formerKeys = (by: string, event: Pick<EncodedEvent, "stream" | "tags">): ReadonlyArray<string> | undefined => {
  const parsed = ConsumerKey.parse(by)
  if (ConsumerKey.isComputed(parsed)) return undefined
  return partitionKeys(event, typeof parsed === "string" ? undefined : parsed.tag)
}

/**
 * Returns whether the former partitions have processed an event under a key: applied it, skipped it or parked its key. An event of unknown key counts
 * as processed if all of them have passed it.
 *
 * @since 0.1.0
 * @category guards
 */
export const isProcessed = (
  former: ReadonlyArray<FormerPartitions>,
  partitionedBy: string,
  event: EncodedEvent,
  key: string
): boolean => former.length > 0 && event.position <= reachedBy(former, partitionedBy, event, key)

/**
 * Returns whether former partitions that were divided by something else have processed an event under a key. Such an event does not wait behind a
 * parked one: it was handled under the keys of then. Layouts with the same keys say nothing, because the key may have been parked there.
 *
 * @since 0.1.0
 * @category guards
 */
export const isProcessedUnderOtherKeys = (
  former: ReadonlyArray<FormerPartitions>,
  partitionedBy: string,
  event: EncodedEvent,
  key: string
): boolean =>
  former.length > 0
  && isProcessed(former.filter((one) => one.partitionedBy !== partitionedBy), partitionedBy, event, key)
