/**
 * The documents of inline projections in memory.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as KeyOrder from "../KeyOrder.ts"
import type { InlineDocumentsDriver } from "../ProjectionStoreDriver.ts"
import * as MemoryState from "./MemoryState.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (state: MemoryState.MemoryState): InlineDocumentsDriver => ({
  inlineProjection: (projection) => Effect.suspend(() => state.inlineProjections?.find(projection) ?? Effect.undefined),
  readInlineFrom: (from) =>
    Effect.sync(() => {
      state.inlineProjections = from
    }),
  keysPage: ({ after, generations, limit }) =>
    Effect.sync(() => {
      const keys = new Set(
        generations.flatMap((generation) =>
          Array.from(MemoryState.generationOf(state, generation).documents.keys()).filter((key) =>
            KeyOrder.compare(key, after) > 0
          )
        )
      )
      return Array.from(keys).toSorted(KeyOrder.compare).slice(0, limit)
    }),
  copyDocuments: (generation, from, keys) =>
    Effect.sync(() => {
      const { documents } = MemoryState.generationOf(state, generation)
      const made = MemoryState.generationOf(state, from).documents
      for (const key of keys) {
        const document = made.get(key)
        if (document === undefined) documents.delete(key)
        else documents.set(key, document)
      }
    })
})
