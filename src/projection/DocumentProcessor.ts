/**
 * The batch processor of projections with documents.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { BatchProcessor } from "../consumer/BatchProcessor.ts"
import * as DocumentBatch from "./DocumentBatch.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"

/**
 * Returns a batch processor that folds events into the documents of a projection.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (projection: Projection.Any, store: ProjectionStoreDriver): BatchProcessor => ({
  consumer: projection,
  grows: true,
  apply: (generation, events, commit) =>
    Effect.flatMap(
      DocumentBatch.fold(projection, events, (keys) => store.load(generation, keys), projection.onFailure),
      // With one partition no other worker writes the documents, so there is nothing to compare.
      (folded) => commit(projection.partitions === 1 ? { ...folded, reads: undefined } : folded)
    )
})
