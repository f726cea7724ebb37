/**
 * Inline projections: an append brings their documents up to date in its own transaction.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as BatchProcessor from "../consumer/BatchProcessor.ts"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import * as EventFilter from "../event/EventFilter.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import type { AppendRequest, EventStoreDriver } from "../eventStore/EventStoreDriver.ts"
import { Limits } from "../eventStore/Limits.ts"
import * as DocumentBatch from "./DocumentBatch.ts"
import * as InlineCompleteness from "./InlineCompleteness.ts"
import type * as Projection from "./Projection.ts"
import * as ProjectionStore from "./ProjectionStore.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"
import * as SharedTransaction from "./SharedTransaction.ts"

/**
 * Returns a layer of the event store whose appends bring inline projections up to date before they commit: the transaction commits events and
 * documents together, or neither. When a projection fails, the append fails with its error. Layers can be stacked: all of their projections
 * then run.
 *
 * **Gotchas**
 *
 * The first start with a projection makes its documents from the events that the log has. Appends of the types that it reads wait meanwhile, in
 * all programs. For a projection with handlers nothing is done: it sees what is appended from then on.
 *
 * Every program that appends must use this layer, since the projection sees only what is appended through it. The projection store must use
 * the same database client as the event store; otherwise the layer dies when it is built.
 *
 * **Example** (a store with one inline projection)
 *
 * ```ts
 * const Store = Projector.layerInline([Users]).pipe(
 *   Layer.provide(PgEventStore.layer),
 *   Layer.provideMerge(PgProjectionStore.layer)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerInline = <const P extends Projection.Any<"inline"> | Projection.AnyHandler<"inline">>(
  projections: ReadonlyArray<P>
): Layer.Layer<
  EventStore.EventStore,
  EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore | Projection.Services<P>
> =>
  Layer.effect(
    EventStore.EventStore,
    Effect.gen(function*() {
      const { changeAppends, driver } = (yield* EventStore.EventStore)[internals]
      const documents = (yield* ProjectionStore.ProjectionStore)[internals].driver
      if (driver.transactions !== documents.transactions) {
        return yield* Effect.die(
          new Error("Projector.layerInline: the event store and the projection store must use the same database client")
        )
      }
      const bind = yield* SharedTransaction.make<Projection.Services<P>>(
        "Projector.layerInline",
        documents,
        projections
      )
      const all = projections.map((projection: Projection.Any | Projection.AnyHandler): Inline => ({
        follows: EventFilter.matcher({ types: projection.reads, ...projection.where }),
        ...projection._tag === "HandlerProjection"
          ? { projection: undefined, handle: BatchProcessor.handleOne(projection, bind(projection)) }
          : { projection, handle: undefined }
      }))
      for (const projection of projections as ReadonlyArray<Projection.Any | Projection.AnyHandler>) {
        if (projection._tag !== "HandlerProjection") yield* complete(projection, driver, documents)
      }
      return changeAppends((request) => withProjections(request, all, documents))
    })
  )

type Inline =
  & { readonly follows: ReturnType<typeof EventFilter.matcher> }
  & (
    | { readonly projection: Projection.Any; readonly handle: undefined }
    | { readonly projection: undefined; readonly handle: ReturnType<typeof BatchProcessor.handleOne> }
  )

/** Makes the documents of a projection from the log, unless they are complete. */
const complete = Effect.fnUntraced(function*(
  projection: Projection.Any,
  log: EventStoreDriver,
  documents: ProjectionStoreDriver
): Effect.fn.Return<void, EventStoreError> {
  if (yield* InlineCompleteness.isComplete(projection, documents)) return
  const { pageSize: limit } = yield* Limits
  const write = (changes: ReadonlyArray<EncodedDocument>) => documents.write([{ generation: projection.id, changes }])
  const removeAll = Effect.gen(function*() {
    while (true) {
      const found = yield* documents.generationPage({ generation: projection.id, limit })
      if (found.length === 0) return
      yield* write(found.map(({ key }) => ({ key, document: undefined, indexed: [] })))
    }
  })
  const foldAll = Effect.gen(function*() {
    const follows = EventFilter.matcher({ types: projection.reads, ...projection.where })
    const load = (keys: ReadonlyArray<string>) => documents.load(projection.id, keys)
    let after = Position.start
    while (true) {
      // Not readAll: the high-water mark may be below an event of these types while an append of another type is in flight.
      const { events } = yield* log.readByQuery({ query: [{ types: projection.reads }], after, limit })
      const { changes, failures: [failure] } = yield* DocumentBatch.fold(
        projection,
        ConsumerKey.selectAll(projection, events.filter(follows)),
        load,
        "stop"
      )
      if (failure !== undefined) return yield* Effect.fail(failure.error)
      yield* write(changes)
      if (events.length < limit) return
      after = events[events.length - 1]!.position
    }
  })
  yield* log.withoutAppends(
    projection.reads,
    Effect.gen(function*() {
      // Another process may have done it while this one waited.
      if (yield* InlineCompleteness.isComplete(projection, documents)) return
      yield* removeAll
      if (projection.reads.length > 0) yield* foldAll
      yield* documents.setComplete(projection.id, projection.reads)
    })
  )
}, Effect.withSpan("Projector.completeInline"))

/** Returns the append request with the projections that its events touch added to its transaction. */
const withProjections = (
  request: AppendRequest,
  projections: ReadonlyArray<Inline>,
  documents: ProjectionStoreDriver
): AppendRequest => {
  const { inTransaction: outer, stream } = request
  const touched = projections.filter(({ follows }) =>
    request.events.some(({ tags = [], type }) => follows({ stream, tags, type }))
  )
  if (touched.length === 0) return request
  const project = Effect.fnUntraced(
    function*(events: ReadonlyArray<EncodedEvent>): Effect.fn.Return<void, EventStoreError> {
      // Fold all before writing any: a store without transactions must not keep a part when one of them fails.
      const writes = yield* Effect.forEach(
        touched,
        ({ follows, projection }) =>
          projection === undefined ? Effect.succeed([]) : Effect.flatMap(
            DocumentBatch.fold(
              projection,
              ConsumerKey.selectAll(projection, events.filter(follows)),
              (keys) => documents.lock(projection.id, keys),
              "stop"
            ),
            ({ changes, failures: [failure] }) =>
              failure === undefined
                ? Effect.succeed([{ generation: projection.id, changes }])
                : Effect.fail(failure.error)
          )
      )
      for (const { follows, handle } of touched) {
        if (handle !== undefined) yield* Effect.forEach(events.filter(follows), handle, { discard: true })
      }
      if (outer !== undefined) yield* outer(events)
      yield* documents.write(writes.flat())
    },
    Effect.withSpan("Projector.inline")
  )
  return { ...request, inTransaction: project }
}
