/**
 * The documents of projections in memory.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as FormerPartitions from "../../consumer/FormerPartitions.ts"
import { parseJson } from "../../core/json/parseJson.ts"
import * as LogPosition from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import * as DocumentPages from "../list/DocumentPages.ts"
import type {
  DocumentPage,
  DocumentsDriver,
  GenerationsDriver,
  GenerationView,
  PagePlace,
  StoredDocument
} from "../ProjectionStoreDriver.ts"
import * as MemoryCheckpoints from "./MemoryCheckpoints.ts"
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
  const viewOf = (generation: string, keys: ReadonlyArray<string>): GenerationView => {
    const { partitions } = MemoryState.generationOf(state, generation)
    return {
      positions: partitions.map(({ position }) => position),
      reached: partitions.reduce(
        (max, { former = [], position }) => Position.max(max, Position.max(position, FormerPartitions.reached(former))),
        Position.start
      ),
      documents: new Map(load(generation, keys).map((found) => [found.key, found]))
    }
  }
  return {
    load: (generation, keys) => Effect.sync(() => load(generation, keys)),
    loadAll: (wanted) => Effect.sync(() => wanted.map(({ generation, keys }) => load(generation, keys))),
    toStored: Effect.succeed,
    // The memory event store runs one append at a time, transaction included.
    write: (writes) =>
      Effect.sync(() => {
        for (const { changes, generation } of writes) MemoryState.writeDocuments(state, generation, changes)
      }),
    get: (consumer, key, after) =>
      Effect.map(
        MemoryState.requireActive(state, consumer),
        (generation) => ({
          generation,
          document: Option.fromUndefinedOr(load(generation, [key])[0]),
          ...after === undefined ? {} : { reached: MemoryCheckpoints.reachedBy(state, generation) }
        })
      ),
    list: (page) =>
      Effect.map(MemoryState.requireActive(state, page.consumer), (generation) => {
        const { documents, partitions } = MemoryState.generationOf(state, generation)
        const lowest = partitions.toSorted((a, b) => a.position < b.position ? -1 : 1)[0]
        return {
          generation,
          isIndexed: Array.from(documents.values()).every(DocumentPages.isIndexedBy(page.indexes)),
          position: lowest === undefined ? LogPosition.start : LogPosition.make(lowest.position, lowest.eventId),
          documents: pageOf(documents, page)
        }
      }),
    unindexed: (consumer, indexes, limit) =>
      Effect.map(MemoryState.requireActive(state, consumer), (generation) => {
        const isIndexed = DocumentPages.isIndexedBy(indexes)
        const { documents } = MemoryState.generationOf(state, generation)
        const found = Array.from(documents.values()).filter((document) => !isIndexed(document))
        return { generation, documents: found.slice(0, limit).flatMap(storedOf) }
      }),
    reindex: (generation, changes) =>
      Effect.sync(() => {
        const { documents } = MemoryState.generationOf(state, generation)
        for (const { indexed, key, revision } of changes) {
          const found = documents.get(key)
          if (found?.revision === revision) documents.set(key, { ...found, indexed })
        }
      }),
    generationPage: ({ after, generation, limit }) =>
      Effect.sync(() =>
        pageOf(MemoryState.generationOf(state, generation).documents, {
          where: [],
          order: { field: undefined, isDescending: false },
          after: after === undefined ? undefined : { key: after },
          limit
        })
      ),
    views: ([one, other], keys) => Effect.sync(() => [viewOf(one, keys), viewOf(other, keys)])
  }
}

const pageOf = (
  documents: MemoryState.GenerationState["documents"],
  page: Omit<DocumentPage, "consumer" | "indexes">
): ReadonlyArray<StoredDocument & PagePlace> =>
  DocumentPages.pageOf(documents.values(), page).flatMap(({ entry, ...found }) =>
    storedOf(found).map((stored) => ({ ...stored, entry }))
  )

const storedOf = (found: MemoryState.RevisedDocument | undefined): ReadonlyArray<StoredDocument> =>
  found?.document === undefined
    ? []
    // JSON.stringify made the text.
    : [{
      key: found.key,
      document: parseJson(found.document),
      revision: found.revision,
      stream: found.stream
    }]
