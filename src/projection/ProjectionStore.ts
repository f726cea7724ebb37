/**
 * The service through which programs read projections: typed documents by key and by page.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ProgressNotifications } from "../consumer/CheckpointDriver.ts"
import * as GenerationId from "../consumer/GenerationId.ts"
import { type EventStoreError, ProjectionBehind, storeError, UndecodableDocument } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import { ReadAfter } from "../core/ReadAfter.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as Limits from "../eventStore/Limits.ts"
import * as ReaderWakeups from "../eventStore/ReaderWakeups.ts"
import * as KeyStoreLookup from "../personalData/KeyStoreLookup.ts"
import * as ChangeFeed from "./ChangeFeed.ts"
import * as DocumentCodec from "./DocumentCodec.ts"
import * as DocumentEncryption from "./DocumentEncryption.ts"
import * as MemoryProjectionStore from "./memory/MemoryProjectionStore.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import * as ProjectionReader from "./ProjectionReader.ts"
import type { Awaited, DocumentOf, ListOptions, Page, Reads, Watches } from "./ProjectionReader.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"
import * as ReadsAfter from "./ReadsAfter.ts"

export { ReadAfter }
export type {
  Comparable,
  Comparison,
  Condition,
  OneOf,
  Operators,
  OrderBy,
  OrderField,
  Where
} from "./list/DocumentFilter.ts"
export type { Awaited, DocumentOf, ListOptions, Page, Reads, Watches } from "./ProjectionReader.ts"

/**
 * The store of read models. `get`, `list` and the watches first wait for the position of `ReadAfter`, if one is set.
 *
 * A read of a `live` projection folds the log, up to its newest events; an event on which the projection fails is the error of the read.
 *
 * @since 0.1.0
 * @category services
 */
export class ProjectionStore extends Context.Service<ProjectionStore, {
  /** Returns a document by key. */
  readonly get: <P extends Projection.Any>(
    projection: P,
    key: string
  ) => Effect.Effect<Option.Option<DocumentOf<P>>, ProjectionBehind | EventStoreError, Reads<P>>

  /** Returns a page of documents, filtered and ordered by indexed fields. */
  readonly list: <P extends Projection.Any>(
    projection: P,
    options?: ListOptions<P>
  ) => Effect.Effect<Page<DocumentOf<P>>, ProjectionBehind | EventStoreError, Reads<P>>

  /**
   * Returns a stream of a document: its current state, then its state after each change, whichever process makes it. Of several changes in
   * quick succession the stream may contain only the last.
   */
  readonly watch: <P extends Projection.Any>(
    projection: P,
    key: string
  ) => Stream.Stream<Option.Option<DocumentOf<P>>, ProjectionBehind | EventStoreError, Watches<P>>

  /** Returns a stream of a page of documents: its current state, then its state after each change. */
  readonly watchList: <P extends Projection.Any>(
    projection: P,
    options?: ListOptions<P>
  ) => Stream.Stream<Page<DocumentOf<P>>, ProjectionBehind | EventStoreError, Watches<P>>

  /**
   * Adds documents to the indexes of a projection that were written by code without them, or with another type of an indexed field; appends and
   * reads continue. Run it after a release that adds a field to `index` or changes its type, when no process runs the release before: until then
   * lists that use the field fail with `IndexIncomplete`.
   */
  readonly reindex: (projection: Projection.Any) => Effect.Effect<void, EventStoreError>

  /** Returns the position that all partitions of an `async` projection have reached. */
  readonly checkpoint: (projection: Awaited) => Effect.Effect<Position.Position, EventStoreError>

  /**
   * Waits until a projection has reached a position, whichever process brings it there; fails with `ProjectionBehind` after the timeout. It
   * does not wait for an inline or live projection.
   */
  readonly awaitPosition: (
    projection: Awaited,
    position: Position.Position,
    timeout: Duration.Input
  ) => Effect.Effect<void, ProjectionBehind | EventStoreError>

  /** Waits until a projection has reached the position of `ReadAfter`; for queries on tables that its handlers write. */
  readonly awaitReadAfter: (projection: Awaited) => Effect.Effect<void, ProjectionBehind | EventStoreError>

  /** What the runtime builds on; `ProjectionStore.driver` returns it. */
  readonly [internals]: { readonly driver: ProjectionStoreDriver }
}>()("evsrc/projection/ProjectionStore") {}

/**
 * @since 0.1.0
 * @category options
 */
export interface StoreOptions {
  /**
   * The interval at which the store looks for progress that other processes make, while a caller waits for it or watches. Without it the store
   * expects progress from this process only.
   */
  readonly pollInterval?: Duration.Input | undefined
}

/**
 * Returns a projection store over a driver.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  given: ProjectionStoreDriver,
  options: StoreOptions = {}
): Effect.fn.Return<ProjectionStore["Service"], never, Scope.Scope> {
  const driver = DocumentEncryption.make(yield* KeyStoreLookup.keyStore, given)
  const limits = yield* Limits.Limits
  const watchers = yield* makeWatchers(driver, options.pollInterval)
  const log = yield* Effect.serviceOption(EventStore)

  const awaitPosition = Effect.fn("ProjectionStore.awaitPosition")(function*(
    projection: Awaited,
    position: Position.Position,
    timeout: Duration.Input
  ): Effect.fn.Return<void, ProjectionBehind | EventStoreError> {
    if (projection.lifecycle !== "async" || position <= Position.start) return
    yield* ReadsAfter.rejectCircularWait(driver, projection.id, position)
    yield* watchers.checkpointOf(projection.id).changed(Position.make(position - 1n)).pipe(
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () =>
          Effect.flatMap(driver.checkpoint(projection.id), ({ position: reached }) =>
            reached >= position
              ? Effect.void
              : Effect.fail(new ProjectionBehind({ projection: projection.id, wanted: position, reached })))
      })
    )
  })

  const readAfter = ReadsAfter.make({ driver, log, watcherOf: watchers.checkpointOf })

  return ProjectionStore.of({
    ...yield* ProjectionReader.make({
      driver,
      limits,
      readAfter,
      requireEvent: (position) => ReadsAfter.requireEvents(log, [position]),
      progressOf: watchers.progressOf
    }),
    reindex: (projection) => reindexWith(driver, projection),
    checkpoint: (projection) => Effect.map(driver.checkpoint(projection.id), ({ position }) => position),
    awaitPosition,
    awaitReadAfter: (projection) => Effect.asVoid(readAfter(projection, Effect.succeed({ generation: undefined }))),
    [internals]: { driver: waking(driver, watchers) }
  })
})

/** The number of documents that one statement reindexes. */
const reindexedPerStatement = 500

const reindexWith = Effect.fn("ProjectionStore.reindex")(function*(
  driver: ProjectionStoreDriver,
  projection: Projection.Any
): Effect.fn.Return<void, EventStoreError> {
  if (projection.lifecycle === "live" || projection.index.length === 0) return
  const { fields, indexEntries } = DocumentCodec.of(projection)
  const indexes = fields.map(({ index }) => index)
  while (true) {
    const found = yield* driver.unindexed(projection.id, indexes, reindexedPerStatement)
    if (found.documents.length === 0) return
    const documents = yield* Effect.forEach(
      found.documents,
      ({ document, key, revision, unreadable }) =>
        Effect.fromResult(
          Result.mapBoth(unreadable === undefined ? indexEntries(document) : Result.fail(unreadable), {
            onFailure: (detail) => storeError(new UndecodableDocument({ projection: projection.id, key, detail })),
            onSuccess: (indexed) => ({ key, revision, indexed })
          })
        )
    )
    yield* driver.reindex(found.generation, documents)
  }
})

/** How often, at most, the store looks for progress that other processes announce: an announcement may be lost. */
const minPollWhileListening = Duration.seconds(1)

/** The watchers of a store: one per consumer, shared by all callers that wait. */
interface Watchers {
  readonly checkpointOf: (consumer: string) => ReaderWakeups.ReaderWakeups
  readonly progressOf: (consumer: string) => ChangeFeed.ProgressSignal
  /** Wakes those that wait for a consumer to come as far, also in other processes. */
  readonly advanced: (consumer: string, to: Position.Position) => Effect.Effect<void>
  readonly wakeAll: Effect.Effect<void>
}

const makeWatchers = Effect.fnUntraced(function*(
  driver: ProjectionStoreDriver,
  interval: Duration.Input | undefined
): Effect.fn.Return<Watchers, never, Scope.Scope> {
  const scope = yield* Effect.scope
  // A watcher serves all callers, so it must not run in the context of the first one, which may be in a transaction.
  const start = Effect.runSyncWith(yield* Effect.context<never>())
  const onePerConsumer = <A>(make: (consumer: string) => Effect.Effect<A, never, Scope.Scope>) => {
    const started = new Map<string, A>()
    const of = (consumer: string): A => {
      const watcher = started.get(consumer) ?? start(Scope.provide(make(consumer), scope))
      started.set(consumer, watcher)
      return watcher
    }
    return { of, started }
  }
  const checkpoints = onePerConsumer((consumer) =>
    ReaderWakeups.make({
      head: Effect.map(driver.checkpoint(consumer), ({ position }) => position),
      interval: interval === undefined
        ? undefined
        : () =>
          notifications?.isListening() === true
            ? Duration.max(Duration.fromInputUnsafe(interval), minPollWhileListening)
            : interval,
      onWait: notifications?.await(consumer)
    })
  )
  const progresses = onePerConsumer((consumer) => ChangeFeed.progressOf(driver, consumer, interval))
  const wakeOne = (consumer: string) =>
    Effect.suspend(() =>
      Effect.andThen(
        checkpoints.started.get(consumer)?.wake ?? Effect.void,
        progresses.started.get(consumer)?.wake ?? Effect.void
      )
    )
  const wakeAll: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach([...checkpoints.started.values(), ...progresses.started.values()], ({ wake }) => wake, {
      discard: true
    })
  )
  const notifications: ProgressNotifications | undefined = yield* driver.notifications?.((consumer) =>
    consumer === undefined ? wakeAll : wakeOne(consumer)
  )
    ?? Effect.undefined
  return {
    checkpointOf: checkpoints.of,
    progressOf: progresses.of,
    advanced: (consumer, to) =>
      Effect.suspend(() => {
        checkpoints.started.get(consumer)?.wakeUpTo(to)
        return Effect.andThen(
          progresses.started.get(consumer)?.wake ?? Effect.void,
          notifications?.progressed(consumer) ?? Effect.void
        )
      }),
    wakeAll
  }
})

/** Returns the driver that wakes the watchers when progress becomes visible: after an advance, after a transaction, after a cut-over. */
const waking = (driver: ProjectionStoreDriver, { advanced, wakeAll }: Watchers): ProjectionStoreDriver => {
  /** The consumers that have advanced in transactions that have not ended. */
  const uncommitted = new Map<string, Position.Position>()
  const afterCommit = Effect.suspend(() => {
    const found = Array.from(uncommitted)
    uncommitted.clear()
    return Effect.andThen(wakeAll, Effect.forEach(found, ([consumer, to]) => advanced(consumer, to), { discard: true }))
  })
  return {
    ...driver,
    advance: (request) =>
      Effect.tap(driver.advance(request), () => {
        const { consumer } = GenerationId.parse(request.generation)
        return Effect.flatMap(
          driver.isInTransaction,
          (isInTransaction) =>
            isInTransaction
              ? Effect.sync(() => void uncommitted.set(consumer, request.to))
              : advanced(consumer, request.to)
        )
      }),
    transaction: (effect, options) => Effect.tap(driver.transaction(effect, options), () => afterCommit),
    cutOver: (request) =>
      Effect.tap(
        driver.cutOver(request),
        ({ _tag }) =>
          _tag === "CutOver" ? Effect.andThen(wakeAll, advanced(request.consumer, Position.start)) : Effect.void
      )
  }
}

/**
 * Returns a layer of the projection store over a driver.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  driver: Effect.Effect<ProjectionStoreDriver, E, R>,
  options: StoreOptions = {}
): Layer.Layer<ProjectionStore, E, Exclude<R, Scope.Scope>> =>
  Layer.effect(ProjectionStore, Effect.flatMap(driver, (driver) => make(driver, options)))

/**
 * A projection store in memory, for tests and trials.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<ProjectionStore> = layer(MemoryProjectionStore.make)

/**
 * Returns a document of a projection by key.
 *
 * @since 0.1.0
 * @category accessors
 */
export const get = <P extends Projection.Any>(projection: P, key: string) =>
  Effect.flatMap(ProjectionStore, (store) => store.get(projection, key))

/**
 * Returns a page of a projection's documents, filtered and ordered by indexed fields.
 *
 * **Example** (the newest orders of at least 100)
 *
 * ```ts
 * const { items, next } = yield* ProjectionStore.list(Orders, {
 *   where: { total: { gte: 100 } },
 *   orderBy: { field: "placedAt", direction: "desc" },
 *   limit: 20
 * })
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const list = <P extends Projection.Any>(projection: P, options?: ListOptions<P>) =>
  Effect.flatMap(ProjectionStore, (store) => store.list(projection, options))

/**
 * Returns a stream of a document: its current state, then its state after each change.
 *
 * @since 0.1.0
 * @category accessors
 */
export const watch = <P extends Projection.Any>(projection: P, key: string) =>
  Stream.unwrap(Effect.map(ProjectionStore, (store) => store.watch(projection, key)))

/**
 * Returns a stream of a page of documents: its current state, then its state after each change.
 *
 * @since 0.1.0
 * @category accessors
 */
export const watchList = <P extends Projection.Any>(projection: P, options?: ListOptions<P>) =>
  Stream.unwrap(Effect.map(ProjectionStore, (store) => store.watchList(projection, options)))

/**
 * Adds documents to the indexes of a projection that were written by code without them; appends and reads continue.
 *
 * **Example** (after a release that indexes another field)
 *
 * ```ts
 * yield* ProjectionStore.reindex(Orders)
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const reindex = (projection: Projection.Any): Effect.Effect<void, EventStoreError, ProjectionStore> =>
  Effect.flatMap(ProjectionStore, (store) => store.reindex(projection))

/**
 * Returns the position that all partitions of an `async` projection have reached.
 *
 * @since 0.1.0
 * @category accessors
 */
export const checkpoint = (
  projection: Awaited
): Effect.Effect<Position.Position, EventStoreError, ProjectionStore> =>
  Effect.flatMap(ProjectionStore, (store) => store.checkpoint(projection))

/**
 * Waits until a projection has reached a position; fails with `ProjectionBehind` after the timeout.
 *
 * @since 0.1.0
 * @category accessors
 */
export const awaitPosition = (
  projection: Awaited,
  position: Position.Position,
  timeout: Duration.Input
): Effect.Effect<void, ProjectionBehind | EventStoreError, ProjectionStore> =>
  Effect.flatMap(ProjectionStore, (store) => store.awaitPosition(projection, position, timeout))

/**
 * Waits until a projection has reached the position of `ReadAfter`; for queries on tables that its handlers write.
 *
 * @since 0.1.0
 * @category accessors
 */
export const awaitReadAfter = (
  projection: Awaited
): Effect.Effect<void, ProjectionBehind | EventStoreError, ProjectionStore> =>
  Effect.flatMap(ProjectionStore, (store) => store.awaitReadAfter(projection))

/**
 * Returns the driver of the projection store, for the author of a back end and for tests that inject faults.
 *
 * @since 0.1.0
 * @category accessors
 */
export const driver: Effect.Effect<ProjectionStoreDriver, never, ProjectionStore> = Effect.map(
  ProjectionStore,
  (store) => store[internals].driver
)
