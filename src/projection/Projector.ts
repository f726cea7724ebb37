/**
 * Runs projections: asynchronous ones in the background, inline ones in the transactions of appends.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TransactionalProcessor from "../consumer/batch/TransactionalProcessor.ts"
import * as ConsumerRegistry from "../consumer/ConsumerRegistry.ts"
import type { ConsumerStatus } from "../consumer/ConsumerStatus.ts"
import * as StoreSchemas from "../consumer/StoreSchemas.ts"
import * as ConsumerWorker from "../consumer/worker/ConsumerWorker.ts"
import type { WorkerOptions } from "../consumer/worker/WorkerOptions.ts"
import { internals } from "../core/internals.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as DocumentProcessor from "./DocumentProcessor.ts"
import type * as Projection from "./Projection.ts"
import * as ProjectionStore from "./ProjectionStore.ts"
import * as SharedTransaction from "./SharedTransaction.ts"

export type { ConsumerState, ConsumerStatus } from "../consumer/ConsumerStatus.ts"
export type { WorkerOptions } from "../consumer/worker/WorkerOptions.ts"
export {
  closeInlineGap,
  type CloseInlineGapOptions,
  type InlineOptions,
  inlineProjections,
  layerInline,
  repairInline,
  retireInline
} from "./inline/InlineProjector.ts"

/**
 * The projections that this program runs. `status` lists those of every `Projector.layer` over the same store.
 *
 * @since 0.1.0
 * @category services
 */
export class Projector extends Context.Service<Projector, {
  /** Returns the status of each projection, in the order of the layers. */
  readonly status: Effect.Effect<ReadonlyArray<ConsumerStatus>>
}>()("evsrc/projection/Projector") {}

/**
 * Returns a layer that runs projections in the background. Several processes may run the same projections: they share the partitions of each,
 * and take over the partitions of a process that died. The layer requires the services that the handlers of the projections require.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const P extends Projection.Any<"async"> | Projection.AnyHandler<"async">>(
  projections: ReadonlyArray<P>,
  options: WorkerOptions = {}
): Layer.Layer<Projector, never, EventStore.EventStore | ProjectionStore.ProjectionStore | Projection.Services<P>> =>
  Layer.effect(
    Projector,
    Effect.gen(function*() {
      const registry = yield* ConsumerRegistry.ConsumerRegistry
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      yield* StoreSchemas.requireSame("Projector.layer", (yield* EventStore.EventStore)[internals].driver, driver)
      const bind = yield* SharedTransaction.make<Projection.Services<P>>("Projector.layer", driver, projections)
      const workers = yield* Effect.forEach(
        projections,
        (projection: Projection.Any | Projection.AnyHandler) =>
          ConsumerWorker.make(
            driver,
            projection._tag === "HandlerProjection"
              ? TransactionalProcessor.make(projection, bind(projection), projection, driver)
              : DocumentProcessor.make(projection, driver),
            options
          )
      )
      for (const { consumer, status } of workers) {
        yield* registry.register("Projector.layer", { consumer, store: driver, status })
      }
      yield* ConsumerWorker.runAll("Projector.layer", workers)
      return Projector.of({ status: registry.status(driver, "projection") })
    })
  ).pipe(Layer.provide(ConsumerRegistry.layer))
