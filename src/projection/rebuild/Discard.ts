/**
 * Discards generations of consumers, and removes what they have written.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import type { AgainstDiscard, ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"

/**
 * Discards a generation that is not active, and removes its rows. Its parking log remains. By default it does so even if the generation is the
 * rollback target, or a worker has leases on it.
 *
 * @since 0.1.0
 * @category running
 */
export const discard = (
  store: ProjectionStoreDriver,
  consumer: string,
  generation: string,
  evenIf: ReadonlyArray<AgainstDiscard> = ["previous", "leased"]
): Effect.Effect<"discarded" | "unknown" | AgainstDiscard, EventStoreError> =>
  Effect.tap(
    store.discard(consumer, generation, evenIf),
    (outcome) => outcome === "discarded" ? removeRows(store, generation, false) : Effect.void
  )

/**
 * Removes all rows of a generation that was discarded, in several transactions. Repeat it when it was interrupted.
 *
 * @since 0.1.0
 * @category running
 */
export const removeRows = Effect.fnUntraced(function*(
  store: ProjectionStoreDriver,
  generation: string,
  parkingLog: boolean
): Effect.fn.Return<void, EventStoreError> {
  while (yield* store.removeDiscarded(generation, { parkingLog }));
})
