/**
 * What the requests for the parked keys of a partition have in common, whether their chunks are read from streams or from the log.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import type { LogPosition } from "../../core/LogPosition.ts"
import * as EventFilter from "../../event/EventFilter.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type { EventType } from "../../eventStore/driver/EventStoreDriver.ts"
import type { LeasedPartition } from "../batch/BatchProcessor.ts"
import * as ConsumerKey from "../ConsumerKey.ts"
import * as FormerPartitions from "../FormerPartitions.ts"
import * as PageReader from "../page/PageReader.ts"
import * as UnknownTypes from "../UnknownTypes.ts"
import type { Parked } from "./ParkingDriver.ts"
import type * as Unparking from "./Unparking.ts"
import * as UnreadEvents from "./UnreadEvents.ts"

/**
 * What the owner of a partition knows when it carries out requests.
 *
 * @since 0.1.0
 * @category options
 */
export interface Progress extends Pick<LeasedPartition, "onRetry"> {
  readonly checkpoint: LogPosition
  /** The parked keys of the partition. */
  readonly parked: ReadonlySet<string>
  /** The requests to carry out: all, or only that for the event of unknown key at which the partition waits. */
  readonly which: "all" | "unknownKey"
}

/**
 * The result of a chunk.
 *
 * @since 0.1.0
 * @category models
 */
export interface Carried extends Unparking.Unparked {
  /** Whether there may be more to carry out. */
  readonly hasMore: boolean
  /** Ends when it is worth while to look for more; without it that is at once. */
  readonly later?: Effect.Effect<void> | undefined
}

/**
 * The requests of a partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingRequests {
  /** Carries out a chunk of the requests. Unless the result is `advanced`, another worker owns the partition. */
  readonly next: (progress: Progress) => Effect.Effect<Carried, EventStoreError>
}

/**
 * The result of a chunk without keys.
 *
 * @since 0.1.0
 * @category models
 */
export const nothing: Carried = {
  advanced: "advanced",
  failures: [],
  freed: [],
  applied: 0,
  changed: [],
  freeing: [],
  untriedFrom: undefined,
  hasMore: false
}

/**
 * Returns how many events the chunks of a partition may have.
 *
 * @since 0.1.0
 * @category constructors
 */
export const chunkSize = ({ batchSize, maxBatchSize }: Unparking.OwnedPartition): ChunkSize => {
  let limit = batchSize
  return {
    limit: () => limit,
    read: (events) => {
      limit = events.length < limit ? batchSize : PageReader.nextLimit(events, batchSize, maxBatchSize)
    }
  }
}

/**
 * How many events a chunk may have.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChunkSize {
  readonly limit: () => number
  /** Sets the limit of the next chunk after the events of one: it grows as the pages of the log do. */
  readonly read: (events: ReadonlyArray<EncodedEvent>) => void
}

/**
 * Returns whether the consumer reads an event, or stops at its type.
 *
 * @since 0.1.0
 * @category guards
 */
export const readBy = (owned: Unparking.OwnedPartition, unknown: ReadonlyArray<EventType>) => {
  const isTaken = EventFilter.matcher(UnknownTypes.addTo(owned.filter, unknown))
  return (event: EncodedEvent): boolean => isTaken(event) && UnknownTypes.isRelevant(unknown, event)
}

/**
 * Whether an event of a parked key is to be applied.
 *
 * @since 0.1.0
 * @category guards
 */
export const waits = (
  { former, processor: { consumer } }: Unparking.OwnedPartition,
  parked: Parked,
  event: EncodedEvent
): boolean =>
  (event.position > parked.position || (event.position === parked.position && UnreadEvents.isRetried(parked)))
  && !FormerPartitions.isProcessedUnderOtherKeys(former, ConsumerKey.format(consumer.partitionBy), event, parked.key)
