/**
 * Live projections: their documents are folded from the log when somebody asks for them.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as DocumentCodec from "../domain/DocumentCodec.ts"
import { type EventStoreError, invalidRequest, ProjectionFailed, storeError } from "../domain/errors.ts"
import * as Event from "../domain/Event.ts"
import * as EventQuery from "../domain/EventQuery.ts"
import type { RecordedEvent } from "../domain/EventRecord.ts"
import * as Follower from "../domain/Follower.ts"
import * as Position from "../domain/Position.ts"
import type * as Projection from "../domain/Projection.ts"
import type { EventStoreDriver } from "./EventStoreDriver.ts"
import { followedBy } from "./LogReading.ts"
import { comparePoints } from "./MemoryProjectionStore.ts"
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

interface Folded {
  readonly document: unknown
  /** The last event that has changed it. */
  readonly by: RecordedEvent
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
  const { find, reads, where } = projection
  // Who asks for an event by its name asks for what means it today.
  const storedQuery = (query: EventQuery.EventQuery): EventQuery.EventQuery =>
    query.map((item) => ({ ...item, types: item.types && Event.storedTypes(projection.events, item.types) }))
  const query = only === undefined || find === undefined
    ? [{ types: reads, tags: where.tags }]
    : storedQuery(find(only))
  const isFollowed = followedBy({ types: reads, ...where })
  const codec = DocumentCodec.of(projection)
  const documents = new Map<string, Folded>()
  let reached = Position.start

  const failed = ({ position, type }: RecordedEvent, detail: string): EventStoreError =>
    storeError(new ProjectionFailed({ projection: projection.id, position, type, detail }))

  const fold = (event: RecordedEvent): EventStoreError | undefined => {
    if (!isFollowed(event)) return undefined
    const decoded = Follower.decode(projection, event)
    if (Result.isFailure(decoded)) return storeError(decoded.failure)
    try {
      for (const record of decoded.success) {
        for (const key of new Set(projection.keysOf(record))) {
          const problem = DocumentCodec.keyProblem(key)
          if (problem !== undefined) return failed(event, problem)
          if (only !== undefined && only !== key) continue
          const document = projection.evolve(documents.get(key)?.document, record, key)
          if (document === undefined) documents.delete(key)
          else documents.set(key, { document, by: event })
        }
      }
      return undefined
    } catch (cause) {
      return failed(event, cause instanceof Error ? cause.message : String(cause))
    }
  }

  const encode = (key: string, { by, document }: Folded) =>
    Result.mapError(codec.encode(key, document), (detail) => failed(by, detail))

  // The text was made by JSON.stringify.
  const stored = (key: string, text: string): StoredDocument => ({
    key,
    document: JSON.parse(text) as Schema.Json,
    revision: reached
  })

  return {
    reached: () => reached,
    read: Effect.fnUntraced(function*(extent) {
      if (reads.length === 0) return
      const problem = EventQuery.problem(query)
      if (problem !== undefined) return yield* invalidRequest(problem)
      let limit = pageSize
      while (true) {
        const page = yield* driver.readQuery({ query, after: reached, limit })
        const full = page.events.length >= limit
        // Beyond the head, events may yet appear between those that are seen: before the next page is read too, which would miss them.
        const seen = full || extent === "final"
          ? page.events.filter(({ position }) => position <= page.head)
          : page.events
        for (const event of seen) {
          const failure = fold(event)
          if (failure !== undefined) return yield* failure
          reached = event.position
        }
        const beyond = seen.length < page.events.length
        if (extent === "final" && (!full || beyond)) {
          reached = Position.max(reached, page.head)
          return
        }
        if (!full) return
        // One statement sees all that is there: a page that holds everything beyond the head has no gaps.
        if (seen.length === 0) limit *= 2
      }
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
