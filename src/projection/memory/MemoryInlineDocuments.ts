/**
 * The documents of inline projections in memory.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
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
  replaceDocuments: (generation, by) =>
    Effect.sync(() => {
      const { documents } = MemoryState.generationOf(state, generation)
      const replacements = MemoryState.generationOf(state, by).documents
      documents.clear()
      for (const [key, document] of replacements) documents.set(key, document)
    })
})
