/**
 * Read models as their users see them: typed documents by key and by page.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as DocumentCodec from "../domain/DocumentCodec.ts"
import {
  type EventStoreError,
  invalidRequest,
  ProjectionBehind,
  storeError,
  UndecodableDocument
} from "../domain/errors.ts"
import * as Position from "../domain/Position.ts"
import type * as Projection from "../domain/Projection.ts"
import * as HeadWatch from "./HeadWatch.ts"
import * as Limits from "./Limits.ts"
import * as MemoryProjectionStore from "./MemoryProjectionStore.ts"
import type { ProjectionStoreDriver, StoredDocument } from "./ProjectionStoreDriver.ts"

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
 * What a read waits for before it looks: that the read model has reached a position. Without a value it does not wait.
 *
 * @since 0.1.0
 * @category references
 */
export const ReadAfter = Context.Reference<
  { readonly position: Position.Position; readonly timeout: Duration.Duration } | undefined
>("evsrc/store/ProjectionStore/ReadAfter", { defaultValue: () => undefined })

/**
 * The read models. `get` and `list` wait for the position of `ReadAfter`, if one is set.
 *
 * @since 0.1.0
 * @category services
 */
export class ProjectionStore extends Context.Service<ProjectionStore, {
  readonly get: <P extends Projection.Any>(
    projection: P,
    key: string
  ) => Effect.Effect<Option.Option<DocumentOf<P>>, ProjectionBehind | EventStoreError>

  /** Documents in the order of their keys. */
  readonly list: <P extends Projection.Any>(
    projection: P,
    options?: ListOptions<P>
  ) => Effect.Effect<Page<DocumentOf<P>>, ProjectionBehind | EventStoreError>

  /** How far an asynchronous projection has come. */
  readonly checkpoint: (projection: Projection.Any) => Effect.Effect<Position.Position, EventStoreError>

  /**
   * Ends when a projection has reached a position, whichever process brings it there; fails with `ProjectionBehind` after the
   * timeout. An inline projection is always there.
   */
  readonly awaitPosition: (
    projection: Projection.Any,
    position: Position.Position,
    timeout: Duration.Input
  ) => Effect.Effect<void, ProjectionBehind | EventStoreError>

  /** The driver below, for what the runtime builds on top. */
  readonly driver: ProjectionStoreDriver
}>()("evsrc/store/ProjectionStore") {}

/**
 * A projection store over a driver.
 *
 * - `pollInterval`: how often to look for the progress that other processes make while somebody waits for it; without one,
 *   only this process is expected to make any
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  driver: ProjectionStoreDriver,
  options: { readonly pollInterval?: Duration.Input | undefined } = {}
): Effect.fn.Return<ProjectionStore["Service"], never, Scope.Scope> {
  const limits = yield* Limits.Limits
  const scope = yield* Effect.scope
  const watches = new Map<string, HeadWatch.HeadWatch>()

  // Watchers serve everybody, so they must not run with the context of whoever asks first, who may be in a transaction.
  const start = Effect.runSyncWith(yield* Effect.context<never>())
  const watchOf = (projection: string): HeadWatch.HeadWatch => {
    let watch = watches.get(projection)
    if (watch === undefined) {
      const make = HeadWatch.make({ head: driver.checkpoint(projection), interval: options.pollInterval })
      watch = start(Scope.provide(make, scope))
      watches.set(projection, watch)
    }
    return watch
  }

  const awaitPosition = Effect.fn("ProjectionStore.awaitPosition")(function*(
    projection: Projection.Any,
    position: Position.Position,
    timeout: Duration.Input
  ): Effect.fn.Return<void, ProjectionBehind | EventStoreError> {
    if (projection.lifecycle === "inline" || position <= Position.start) return
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

  const settled = (projection: Projection.Any): Effect.Effect<void, ProjectionBehind | EventStoreError> =>
    Effect.flatMap(
      ReadAfter,
      (after) => after === undefined ? Effect.void : awaitPosition(projection, after.position, after.timeout)
    )

  const list = Effect.fn("ProjectionStore.list")(function*<P extends Projection.Any>(
    projection: P,
    options: ListOptions<P> = {}
  ): Effect.fn.Return<Page<DocumentOf<P>>, ProjectionBehind | EventStoreError> {
    const limit = options.limit ?? 100
    const refusal = Limits.checkPageSize(limits, limit) ?? cursorProblem(options.after)
    if (refusal !== undefined) return yield* refusal
    const where = Object.entries(options.where ?? {})
    const unknown = where.find(([field]) => !projection.index.includes(field))
    if (unknown !== undefined) {
      return yield* invalidRequest(`projection "${projection.name}" has no index on "${unknown[0]}"`)
    }
    const codec = DocumentCodec.of(projection)
    const entries = Result.all(
      where.filter(([, value]) => value !== undefined).map(([field, value]) => codec.indexEntry(field, value))
    )
    if (Result.isFailure(entries)) return yield* invalidRequest(entries.failure)
    yield* settled(projection)
    const found = yield* driver.list({
      projection: projection.id,
      where: entries.success,
      after: options.after,
      limit: limit + 1
    })
    const items = yield* Effect.forEach(found.slice(0, limit), (stored) => decode(projection, stored))
    return { items, next: found.length > limit ? Option.some(found[limit - 1]!.key) : Option.none() }
  })

  const get = Effect.fn("ProjectionStore.get")(function*<P extends Projection.Any>(
    projection: P,
    key: string
  ): Effect.fn.Return<Option.Option<DocumentOf<P>>, ProjectionBehind | EventStoreError> {
    // A key that cannot be stored names no document.
    if (DocumentCodec.keyProblem(key) !== undefined) return Option.none()
    yield* settled(projection)
    const stored = yield* driver.get(projection.id, key)
    return Option.isNone(stored) ? Option.none() : Option.some(yield* decode(projection, stored.value))
  })

  const advance: ProjectionStoreDriver["advance"] = (request) =>
    Effect.tap(driver.advance(request), () => watches.get(request.target.replace(/~\d+$/, ""))?.nudge ?? Effect.void)

  return ProjectionStore.of({
    get,
    list,
    checkpoint: (projection) => driver.checkpoint(projection.id),
    awaitPosition,
    driver: { ...driver, advance }
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

const cursorProblem = (after: string | undefined): EventStoreError | undefined => {
  const problem = after === undefined ? undefined : DocumentCodec.keyProblem(after)
  return problem === undefined ? undefined : invalidRequest(`this is not a cursor of an earlier page: ${problem}`)
}

const decode = <P extends Projection.Any>(
  projection: P,
  { document, key }: StoredDocument
): Effect.Effect<DocumentOf<P>, EventStoreError> => {
  const decoded = DocumentCodec.of(projection).decode(document)
  return Result.isFailure(decoded)
    ? Effect.fail(storeError(new UndecodableDocument({ projection: projection.id, key, detail: decoded.failure })))
    // The codec was compiled from this projection's own document Schema.
    : Effect.succeed(decoded.success as DocumentOf<P>)
}
