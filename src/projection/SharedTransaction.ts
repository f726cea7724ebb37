/**
 * Binds the handlers of projections to the transactions of the projection store.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import type { Handler } from "../consumer/batch/EventHandling.ts"
import * as EventHandlers from "../consumer/EventHandlers.ts"
import type * as Projection from "./Projection.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"

/**
 * Returns a function that provides handlers with the services of the layer that is being built. Dies when a projection has handlers and the
 * `SqlClient` is not that of the projection store: their writes would commit apart from the checkpoint, and could be repeated or lost.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*<R>(
  maker: string,
  driver: ProjectionStoreDriver,
  projections: ReadonlyArray<Projection.Any | Projection.AnyHandler>
): Effect.fn.Return<(projection: Projection.AnyHandler) => Handler, never, R> {
  const context = yield* EventHandlers.services<R>()
  const sql = yield* Effect.serviceOption(SqlClient.SqlClient)
  const first = projections.find((projection) => projection._tag === "HandlerProjection")
  if (first !== undefined && Option.isSome(sql) && sql.value.transactionService.key !== driver.transactions) {
    return yield* Effect.die(
      new Error(
        `${maker}: provide the handlers of "${first.name}" with the SqlClient of the projection store, so that their writes commit with the checkpoint`
      )
    )
  }
  return ({ handle }) => (record) =>
    // The type of the layer requires the services of every handler.
    Effect.provideContext(handle(record), context as Context.Context<unknown>)
})
