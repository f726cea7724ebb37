/**
 * Sees to it that the handlers of projections are part of the projection store's transactions.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import type { Handler } from "../consumer/BatchProcessor.ts"
import * as EventHandlers from "../consumer/EventHandlers.ts"
import type * as Projection from "./Projection.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"

/**
 * Gives handlers the services that are there when their layer is built. It dies when a projection has handlers and the `SqlClient` is not
 * that of the projection store: what they write would be committed apart from the checkpoint, and now and then twice or not at all.
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
        `${maker}: "${first.name}" must be given the SqlClient of the projection store, so that what it writes commits with the checkpoint`
      )
    )
  }
  return ({ handle }) => (record) =>
    // The type of the layer has asked for the services of every handler.
    Effect.provideContext(handle(record), context as Context.Context<unknown>)
})
