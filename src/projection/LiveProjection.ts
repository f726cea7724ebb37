/**
 * Live projections: their documents are folded from the log when somebody asks for them.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import * as Consumer from "../consumer/Consumer.ts"
import { type EventStoreError, invalidRequest, ProjectionFailed, storeError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver } from "../eventStore/EventStoreDriver.ts"
import { followedBy, queryPages } from "../eventStore/LogReader.ts"
import * as DocumentCodec from "./DocumentCodec.ts"
import { comparePoints } from "./memory/MemoryProjectionStore.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type { DocumentPage, StoredDocument } from "./ProjectionStoreDriver.ts"

/**
 * Documents as far as they have been folded.
 *
 * - `read`: folds what lies behind `reached`, in pages. With `final` only events that nothing can come before any more; else all that can be
 *   seen
 * - `get`: a document as a store would keep it
 *
 * @since 0.1.0
 * @category models
 */
export interface LiveDocuments {
  readonly read: (extent: "final" | "visible") => Effect.Effect<void, EventStoreError>
  readonly reached: () => Position.Position
  readonly get: (key: string) => Effect.Effect<StoredDocument | undefined, EventStoreError>
  readonly list: (
    page: Pick<DocumentPage, "where" | "after" | "limit">
  ) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Folded {
  readonly document: unknown
  /** The last event that has changed it. */
  readonly by: EncodedEvent
}

/**
 * Documents in memory, before they are encoded.
 *
 * - `fold`: takes the next event of the log. Answers the keys that it touches, and what it means today, or why it could not be folded
 * - `encode`: fails where the document does not satisfy its Schema
 *
 * @since 0.1.0
 * @category models
 */
export interface Folding {
  readonly documents: ReadonlyMap<string, Folded>
  readonly fold: (event: EncodedEvent) => Result.Result<Touched, EventStoreError>
  readonly encode: (key: string, folded: Folded) => Result.Result<EncodedDocument, EventStoreError>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Touched {
  readonly keys: ReadonlySet<string>
  readonly records: ReadonlyArray<RecordedEvent<Event.Tagged>>
}

/**
 * By which query the events of a projection, or with `only` those of one document, are found. The query may select others too. Who asks for an
 * event by its name asks for what means it today.
 *
 * - `given`: in place of the projection's own `find`
 *
 * @since 0.1.0
 * @category queries
 */
export const queryOf = (
  { events, find, reads, where }: Projection.Any,
  only?: string,
  given: EventQuery.EventQuery | undefined = only === undefined ? undefined : find?.(only)
): EventQuery.EventQuery =>
  given === undefined
    ? [{ types: reads, tags: where.tags }]
    : given.map((item) => ({ ...item, types: item.types && Event.storedTypes(events, item.types) }))

const failed = (projection: Projection.Any, event: EncodedEvent, detail: string): EventStoreError => {
  const { position, type } = event
  return storeError(
    new ProjectionFailed({ projection: projection.id, position, type, detail: EventPersonalData.scrub(detail, event) })
  )
}

/**
 * The documents of a projection, or with `only` the one of a key, before any event. Events that the projection does not take are passed over.
 *
 * @since 0.1.0
 * @category constructors
 */
export const folding = (projection: Projection.Any, only?: string): Folding => {
  const isFollowed = followedBy({ types: projection.reads, ...projection.where })
  const codec = DocumentCodec.of(projection)
  const documents = new Map<string, Folded>()
  return {
    documents,
    encode: (key, { by, document }) =>
      Result.mapError(codec.encode(key, document), (detail) => failed(projection, by, detail)),
    fold: (event) => {
      const keys = new Set<string>()
      if (!isFollowed(event)) return Result.succeed({ keys, records: [] })
      const decoded = Consumer.decode(projection, event)
      if (Result.isFailure(decoded)) return Result.fail(storeError(decoded.failure))
      try {
        for (const record of decoded.success) {
          for (const key of new Set(projection.keysOf(record))) {
            const problem = DocumentCodec.validateKey(key)
            if (problem !== undefined) return Result.fail(failed(projection, event, problem))
            if (only !== undefined && only !== key) continue
            keys.add(key)
            const document = projection.evolve(documents.get(key)?.document, record, key)
            if (document === undefined) documents.delete(key)
            else documents.set(key, { document, by: event })
          }
        }
        return Result.succeed({ keys, records: decoded.success })
      } catch (cause) {
        return Result.fail(failed(projection, event, cause instanceof Error ? cause.message : String(cause)))
      }
    }
  }
}

/**
 * The documents of a projection, or with `only` the one of a key, before any event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  driver: EventStoreDriver,
  projection: Projection.Any,
  pageSize: number,
  only?: string
): LiveDocuments => {
  const query = queryOf(projection, only)
  const { documents, encode, fold } = folding(projection, only)
  let reached = Position.start

  // The text was made by JSON.stringify.
  const stored = (key: string, text: string): StoredDocument => ({
    key,
    document: JSON.parse(text) as Schema.Json,
    revision: reached
  })

  return {
    reached: () => reached,
    read: Effect.fnUntraced(function*(extent) {
      if (projection.reads.length === 0) return
      const problem = EventQuery.validate(query)
      if (problem !== undefined) return yield* invalidRequest(problem)
      yield* Stream.runForEach(queryPages(driver, query, extent, reached, pageSize), (page) => {
        for (const event of page.events) {
          const folded = fold(event)
          if (Result.isFailure(folded)) return Effect.fail(folded.failure)
          reached = event.position
        }
        reached = page.reached
        return Effect.void
      })
    }),
    get: (key) =>
      Effect.suspend(() => {
        const found = documents.get(key)
        if (found === undefined) return Effect.undefined
        const encoded = encode(key, found)
        return Result.isFailure(encoded)
          ? Effect.fail(encoded.failure)
          : Effect.succeed(stored(key, encoded.success.document!))
      }),
    list: ({ after, limit, where }) =>
      Effect.gen(function*() {
        const found: Array<StoredDocument> = []
        for (const key of Array.from(documents.keys()).toSorted(comparePoints)) {
          if (found.length === limit) break
          if (after !== undefined && comparePoints(key, after) <= 0) continue
          const { document, indexed } = yield* Effect.fromResult(encode(key, documents.get(key)!))
          if (where.every((entry) => indexed.includes(entry))) found.push(stored(key, document!))
        }
        return found
      })
  }
}
