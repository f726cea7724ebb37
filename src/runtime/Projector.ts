/**
 * Brings projections up to date: asynchronous ones in the background, inline ones in the transactions of appends.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Follower from "../domain/Follower.ts"
import type * as EventStore from "../store/EventStore.ts"
import * as ProjectionStore from "../store/ProjectionStore.ts"
import * as FollowerGroup from "./FollowerGroup.ts"
import * as HandlerTransaction from "./HandlerTransaction.ts"
import type * as Projection from "./Projection.ts"
import * as Work from "./Work.ts"

export { layerInline } from "./InlineProjection.ts"

export type {
  FollowerState as ProjectionState,
  FollowerStatus as ProjectionStatus,
  GroupOptions as ProjectorOptions
} from "./FollowerGroup.ts"

/**
 * The projections that this process works on.
 *
 * @since 0.1.0
 * @category services
 */
export class Projector extends Context.Service<Projector, {
  readonly status: Effect.Effect<ReadonlyArray<FollowerGroup.FollowerStatus>>
}>()("evsrc/runtime/Projector") {}

/**
 * Runs projections in the background for as long as the layer lives. Several processes may run the same projections: they share out the
 * partitions of each, and take over those of one that has died. What the handlers of projections need, the layer needs.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const P extends Projection.Any<"async"> | Projection.AnyHandler<"async">>(
  projections: ReadonlyArray<P>,
  options: FollowerGroup.GroupOptions = {}
): Layer.Layer<Projector, never, EventStore.EventStore | ProjectionStore.ProjectionStore | Projection.Services<P>> =>
  Layer.effect(
    Projector,
    Effect.gen(function*() {
      Follower.refuseTwice("Projector.layer", projections)
      const { driver } = yield* ProjectionStore.ProjectionStore
      const bind = yield* HandlerTransaction.make<Projection.Services<P>>("Projector.layer", driver, projections)
      const groups = yield* Effect.forEach(
        projections,
        (projection: Projection.Any | Projection.AnyHandler) =>
          FollowerGroup.make(
            "handle" in projection
              ? Work.transactional(projection, bind(projection), projection.retry, driver)
              : Work.documents(projection, driver),
            options
          )
      )
      for (const group of groups) yield* Effect.forkScoped(group.run)
      return Projector.of({ status: Effect.sync(() => groups.map((group) => group.status())) })
    })
  )
