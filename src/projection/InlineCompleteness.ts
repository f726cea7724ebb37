/**
 * Whether the documents of an inline projection lack no event.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { type EventStoreError, ProjectionIncomplete, storeError } from "../core/errors.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"

/**
 * Returns whether an inline projection was made from all events of the types that it reads.
 *
 * @since 0.1.0
 * @category guards
 */
export const isComplete = (
  projection: Projection.Any,
  documents: ProjectionStoreDriver
): Effect.Effect<boolean, EventStoreError> =>
  Effect.map(
    documents.completeTypes(projection.id),
    (types) => types !== undefined && projection.reads.every((type) => types.includes(type))
  )

/**
 * Fails when an inline projection is not complete.
 *
 * @since 0.1.0
 * @category guards
 */
export const require = (
  projection: Projection.Any,
  documents: ProjectionStoreDriver
): Effect.Effect<void, EventStoreError> =>
  projection.lifecycle !== "inline" ? Effect.void : Effect.flatMap(
    isComplete(projection, documents),
    (isComplete) =>
      isComplete ? Effect.void : Effect.fail(storeError(new ProjectionIncomplete({ projection: projection.id })))
  )
