/**
 * Discards generations of consumers, and removes what they have written.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import type { AgainstDiscard, ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"

/**
 * Discards a generation that is not active, even if it is the rollback target, and removes its rows. Its parking log remains.
 *
 * @since 0.1.0
 * @category running
 */
export const discard = (
  store: ProjectionStoreDriver,
  consumer: string,
  generation: string
): Effect.Effect<"discarded" | "unknown" | AgainstDiscard, EventStoreError> =>
  Effect.tap(
    store.discard(consumer, generation, ["previous", "leased"]),
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
