/**
 * Live projections: a read folds their documents from the log.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { type EventStoreError, invalidRequest } from "../core/errors.ts"
import { parseJson } from "../core/json/parseJson.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import * as Event from "../event/Event.ts"
import * as EventQuery from "../event/EventQuery.ts"
import * as EventTags from "../event/EventTags.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import type { Limits } from "../eventStore/Limits.ts"
import { queryPages } from "../eventStore/LogReader.ts"
import * as UntaggedEvents from "../eventStore/UntaggedEvents.ts"
import * as DocumentFold from "./DocumentFold.ts"
import * as DocumentPages from "./list/DocumentPages.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type { DocumentPage, FoundPage, StoredDocument } from "./ProjectionStoreDriver.ts"

/**
 * The documents of a live projection, folded up to a position.
 *
 * @since 0.1.0
 * @category models
 */
export interface LiveDocuments {
  /** Folds the events after `reached`: with `"final"` up to the high-water mark, with `"visible"` all that are committed. */
  readonly read: (extent: "final" | "visible") => Effect.Effect<void, EventStoreError>
  /** Returns the position up to which the documents are folded. */
  readonly reached: () => Position.Position
  /** Returns a document in the form in which a store returns it. */
  readonly get: (key: string) => Effect.Effect<StoredDocument | undefined, EventStoreError>
  /** Returns a page of documents. */
  readonly list: (page: DocumentPage) => Effect.Effect<FoundPage, EventStoreError>
}

/**
 * Returns the query that finds the events of a projection, or with `only` those of one document. It may select other events too. Event types
 * in the query are current names; the result names all stored types that upcasters turn into them.
 *
 * @since 0.1.0
 * @category queries
 */
export const queryOf = (
  { events, find, reads, where }: Projection.Any,
  only?: string,
  /** Replaces the projection's own `find`. */
  given: EventQuery.QueryItems | undefined = only === undefined ? undefined : find?.(only)
): EventQuery.EventQuery =>
  EventQuery.ofStoredTypes(
    given === undefined
      ? [{ types: reads, tags: where.tags }]
      : given.map((item) => ({ ...item, types: item.types && Event.storedTypes(events, item.types) }))
  )

/**
 * Returns what is wrong with a query that `find` has made, or `undefined`: it selects types and tags that the projection's events can have.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateFind = (
  { events, name }: Projection.Any,
  find: EventQuery.QueryItems | undefined
): string | undefined => {
  const wrong = find === undefined ? undefined : EventTags.validateQuery(events, find)
  return wrong === undefined ? undefined : `the query \`find\` of projection "${name}" is invalid: ${wrong}`
}

/**
 * Fails with `EventsUntagged` if the log has events of the projection that a query does not find, because they were stored without one of its tags.
 *
 * @since 0.1.0
 * @category combinators
 */
export const rejectUntagged = (
  driver: EventStoreDriver,
  { events, handles, reads }: Projection.Any,
  query: EventQuery.EventQuery
): Effect.Effect<void, EventStoreError> =>
  UntaggedEvents.reject(
    driver,
    query.map(({ tags = [], types = reads }) => ({
      events,
      handles,
      types,
      tagNames: tags.flatMap((tag) => EventTags.nameOf(tag) ?? [])
    }))
  )

/**
 * Returns the documents of a projection, or with `only` the one document of that key, before any event was read.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  driver: EventStoreDriver,
  projection: Projection.Any,
  { documentBytes, pageSize }: Pick<Limits, "documentBytes" | "pageSize">,
  only?: string,
  /** Reads the events, instead of the driver. */
  pages: Pick<EventStoreDriver, "readByQuery"> = driver
): LiveDocuments => {
  const find = only === undefined ? undefined : projection.find?.(only)
  const query = queryOf(projection, only, find)
  const { documents, fold } = DocumentFold.inMemory(projection, { documentBytes }, only)
  let reached = Position.start
  let reachedEventId: string | undefined

  // JSON.stringify made the text.
  const stored = (key: string, text: string): StoredDocument => ({
    key,
    document: parseJson(text),
    revision: reached
  })

  return {
    reached: () => reached,
    read: Effect.fnUntraced(function*(extent) {
      if (projection.reads.length === 0) return
      const invalid = validateFind(projection, find) ?? EventQuery.validate(query)
      if (invalid !== undefined) return yield* invalidRequest(invalid)
      yield* rejectUntagged(driver, projection, query)
      // A log that was set back has other events there, which must not be folded into these documents.
      const start = LogPosition.make(reached, reachedEventId)
      yield* Stream.runForEach(queryPages(pages, query, extent, start, pageSize), (page) => {
        for (const event of page.events) {
          const folded = fold(event)
          if (Result.isFailure(folded)) return Effect.fail(folded.failure)
          reached = event.position
        }
        // A page without events that does not reach the high-water mark leaves both as they were.
        if (page.reached !== reached || page.reachedEventId !== undefined) reachedEventId = page.reachedEventId
        reached = page.reached
        return Effect.void
      })
    }),
    get: (key) =>
      Effect.suspend(() => {
        const found = documents.get(key)
        return Effect.succeed(found && stored(key, found.document))
      }),
    list: (page) =>
      Effect.sync(() => ({
        generation: projection.id,
        isIndexed: true,
        position: LogPosition.make(reached, reachedEventId),
        documents: DocumentPages.pageOf(documents.values(), page).map(({ document, entry, key }) => ({
          ...stored(key, document),
          entry
        }))
      }))
  }
}
