/**
 * The queue of requests for the parked keys of a partition, which its owner carries out chunk by chunk, between pages of the log.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import * as LogRequests from "./LogRequests.ts"
import type { Parked } from "./ParkingDriver.ts"
import { type Carried, nothing, type ParkingRequests, type Progress } from "./RequestChunks.ts"
import * as RequestedKeys from "./RequestedKeys.ts"
import * as StreamRequests from "./StreamRequests.ts"
import type * as Unparking from "./Unparking.ts"

export type { Carried, ParkingRequests, Progress } from "./RequestChunks.ts"

/**
 * Returns the requests of a partition. It reads the log, once for many keys, since the first event at which one of them is parked. If the keys are
 * streams, and few beside the events of the log, it reads these streams instead.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (owned: Unparking.OwnedPartition): ParkingRequests => {
  const log = LogRequests.make(owned)
  if (owned.processor.consumer.partitionBy !== "stream") return log
  const streams = StreamRequests.make(owned)
  /** The chunks of streams, and the streams of these, since it was looked whether there are many. */
  let [chunks, read] = [0, 0]
  return {
    next: Effect.fnUntraced(function*(progress): Effect.fn.Return<Carried, EventStoreError> {
      // The key of an event is its stream, so none is unknown.
      if (progress.which === "unknownKey") return nothing
      if (chunks >= chunksBetweenLooks || read >= streamsBetweenLooks) [chunks, read] = [0, 0]
      const isLog = log.hasBegun() || (chunks === 0 && (yield* areMany(owned, progress)))
      const carried = yield* (isLog ? log : streams).next(progress)
      if (isLog || !carried.hasMore) [chunks, read] = [0, 0]
      else [chunks, read] = [chunks + 1, read + carried.freed.length + carried.failures.length]
      return carried
    })
  }
}

/** After so many chunks of streams, or so many streams, it is looked again whether there are many. More may have been requested meanwhile. */
const chunksBetweenLooks = 100
const streamsBetweenLooks = 1_000

/** A stream is read as fast as so many events of the log, or faster. */
const eventsPerStream = 50n

/** Whether so many streams wait that one pass reads the log faster than each of them. */
const areMany = (
  owned: Unparking.OwnedPartition,
  { checkpoint }: Progress
): Effect.Effect<boolean, EventStoreError> => {
  const enough = (waiting: ReadonlyArray<Parked>): boolean =>
    waiting.length >= 100
    && checkpoint.position - waiting[0]!.position < eventsPerStream * BigInt(waiting.length)
  return Effect.map(RequestedKeys.first(owned, enough), enough)
}
