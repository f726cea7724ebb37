/**
 * The documents of projections in memory.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as KeyOrder from "../KeyOrder.ts"
import type {
  DocumentPage,
  DocumentsDriver,
  GenerationsDriver,
  GenerationView,
  StoredDocument
} from "../ProjectionStoreDriver.ts"
import * as MemoryState from "./MemoryState.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  state: MemoryState.MemoryState
): DocumentsDriver & Pick<GenerationsDriver, "generationPage" | "views"> => {
  const load = (generation: string, keys: ReadonlyArray<string>): ReadonlyArray<StoredDocument> => {
    const { documents } = MemoryState.generationOf(state, generation)
    return keys.flatMap((key) => storedOf(documents.get(key)))
  }
  const viewOf = (generation: string, keys: ReadonlyArray<string>): GenerationView => ({
    positions: MemoryState.generationOf(state, generation).partitions.map(({ position }) => position),
    documents: new Map(load(generation, keys).map((found) => [found.key, found]))
  })
  return {
    load: (generation, keys) => Effect.sync(() => load(generation, keys)),
    // The memory event store runs one append at a time, transaction included.
    lock: (generation, keys) => Effect.sync(() => load(generation, keys)),
    write: (writes) =>
      Effect.sync(() => {
        for (const { changes, generation } of writes) MemoryState.writeDocuments(state, generation, changes)
      }),
    get: (consumer, key) =>
      Effect.sync(() => Option.fromUndefinedOr(load(MemoryState.activeOf(state, consumer), [key])[0])),
    list: ({ consumer, ...page }) =>
      Effect.sync(() => pageOf(MemoryState.generationOf(state, MemoryState.activeOf(state, consumer)), page)),
    generationPage: ({ generation, ...page }) =>
      Effect.sync(() => pageOf(MemoryState.generationOf(state, generation), { ...page, where: [] })),
    views: ([one, other], keys) => Effect.sync(() => [viewOf(one, keys), viewOf(other, keys)])
  }
}

const pageOf = (
  { documents }: MemoryState.GenerationState,
  { after, limit, where }: Omit<DocumentPage, "consumer">
): ReadonlyArray<StoredDocument> =>
  Array.from(documents.values())
    .filter(({ indexed, key }) =>
      (after === undefined || KeyOrder.compare(key, after) > 0) && where.every((entry) => indexed.includes(entry))
    )
    .toSorted((a, b) => KeyOrder.compare(a.key, b.key))
    .slice(0, limit)
    .flatMap(storedOf)

const storedOf = (found: MemoryState.RevisedDocument | undefined): ReadonlyArray<StoredDocument> =>
  found?.document === undefined
    ? []
    // JSON.stringify made the text.
    : [{ key: found.key, document: JSON.parse(found.document) as Schema.Json, revision: found.revision }]
