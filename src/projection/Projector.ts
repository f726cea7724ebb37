/**
 * Brings projections up to date: asynchronous ones in the background, inline ones in the transactions of appends.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as BatchProcessor from "../consumer/BatchProcessor.ts"
import * as Consumer from "../consumer/Consumer.ts"
import * as ConsumerWorker from "../consumer/ConsumerWorker.ts"
import { internals } from "../core/internals.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import * as DocumentProcessor from "./DocumentProcessor.ts"
import type * as Projection from "./Projection.ts"
import * as ProjectionStore from "./ProjectionStore.ts"
import * as SharedTransaction from "./SharedTransaction.ts"

export { layerInline } from "./InlineProjector.ts"

export type {
  ConsumerState as ProjectionState,
  ConsumerStatus as ProjectionStatus,
  WorkerOptions as ProjectorOptions
} from "../consumer/ConsumerWorker.ts"

/**
 * The projections that this process works on.
 *
 * @since 0.1.0
 * @category services
 */
export class Projector extends Context.Service<Projector, {
  readonly status: Effect.Effect<ReadonlyArray<ConsumerWorker.ConsumerStatus>>
}>()("evsrc/projection/Projector") {}

/**
 * Runs projections in the background for as long as the layer lives. Several processes may run the same projections: they share out the
 * partitions of each, and take over those of one that has died. What the handlers of projections need, the layer needs.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const P extends Projection.Any<"async"> | Projection.AnyHandler<"async">>(
  projections: ReadonlyArray<P>,
  options: ConsumerWorker.WorkerOptions = {}
): Layer.Layer<Projector, never, EventStore.EventStore | ProjectionStore.ProjectionStore | Projection.Services<P>> =>
  Layer.effect(
    Projector,
    Effect.gen(function*() {
      Consumer.rejectDuplicates("Projector.layer", projections)
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const bind = yield* SharedTransaction.make<Projection.Services<P>>("Projector.layer", driver, projections)
      const groups = yield* Effect.forEach(
        projections,
        (projection: Projection.Any | Projection.AnyHandler) =>
          ConsumerWorker.make(
            driver,
            "handle" in projection
              ? BatchProcessor.transactional(projection, bind(projection), projection.retry, driver)
              : DocumentProcessor.make(projection, driver),
            options
          )
      )
      for (const group of groups) yield* Effect.forkScoped(group.run)
      return Projector.of({ status: Effect.sync(() => groups.map((group) => group.status())) })
    })
  )
