/**
 * The batch processor of projections with documents.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { BatchProcessor, LeasedPartition } from "../consumer/batch/BatchProcessor.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import type { EventStoreError } from "../core/errors.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import * as DocumentBatch from "./DocumentBatch.ts"
import * as DocumentFold from "./DocumentFold.ts"
import * as DocumentStreams from "./DocumentStreams.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"

/**
 * Returns a batch processor that folds events into the documents of a projection.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (projection: Projection.Any, store: ProjectionStoreDriver): BatchProcessor => {
  // The keys and the fold need the same decoded event.
  const decoded = new WeakMap<EncodedEvent, ReturnType<typeof DocumentFold.decode>>()
  const decode = (event: EncodedEvent) => {
    const found = decoded.get(event) ?? DocumentFold.decode(projection, event)
    decoded.set(event, found)
    return found
  }
  const documentKeysOf = (event: EncodedEvent) => Result.getOrUndefined(Result.map(decode(event), DocumentFold.keysOf))
  return {
    consumer: projection,
    grows: true,
    keysOf: (event) => ConsumerKey.keysOf({ ...projection, documentKeysOf }, event),
    apply: (leased, read, commit) => {
      const { former, generation, parksAll = false, partitions = projection.partitions } = leased
      const ofGeneration = { ...projection, partitions }
      // Otherwise each document belongs to one partition, and no other worker writes it.
      const isShared = DocumentStreams.isRequired(ofGeneration)
      return Effect.flatMap(
        Effect.flatMap(eventsUpToDate(leased, read), (events) =>
          DocumentBatch.fold(
            ofGeneration,
            events,
            (keys) => store.load(generation, keys),
            { onFailure: parksAll ? "parkAll" : projection.onFailure, former, decode }
          )),
        (folded) => commit(isShared ? folded : { ...folded, reads: undefined })
      )
    }
  }
}

const eventsUpToDate = (
  { upToDate = Effect.succeed }: LeasedPartition,
  keyed: ReadonlyArray<ConsumerKey.KeyedEvent>
): Effect.Effect<ReadonlyArray<ConsumerKey.KeyedEvent>, EventStoreError> => {
  const read = keyed.map(({ event }) => event)
  return Effect.map(
    upToDate(read),
    (events) => events === read ? keyed : keyed.map((one, index) => ({ ...one, event: events[index]! }))
  )
}
