/**
 * What the code of a partition read when it processed each event. Releases of one version may read different events.
 *
 * @since 0.1.0
 */
import type { DeliveryState, EarlierReads } from "../consumer/CheckpointDriver.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import * as ConsumerReads from "../consumer/ConsumerReads.ts"
import * as EventFilter from "../event/EventFilter.ts"

/**
 * What was read for a partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadsInForce {
  /** Selects every event that was read at some time. */
  readonly filter: EventFilter.TypeFilter
  /** Returns whether the code that processed an event reads it. For an event that waits, the current code counts. */
  readonly isRead: (delivery: ConsumerKey.Delivery) => boolean
}

/**
 * Returns what was read for a partition.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (
  { earlierReads, reads }: Pick<DeliveryState, "reads" | "earlierReads">
): ReadsInForce => {
  const now = ConsumerReads.parse(reads)
  if (earlierReads.length === 0) return { filter: filterOf(now), isRead: () => true }
  const earlier = earlierReads.map((one) => ({
    reads: ConsumerReads.parse(one.reads),
    isProcessed: processedBefore(one)
  }))
  const eras = earlier.map(({ isProcessed, reads }) => ({ isProcessed, isRead: EventFilter.matcher(filterOf(reads)) }))
  const isReadNow = EventFilter.matcher(filterOf(now))
  return {
    filter: union([now, ...earlier.map(({ reads }) => reads)]),
    isRead: (delivery) => (eras.find(({ isProcessed }) => isProcessed(delivery))?.isRead ?? isReadNow)(delivery.event)
  }
}

const filterOf = ({ streamPrefix, tags, types }: ConsumerReads.ConsumerReads): EventFilter.TypeFilter => ({
  types,
  ...(tags.length === 0 ? {} : { tags }),
  ...(streamPrefix === undefined ? {} : { streamPrefix })
})

/** Selects more than each of the reads where their `where` differs. */
const union = (all: ReadonlyArray<ConsumerReads.ConsumerReads>): EventFilter.TypeFilter => {
  const types = Array.from(new Set(all.flatMap(({ types }) => types)))
  const [first, ...others] = all
  return first !== undefined && others.every((one) => ConsumerReads.hasSameFilter(one, first))
    ? { ...filterOf(first), types }
    : { types }
}

/** Returns whether a delivery was processed before a change of what is read: it was neither behind the checkpoint, nor did it wait for a parked key. */
const processedBefore = ({ parked, position }: EarlierReads) => {
  const waitingFrom = new Map(parked.map((one) => [one.key, one.position]))
  return ({ event, key }: ConsumerKey.Delivery): boolean => {
    const waits = waitingFrom.get(key)
    return event.position <= position && (waits === undefined || event.position < waits)
      && waitingFrom.get(ConsumerKey.unknownKey) !== event.position
  }
}
