/**
 * Reads projections from the store, or live ones from the log: by key, by page, and as they change.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { GenerationPosition } from "../consumer/CheckpointDriver.ts"
import {
  type EventStoreError,
  IndexIncomplete,
  invalidRequest,
  type ProjectionBehind,
  storeError,
  UndecodableDocument
} from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { LogPosition } from "../core/LogPosition.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as Limits from "../eventStore/Limits.ts"
import { ofOneLog } from "../eventStore/LogIdentity.ts"
import { defaultPageSize } from "../eventStore/LogReader.ts"
import * as KeyStoreLookup from "../personalData/KeyStoreLookup.ts"
import * as ChangeFeed from "./ChangeFeed.ts"
import * as DocumentCodec from "./DocumentCodec.ts"
import * as InlineCompleteness from "./inline/InlineCompleteness.ts"
import * as DocumentFilter from "./list/DocumentFilter.ts"
import * as DocumentPages from "./list/DocumentPages.ts"
import * as PageCursor from "./list/PageCursor.ts"
import * as LiveProjection from "./LiveProjection.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type {
  DocumentPage,
  FoundDocument,
  FoundPage,
  ProjectionStoreDriver,
  StoredDocument
} from "./ProjectionStoreDriver.ts"
import * as WatchedReads from "./WatchedReads.ts"

/**
 * A page of documents.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page<out Document> {
  readonly items: ReadonlyArray<Document>
  /** The cursor of the next page, unless this page is the last one. */
  readonly next: Option.Option<string>
}

/**
 * @since 0.1.0
 * @category options
 */
export interface ListOptions<P extends Projection.Any> {
  /**
   * Only documents whose indexed fields satisfy all of these conditions: a value, or operators as in `{ gte: 10, lt: 20 }`, `{ between: [10, 20] }`
   * and `{ in: [10, 20] }`.
   */
  readonly where?: DocumentFilter.Where<P> | undefined
  /** The order of the documents: by their keys, ascending, unless it names an indexed field or a direction. */
  readonly orderBy?: DocumentFilter.OrderBy<DocumentFilter.OrderField<P>> | undefined
  /** The `next` of an earlier page with the same `where` and `orderBy`; the result starts after that page. */
  readonly after?: string | undefined
  /** The maximum number of documents; 100 by default. */
  readonly limit?: number | undefined
}

/**
 * The type of a projection's documents.
 *
 * @since 0.1.0
 * @category models
 */
export type DocumentOf<P extends Projection.Any> = P["document"]["Type"]

/**
 * The services that a read of a projection needs besides the projection store: a `live` projection needs the event store.
 *
 * @since 0.1.0
 * @category models
 */
export type Reads<P extends Projection.Any> = "live" extends P["lifecycle"] ? EventStore : never

/**
 * The services that a watch of a projection needs: the event store, except for an `async` projection, whose checkpoint it watches.
 *
 * @since 0.1.0
 * @category models
 */
export type Watches<P extends Projection.Any> = P["lifecycle"] extends "async" ? never : EventStore

/**
 * A projection that a caller can wait for: one with documents or one with handlers.
 *
 * @since 0.1.0
 * @category models
 */
export interface Awaited {
  readonly id: string
  readonly lifecycle: Projection.Lifecycle
}

/**
 * @since 0.1.0
 * @category options
 */
export interface ReaderOptions {
  readonly driver: ProjectionStoreDriver
  readonly limits: Limits.Limits
  /**
   * Reads when the projection has reached the position of `ReadAfter`. If the generation that was read has not, because it has become the active one
   * since, it waits and reads again. `readReached` reads together with the checkpoint, in one statement.
   */
  readonly readAfter: <A extends { readonly generation: string | undefined }>(
    projection: Awaited,
    read: Effect.Effect<A, EventStoreError>,
    readReached?: ReadReached<A>
  ) => Effect.Effect<A, ProjectionBehind | EventStoreError>
  /** Fails with `LogDiverged` when the log does not have this event at its position. Without the event store it checks nothing. */
  readonly requireEvent: (position: LogPosition) => Effect.Effect<void, EventStoreError>
  /** Returns the signal that an `async` projection has progressed. */
  readonly progressOf: (projection: string) => ChangeFeed.Signal<EventStoreError, never>
}

/**
 * Reads a projection together with its checkpoint as of the same point in time.
 *
 * @since 0.1.0
 * @category models
 */
export type ReadReached<A> = (
  after: LogPosition
) => Effect.Effect<A & { readonly reached?: GenerationPosition | undefined }, EventStoreError>

/**
 * Returns the reads of a projection store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(options: ReaderOptions) {
  const reader: Reader = { ...options, readInline: InlineCompleteness.reader(options.driver) }
  return readsOf(reader, {
    one: yield* WatchedReads.make(options.driver, watchedOne(reader), (key) => key),
    page: yield* WatchedReads.make(options.driver, watchedPage(reader), ({ cursor, page }) => [page, cursor])
  })
})

/** Returns the read of a watcher of one document, with the text that shows a change. */
const watchedOne = (reader: Reader) => ({ projection, what: key }: WatchedReads.Watched<string>) =>
  Effect.map(storedOne(reader, projection, key), ({ document, generation }) => ({
    generation,
    text: textOf(Option.toArray(document)),
    value: document
  }))

/** Returns the read of a watcher of a page, with the text that shows a change. */
const watchedPage = (reader: Reader) => ({ projection, what: list }: WatchedReads.Watched<List>) =>
  Effect.map(storedPage(reader, projection, list), (value) => ({
    generation: value.generation,
    text: textOf(value.documents),
    value
  }))

/** The reads of watchers, which those of the same share. */
interface SharedReads {
  readonly one: ReturnType<typeof watchedOne>
  readonly page: ReturnType<typeof watchedPage>
}

interface Reader extends ReaderOptions {
  readonly readInline: ReturnType<typeof InlineCompleteness.reader>
}

const readsOf = (reader: Reader, shared: SharedReads) => ({
  get: Effect.fn("ProjectionStore.get")(function*<P extends Projection.Any>(
    projection: P,
    key: string
  ): Effect.fn.Return<Option.Option<DocumentOf<P>>, ProjectionBehind | EventStoreError> {
    // A key that cannot be stored names no document.
    if (DocumentCodec.validateKey(key) !== undefined) return Option.none()
    const { document } = yield* reader.readAfter(
      projection,
      storedOne(reader, projection, key),
      (after) => reader.driver.get(projection.id, key, after)
    )
    return yield* decodeOne(projection, document)
  }),

  list: Effect.fn("ProjectionStore.list")(function*<P extends Projection.Any>(
    projection: P,
    options: ListOptions<P> = {}
  ): Effect.fn.Return<Page<DocumentOf<P>>, ProjectionBehind | EventStoreError> {
    const list = yield* Effect.fromResult(listOf(reader, projection, options))
    return yield* decodePage(
      projection,
      list,
      yield* reader.readAfter(projection, storedPage(reader, projection, list))
    )
  }),

  watch: <P extends Projection.Any>(projection: P, key: string) =>
    Stream.unwrap(Effect.gen(function*() {
      if (DocumentCodec.validateKey(key) !== undefined) {
        return Stream.concat(Stream.succeed(Option.none<DocumentOf<P>>()), Stream.never)
      }
      if (projection.lifecycle === "live") {
        const found = watchLive(yield* eventStoreFor(projection), projection, reader, key)
        return Stream.mapEffect(found, (stored) => decodeOne(projection, stored))
      }
      const read = firstAfter(reader, projection, shared.one({ projection, what: key }))
      const found = ChangeFeed.watch(yield* signalOf(reader, projection), read)
      return Stream.mapEffect(found, (stored) => decodeOne(projection, stored))
    })),

  watchList: <P extends Projection.Any>(projection: P, options: ListOptions<P> = {}) =>
    Stream.unwrap(Effect.gen(function*() {
      const list = yield* Effect.fromResult(listOf(reader, projection, options))
      const read = firstAfter(reader, projection, shared.page({ projection, what: list }))
      return Stream.mapEffect(
        ChangeFeed.watch(yield* signalOf(reader, projection), read),
        (found) => decodePage(projection, list, found)
      )
    }))
})

/** Returns a read that waits for the position of `ReadAfter` only the first time. */
const firstAfter = <A extends { readonly generation: string | undefined }>(
  reader: Reader,
  projection: Projection.Any,
  read: Effect.Effect<A, EventStoreError>
): Effect.Effect<A, ProjectionBehind | EventStoreError> => {
  let isFirst = true
  return Effect.suspend(() =>
    isFirst
      ? Effect.tap(reader.readAfter(projection, read), () => Effect.sync(() => void (isFirst = false)))
      : read
  )
}

const limitsOf = ({ limits }: Reader): Limits.Limits => ({
  ...limits,
  pageSize: Math.min(defaultPageSize, limits.pageSize)
})

/** A list as it is read: the page with one document more, which tells whether there is a next page. */
interface List {
  readonly page: DocumentPage
  readonly cursor: PageCursor.PageCursor | undefined
  readonly isSatisfied: DocumentFilter.Filter["isSatisfied"]
}

const listOf = <P extends Projection.Any>(
  { limits }: Reader,
  projection: P,
  { after, limit = 100, orderBy, where }: ListOptions<P>
): Result.Result<List, EventStoreError> => {
  const rejection = Limits.checkPageSize(limits, limit)
  if (rejection !== undefined) return Result.fail(rejection)
  const { fields } = DocumentCodec.of(projection)
  const compiled = Result.mapError(
    Result.all([DocumentFilter.compile(projection, fields, where), DocumentFilter.order(projection, fields, orderBy)]),
    invalidRequest
  )
  return Result.flatMap(compiled, ([{ isSatisfied, where }, order]) => {
    const indexes = DocumentPages.indexesOf(fields, { where, order })
    const page = { consumer: projection.id, where, order, indexes, limit: limit + 1 }
    return Result.map(
      after === undefined ? Result.succeed(undefined) : PageCursor.parse(page, after),
      (cursor): List => ({
        page: { ...page, after: cursor && { key: cursor.key, entry: cursor.entry } },
        cursor,
        isSatisfied
      })
    )
  })
}

const storedPage = (
  reader: Reader,
  projection: Projection.Any,
  { cursor, page }: List
): Effect.Effect<FoundPage, EventStoreError> => {
  const read = projection.lifecycle !== "live" ?
    ofComplete(reader, projection, reader.driver.list(page)) :
    fromLog(projection, (log) => {
      const documents = LiveProjection.make(log, projection, limitsOf(reader))
      return Effect.andThen(documents.read("visible"), documents.list(page))
    })
  return Effect.gen(function*() {
    const found = yield* read
    const expired = PageCursor.expired(projection.id, cursor, found.generation)
    if (expired !== undefined) return yield* expired
    if (!found.isIndexed) {
      return yield* storeError(new IndexIncomplete({ projection: projection.id, fields: DocumentPages.fieldsOf(page) }))
    }
    if (cursor?.position !== undefined) yield* reader.requireEvent(cursor.position)
    return found
  })
}

const storedOne = (
  reader: Reader,
  projection: Projection.Any,
  key: string
): Effect.Effect<FoundDocument, EventStoreError> =>
  projection.lifecycle !== "live" ?
    ofComplete(reader, projection, reader.driver.get(projection.id, key)) :
    fromLog(projection, (log) => {
      const documents = LiveProjection.make(log, projection, limitsOf(reader), key)
      return Effect.map(
        Effect.andThen(documents.read("visible"), documents.get(key)),
        (found) => ({ generation: projection.id, document: Option.fromUndefinedOr(found) })
      )
    })

/** Returns what was read, unless the projection is inline and may lack events. */
const ofComplete = <A>(
  { readInline }: Reader,
  projection: Projection.Any,
  read: Effect.Effect<A, EventStoreError>
): Effect.Effect<A, EventStoreError> => projection.lifecycle !== "inline" ? read : readInline(projection, read)

const signalOf = (
  { progressOf }: Reader,
  projection: Projection.Any
): Effect.Effect<ChangeFeed.Signal<EventStoreError, never>> =>
  projection.lifecycle === "async"
    ? Effect.sync(() => progressOf(projection.id))
    : Effect.map(eventStoreFor(projection), ({ [internals]: { driver, followed } }) => ({
      current: followed.head,
      changed: driver.changed
    }))

/** Returns the event store from the context. `Reads` and `Watches` ask for it where a projection needs it; an erased projection may lack it. */
const eventStoreFor = (projection: Awaited): Effect.Effect<EventStore["Service"]> =>
  Effect.flatMap(Effect.serviceOption(EventStore), (store) =>
    Option.isSome(store)
      ? Effect.succeed(store.value)
      : Effect.die(
        new Error(
          `ProjectionStore: the ${projection.lifecycle} projection "${projection.id}" is read from the log; provide the EventStore`
        )
      ))

/** Reads documents of a live projection: of one log, and without what is erased during the read. */
const fromLog = <A>(
  projection: Projection.Any,
  read: (log: EventStoreDriver) => Effect.Effect<A, EventStoreError>
): Effect.Effect<A, EventStoreError> =>
  Effect.flatMap(eventStoreFor(projection), ({ [internals]: { driver, keys } }) => {
    const ofLog = ofOneLog(Effect.suspend(() => read(driver)))
    return EventPersonalData.hasPersonalData(projection.events)
      ? KeyStoreLookup.readUpToDate(keys, () => ofLog)
      : ofLog
  })

/** Watches one document of a live projection. It folds new events up to the high-water mark, because the order of later events may change. */
const watchLive = (
  { [internals]: { driver: log, followed, keys } }: EventStore["Service"],
  projection: Projection.Any,
  reader: Reader,
  key: string
): Stream.Stream<Option.Option<StoredDocument>, ProjectionBehind | EventStoreError> =>
  Stream.suspend(() => {
    const limits = limitsOf(reader)
    const isPersonal = EventPersonalData.hasPersonalData(projection.events)
    let foldedErasure: string | undefined
    let documents = LiveProjection.make(log, projection, limits, key, followed)
    const readUnder = (lastErasure: string | undefined) =>
      Effect.gen(function*() {
        // The fold may hold data of a subject that was erased since: fold again from the first event.
        if (lastErasure !== foldedErasure) documents = LiveProjection.make(log, projection, limits, key, followed)
        foldedErasure = lastErasure
        yield* documents.read("final")
        const found = yield* documents.get(key)
        const text = JSON.stringify(found?.document) ?? ""
        return { generation: undefined, text, value: Option.fromUndefinedOr(found) }
      })
    const read = isPersonal ? KeyStoreLookup.readUpToDate(keys, readUnder) : readUnder(undefined)
    const signal = { current: Effect.sync(() => documents.reached()), changed: log.changed }
    return ChangeFeed.watch(signal, firstAfter(reader, projection, read))
  })

const textOf = (found: ReadonlyArray<StoredDocument>): string =>
  JSON.stringify(found.map(({ document, key }) => [key, document]))

const decodeOne = <P extends Projection.Any>(
  projection: P,
  stored: Option.Option<StoredDocument>
): Effect.Effect<Option.Option<DocumentOf<P>>, EventStoreError> =>
  Option.isNone(stored) ? Effect.succeedNone : Effect.map(decode(projection, stored.value), Option.some)

const decodePage = Effect.fnUntraced(function*<P extends Projection.Any>(
  projection: P,
  { isSatisfied, page }: List,
  { documents, generation, position }: FoundPage
): Effect.fn.Return<Page<DocumentOf<P>>, EventStoreError> {
  const limit = page.limit - 1
  const found = documents.slice(0, limit)
  const items = yield* Effect.forEach(
    found.filter(({ document }) => isSatisfied(document)),
    (stored) => decode(projection, stored)
  )
  const last = documents.length > limit ? found.at(-1) : undefined
  return {
    items,
    next: Option.map(
      Option.fromUndefinedOr(last),
      ({ entry, key }) => PageCursor.format(page, { generation, key, entry, position })
    )
  }
})

const decode = <P extends Projection.Any>(
  projection: P,
  { document, key, unreadable }: StoredDocument
): Effect.Effect<DocumentOf<P>, EventStoreError> => {
  const decoded = unreadable === undefined ? DocumentCodec.of(projection).decode(document) : Result.fail(unreadable)
  return Result.isFailure(decoded)
    ? Effect.fail(storeError(new UndecodableDocument({ projection: projection.id, key, detail: decoded.failure })))
    // The codec was compiled from this projection's own document Schema.
    : Effect.succeed(decoded.success as DocumentOf<P>)
}
