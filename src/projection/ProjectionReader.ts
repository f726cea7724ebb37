/**
 * Reading projections, from the store or from the log: by key, by page, and as they change.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import {
  type EventStoreError,
  invalidRequest,
  type ProjectionBehind,
  storeError,
  UndecodableDocument
} from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import type { EventStoreDriver } from "../eventStore/EventStoreDriver.ts"
import * as Limits from "../eventStore/Limits.ts"
import { defaultPageSize } from "../eventStore/LogReader.ts"
import * as ChangeFeed from "./ChangeFeed.ts"
import * as DocumentCodec from "./DocumentCodec.ts"
import * as LiveProjection from "./LiveProjection.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type { DocumentPage, ProjectionStoreDriver, StoredDocument } from "./ProjectionStoreDriver.ts"

/**
 * A page of documents, and the cursor of the next page if there may be one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page<out Document> {
  readonly items: ReadonlyArray<Document>
  readonly next: Option.Option<string>
}

/**
 * @since 0.1.0
 * @category options
 */
export interface ListOptions<P extends Projection.Any> {
  /** Indexed fields and the values they must have. */
  readonly where?:
    | { readonly [K in P["index"][number]]?: K extends keyof DocumentOf<P> ? DocumentOf<P>[K] | undefined : never }
    | undefined
  /** The cursor of an earlier page. */
  readonly after?: string | undefined
  /** At most this many documents; 100 by default. */
  readonly limit?: number | undefined
}

/**
 * The decoded documents of a projection.
 *
 * @since 0.1.0
 * @category models
 */
export type DocumentOf<P extends Projection.Any> = P["document"]["Type"]

/**
 * What reading a projection needs besides the projection store: the log, for a `live` one.
 *
 * @since 0.1.0
 * @category models
 */
export type Reads<P extends Projection.Any> = "live" extends P["lifecycle"] ? EventStore : never

/**
 * What watching a projection needs: the log, unless it is an `async` one, which has a checkpoint to watch.
 *
 * @since 0.1.0
 * @category models
 */
export type Watches<P extends Projection.Any> = P["lifecycle"] extends "async" ? never : EventStore

/**
 * A projection of any kind, as far as one can wait for it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Awaited {
  readonly id: string
  readonly lifecycle: Projection.Lifecycle
}

/**
 * - `settled`: waits for what a read is to wait for
 * - `progressOf`: tells of the progress of an `async` projection
 *
 * @since 0.1.0
 * @category options
 */
export interface ReadingOptions {
  readonly driver: ProjectionStoreDriver
  readonly limits: Limits.Limits
  readonly settled: (projection: Awaited) => Effect.Effect<void, ProjectionBehind | EventStoreError>
  readonly progressOf: (projection: string) => ChangeFeed.Signal<EventStoreError, never>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ driver, limits, progressOf, settled }: ReadingOptions) => {
  const pageSize = Math.min(defaultPageSize, limits.pageSize)

  /** The page that options ask for, of one document more, which tells whether there is a next one. */
  const pageOf = <P extends Projection.Any>(
    projection: P,
    options: ListOptions<P>
  ): Result.Result<DocumentPage, EventStoreError> => {
    const limit = options.limit ?? 100
    const rejection = Limits.checkPageSize(limits, limit) ?? validateCursor(options.after)
    if (rejection !== undefined) return Result.fail(rejection)
    const where = Object.entries(options.where ?? {})
    const unknown = where.find(([field]) => !projection.index.includes(field))
    if (unknown !== undefined) {
      return Result.fail(invalidRequest(`projection "${projection.name}" has no index on "${unknown[0]}"`))
    }
    const codec = DocumentCodec.of(projection)
    return Result.mapBoth(
      Result.all(
        where.filter(([, value]) => value !== undefined).map(([field, value]) => codec.indexEntry(field, value))
      ),
      {
        onFailure: invalidRequest,
        onSuccess: (where) => ({ consumer: projection.id, where, after: options.after, limit: limit + 1 })
      }
    )
  }

  const storedList = (projection: Projection.Any, page: DocumentPage) =>
    projection.lifecycle !== "live" ? driver.list(page) : Effect.flatMap(logOf(projection), (log) => {
      const documents = LiveProjection.make(log, projection, pageSize)
      return Effect.andThen(documents.read("visible"), documents.list(page))
    })

  const storedOne = (projection: Projection.Any, key: string) =>
    projection.lifecycle !== "live" ? driver.get(projection.id, key) : Effect.flatMap(logOf(projection), (log) => {
      const documents = LiveProjection.make(log, projection, pageSize, key)
      return Effect.map(Effect.andThen(documents.read("visible"), documents.get(key)), Option.fromUndefinedOr)
    })

  const decodeOne = <P extends Projection.Any>(projection: P, stored: Option.Option<StoredDocument>) =>
    Option.isNone(stored)
      ? Effect.succeed(Option.none<DocumentOf<P>>())
      : Effect.map(decode(projection, stored.value), Option.some)

  const decodePage = Effect.fnUntraced(function*<P extends Projection.Any>(
    projection: P,
    found: ReadonlyArray<StoredDocument>,
    limit: number
  ): Effect.fn.Return<Page<DocumentOf<P>>, EventStoreError> {
    const items = yield* Effect.forEach(found.slice(0, limit), (stored) => decode(projection, stored))
    return { items, next: found.length > limit ? Option.some(found[limit - 1]!.key) : Option.none() }
  })

  const list = Effect.fn("ProjectionStore.list")(function*<P extends Projection.Any>(
    projection: P,
    options: ListOptions<P> = {}
  ): Effect.fn.Return<Page<DocumentOf<P>>, ProjectionBehind | EventStoreError> {
    const page = yield* Effect.fromResult(pageOf(projection, options))
    yield* settled(projection)
    return yield* decodePage(projection, yield* storedList(projection, page), page.limit - 1)
  })

  const get = Effect.fn("ProjectionStore.get")(function*<P extends Projection.Any>(
    projection: P,
    key: string
  ): Effect.fn.Return<Option.Option<DocumentOf<P>>, ProjectionBehind | EventStoreError> {
    // A key that cannot be stored names no document.
    if (DocumentCodec.validateKey(key) !== undefined) return Option.none()
    yield* settled(projection)
    return yield* decodeOne(projection, yield* storedOne(projection, key))
  })

  const signalOf = (projection: Projection.Any): Effect.Effect<ChangeFeed.Signal<EventStoreError, never>> =>
    projection.lifecycle === "async"
      ? Effect.sync(() => progressOf(projection.id))
      : Effect.map(logOf(projection), (log) => ({ mark: log.head, changed: log.changed }))

  const textOf = (found: ReadonlyArray<StoredDocument>) =>
    JSON.stringify(found.map(({ document, key }) => [key, document]))

  const watch = <P extends Projection.Any>(projection: P, key: string) =>
    Stream.unwrap(Effect.gen(function*() {
      if (DocumentCodec.validateKey(key) !== undefined) {
        return Stream.concat(Stream.succeed(Option.none<DocumentOf<P>>()), Stream.never)
      }
      yield* settled(projection)
      const look = (found: Option.Option<StoredDocument>) => ({ text: textOf(Option.toArray(found)), value: found })
      const found = projection.lifecycle === "live"
        ? watchLive(yield* storeOf(projection), projection, pageSize, key)
        : ChangeFeed.watch(yield* signalOf(projection), Effect.map(storedOne(projection, key), look))
      return Stream.mapEffect(found, (stored) => decodeOne(projection, stored))
    }))

  const watchList = <P extends Projection.Any>(projection: P, options: ListOptions<P> = {}) =>
    Stream.unwrap(Effect.gen(function*() {
      const page = yield* Effect.fromResult(pageOf(projection, options))
      yield* settled(projection)
      const look = Effect.map(storedList(projection, page), (found) => ({ text: textOf(found), value: found }))
      return Stream.mapEffect(
        ChangeFeed.watch(yield* signalOf(projection), look),
        (found) => decodePage(projection, found, page.limit - 1)
      )
    }))

  return { get, list, watch, watchList }
}

/** The store of the log, which `Reads` and `Watches` have asked for where a projection needs it; an erased one may have none. */
const storeOf = (projection: Awaited): Effect.Effect<EventStore["Service"]> =>
  Effect.flatMap(Effect.serviceOption(EventStore), (store) =>
    Option.isSome(store)
      ? Effect.succeed(store.value)
      : Effect.die(new Error(`evsrc: the ${projection.lifecycle} projection "${projection.id}" needs the EventStore`)))

const logOf = (projection: Awaited): Effect.Effect<EventStoreDriver> =>
  Effect.map(storeOf(projection), ({ [internals]: { driver } }) => driver)

/** Goes on with the events that are new, up to the high-water mark: what is not final could not be folded in another order later. */
const watchLive = (
  { [internals]: { driver: log, keys } }: EventStore["Service"],
  projection: Projection.Any,
  pageSize: number,
  key: string
): Stream.Stream<Option.Option<StoredDocument>, EventStoreError> =>
  Stream.suspend(() => {
    const isPersonal = EventPersonalData.fieldLocators(projection.events).size > 0
    let ofErasures: bigint | undefined
    let documents = LiveProjection.make(log, projection, pageSize, key)
    const look = Effect.gen(function*() {
      const erasures = isPersonal ? yield* keys.erasures : undefined
      // What was folded of a subject that was erased since is to be forgotten.
      if (erasures !== ofErasures) documents = LiveProjection.make(log, projection, pageSize, key)
      ofErasures = erasures
      yield* documents.read("final")
      const found = yield* documents.get(key)
      return { text: JSON.stringify(found?.document) ?? "", value: Option.fromUndefinedOr(found) }
    })
    return ChangeFeed.watch({ mark: Effect.sync(() => documents.reached()), changed: log.changed }, look)
  })

const validateCursor = (after: string | undefined): EventStoreError | undefined => {
  const problem = after === undefined ? undefined : DocumentCodec.validateKey(after)
  return problem === undefined ? undefined : invalidRequest(`this is not a cursor of an earlier page: ${problem}`)
}

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
