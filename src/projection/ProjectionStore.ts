/**
 * Read models as their users see them: typed documents by key and by page.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as GenerationId from "../consumer/GenerationId.ts"
import { type EventStoreError, ProjectionBehind } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import { ReadAfter } from "../core/ReadAfter.ts"
import * as HighWaterMark from "../eventStore/HighWaterMark.ts"
import * as Limits from "../eventStore/Limits.ts"
import * as Encryption from "../personalData/Encryption.ts"
import * as ChangeFeed from "./ChangeFeed.ts"
import * as EncryptingProjectionDriver from "./EncryptingProjectionDriver.ts"
import * as MemoryProjectionStore from "./memory/MemoryProjectionStore.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import * as ProjectionReader from "./ProjectionReader.ts"
import type { Awaited, DocumentOf, ListOptions, Page, Reads, Watches } from "./ProjectionReader.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"

export { ReadAfter }
export type { Awaited, DocumentOf, ListOptions, Page, Reads, Watches } from "./ProjectionReader.ts"

/**
 * The read models. `get`, `list` and the watches wait for the position of `ReadAfter`, if one is set.
 *
 * A `live` projection is read from the event store, whose newest events it shows; an event on which it fails is the reader's error.
 *
 * @since 0.1.0
 * @category services
 */
export class ProjectionStore extends Context.Service<ProjectionStore, {
  readonly get: <P extends Projection.Any>(
    projection: P,
    key: string
  ) => Effect.Effect<Option.Option<DocumentOf<P>>, ProjectionBehind | EventStoreError, Reads<P>>

  /** Documents in the order of their keys. */
  readonly list: <P extends Projection.Any>(
    projection: P,
    options?: ListOptions<P>
  ) => Effect.Effect<Page<DocumentOf<P>>, ProjectionBehind | EventStoreError, Reads<P>>

  /**
   * A document as it is, and then whenever it has changed, whichever process has changed it. When it changes quickly, only the last of
   * several states may be seen.
   */
  readonly watch: <P extends Projection.Any>(
    projection: P,
    key: string
  ) => Stream.Stream<Option.Option<DocumentOf<P>>, ProjectionBehind | EventStoreError, Watches<P>>

  /** The same for a page of documents. */
  readonly watchList: <P extends Projection.Any>(
    projection: P,
    options?: ListOptions<P>
  ) => Stream.Stream<Page<DocumentOf<P>>, ProjectionBehind | EventStoreError, Watches<P>>

  /** How far an asynchronous projection has come. */
  readonly checkpoint: (projection: Awaited) => Effect.Effect<Position.Position, EventStoreError>

  /**
   * Ends when a projection has reached a position, whichever process brings it there; fails with `ProjectionBehind` after the
   * timeout. An inline or live projection is always there.
   */
  readonly awaitPosition: (
    projection: Awaited,
    position: Position.Position,
    timeout: Duration.Input
  ) => Effect.Effect<void, ProjectionBehind | EventStoreError>

  /** Ends when a projection has reached the position of `ReadAfter`, for a reader of tables that its handlers write. */
  readonly settled: (projection: Awaited) => Effect.Effect<void, ProjectionBehind | EventStoreError>

  /** What the runtime builds on; `ProjectionStore.driver` returns it. */
  readonly [internals]: { readonly driver: ProjectionStoreDriver }
}>()("evsrc/projection/ProjectionStore") {}

/**
 * A projection store over a driver.
 *
 * - `pollInterval`: how often to look for the progress that other processes make while somebody waits for it or watches; without one,
 *   only this process is expected to make any
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  given: ProjectionStoreDriver,
  options: { readonly pollInterval?: Duration.Input | undefined } = {}
): Effect.fn.Return<ProjectionStore["Service"], never, Scope.Scope> {
  const driver = EncryptingProjectionDriver.make(yield* Encryption.keyStore, given)
  const limits = yield* Limits.Limits
  const scope = yield* Effect.scope
  const watches = new Map<string, HighWaterMark.HighWaterMark>()

  // Watchers serve everybody, so they must not run with the context of whoever asks first, who may be in a transaction.
  const start = Effect.runSyncWith(yield* Effect.context<never>())
  const watchOf = (projection: string): HighWaterMark.HighWaterMark => {
    let watch = watches.get(projection)
    if (watch === undefined) {
      const make = HighWaterMark.make({ head: driver.checkpoint(projection), interval: options.pollInterval })
      watch = start(Scope.provide(make, scope))
      watches.set(projection, watch)
    }
    return watch
  }
  const progresses = new Map<string, Effect.Success<ReturnType<typeof ChangeFeed.progressOf>>>()
  const progressOf = (projection: string) => {
    const progress = progresses.get(projection)
      ?? start(Scope.provide(ChangeFeed.progressOf(driver, projection, options.pollInterval), scope))
    progresses.set(projection, progress)
    return progress
  }

  const awaitPosition = Effect.fn("ProjectionStore.awaitPosition")(function*(
    projection: Awaited,
    position: Position.Position,
    timeout: Duration.Input
  ): Effect.fn.Return<void, ProjectionBehind | EventStoreError> {
    if (projection.lifecycle !== "async" || position <= Position.start) return
    yield* watchOf(projection.id).changed(Position.make(position - 1n)).pipe(
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () =>
          Effect.flatMap(driver.checkpoint(projection.id), (reached) =>
            reached >= position
              ? Effect.void
              : Effect.fail(new ProjectionBehind({ projection: projection.id, wanted: position, reached })))
      })
    )
  })

  const settled = (projection: Awaited): Effect.Effect<void, ProjectionBehind | EventStoreError> =>
    Effect.flatMap(
      ReadAfter,
      (after) => after === undefined ? Effect.void : awaitPosition(projection, after.position, after.timeout)
    )

  const reading = ProjectionReader.make({ driver, limits, settled, progressOf })

  const wake = (consumer: string): Effect.Effect<void> =>
    Effect.andThen(watches.get(consumer)?.wake ?? Effect.void, progresses.get(consumer)?.wake ?? Effect.void)

  const advance: ProjectionStoreDriver["advance"] = (request) =>
    Effect.tap(driver.advance(request), () => wake(GenerationId.parse(request.generation).consumer))

  // What was advanced within it can be seen only now.
  const transaction: ProjectionStoreDriver["transaction"] = (effect) =>
    Effect.tap(
      driver.transaction(effect),
      () => Effect.forEach([...watches.values(), ...progresses.values()], ({ wake }) => wake, { discard: true })
    )

  const cutOver: ProjectionStoreDriver["cutOver"] = (request) =>
    Effect.tap(driver.cutOver(request), ({ _tag }) => _tag === "Switched" ? wake(request.consumer) : Effect.void)

  return ProjectionStore.of({
    ...reading,
    checkpoint: (projection) => driver.checkpoint(projection.id),
    awaitPosition,
    settled,
    [internals]: { driver: { ...driver, advance, cutOver, transaction } }
  })
})

/**
 * A layer from a driver's effect.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  driver: Effect.Effect<ProjectionStoreDriver, E, R>,
  options: { readonly pollInterval?: Duration.Input | undefined } = {}
): Layer.Layer<ProjectionStore, E, Exclude<R, Scope.Scope>> =>
  Layer.effect(ProjectionStore, Effect.flatMap(driver, (driver) => make(driver, options)))

/**
 * Read models in memory. For tests and trials.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<ProjectionStore> = layer(MemoryProjectionStore.make)

/**
 * A document of a projection, by key.
 *
 * @since 0.1.0
 * @category reading
 */
export const get = <P extends Projection.Any>(projection: P, key: string) =>
  Effect.flatMap(ProjectionStore, (store) => store.get(projection, key))

/**
 * A page of a projection's documents.
 *
 * @since 0.1.0
 * @category reading
 */
export const list = <P extends Projection.Any>(projection: P, options?: ListOptions<P>) =>
  Effect.flatMap(ProjectionStore, (store) => store.list(projection, options))

/**
 * A document as it is, and then whenever it has changed.
 *
 * @since 0.1.0
 * @category watching
 */
export const watch = <P extends Projection.Any>(projection: P, key: string) =>
  Stream.unwrap(Effect.map(ProjectionStore, (store) => store.watch(projection, key)))

/**
 * A page of documents as it is, and then whenever it has changed.
 *
 * @since 0.1.0
 * @category watching
 */
export const watchList = <P extends Projection.Any>(projection: P, options?: ListOptions<P>) =>
  Stream.unwrap(Effect.map(ProjectionStore, (store) => store.watchList(projection, options)))

/**
 * Ends when a projection has reached the position that a query was asked with: for a handler that reads tables of one's own.
 *
 * @since 0.1.0
 * @category reading
 */
export const settled = (projection: Awaited) => Effect.flatMap(ProjectionStore, (store) => store.settled(projection))

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
