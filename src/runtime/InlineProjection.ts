/**
 * Projections that are brought up to date in the transaction of the append.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { EventStoreError } from "../domain/errors.ts"
import type { RecordedEvent } from "../domain/EventRecord.ts"
import type * as Projection from "../domain/Projection.ts"
import * as EventStore from "../store/EventStore.ts"
import type { AppendRequest } from "../store/EventStoreDriver.ts"
import * as ProjectionStore from "../store/ProjectionStore.ts"
import type { ProjectionStoreDriver } from "../store/ProjectionStoreDriver.ts"
import * as ProjectionFold from "./ProjectionFold.ts"

/**
 * An event store whose appends bring inline projections up to date before they commit: either events and documents are there, or
 * neither. When a projection fails, the append fails with its error.
 *
 * **Gotchas**
 *
 * Every program that appends must use this layer, since the projection sees only what is appended through it. The projection store
 * must use the same database client as the event store, which is checked when the layer is built.
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
export const layerInline = (
  projections: ReadonlyArray<Projection.Any<"inline">>
): Layer.Layer<EventStore.EventStore, never, EventStore.EventStore | ProjectionStore.ProjectionStore> =>
  Layer.effect(
    EventStore.EventStore,
    Effect.gen(function*() {
      const { driver } = yield* EventStore.EventStore
      const documents = (yield* ProjectionStore.ProjectionStore).driver
      if (driver.transactions !== documents.transactions) {
        return yield* Effect.die(
          new Error("Projector.layerInline: event store and projection store must use one and the same database client")
        )
      }
      return yield* EventStore.make({
        ...driver,
        append: (request) => driver.append(withProjections(request, projections, documents))
      })
    })
  )

const withProjections = (
  request: AppendRequest,
  projections: ReadonlyArray<Projection.Any>,
  documents: ProjectionStoreDriver
): AppendRequest => {
  const touched = projections
    .map((projection) => ({ projection, handles: new Set(projection.handles) }))
    .filter(({ handles }) => request.events.some((event) => handles.has(event.type)))
  if (touched.length === 0) return request
  const { inTransaction: outer } = request
  const project = Effect.fnUntraced(
    function*(events: ReadonlyArray<RecordedEvent>): Effect.fn.Return<void, EventStoreError> {
      // All are folded before any is written, so that a failure leaves a store without transactions of its own untouched too.
      const writes = yield* Effect.forEach(touched, ({ handles, projection }) =>
        Effect.flatMap(
          ProjectionFold.fold(
            projection,
            events.filter((event) => handles.has(event.type)),
            (keys) => documents.lock(projection.id, keys),
            "stop"
          ),
          ({ changes, failures: [failure] }) =>
            failure === undefined ? Effect.succeed({ projection: projection.id, changes }) : Effect.fail(failure.error)
        ))
      if (outer !== undefined) yield* outer(events)
      yield* documents.write(writes)
    },
    Effect.withSpan("Projector.inline")
  )
  return { ...request, inTransaction: project }
}
