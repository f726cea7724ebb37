/**
 * Asks queries of their handlers.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Rpc from "effect/rpc/Rpc"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import type { Position } from "../core/Position.ts"
import { ReadAfter } from "../core/ReadAfter.ts"
import type { Receipt } from "../core/Receipt.ts"

/**
 * - `after`: answer only once the read models asked have reached this receipt or position, so that one reads one's own writes
 * - `timeout`: how long to wait for that at most; 5 seconds by default. Then the query fails with `ProjectionBehind`
 *
 * @since 0.1.0
 * @category options
 */
export interface AskOptions {
  readonly after?: Receipt | Position | undefined
  readonly timeout?: Duration.Input | undefined
}

/**
 * Asks a query in process. It requires the handler of the query, which `QueryBus.handler` provides.
 *
 * @since 0.1.0
 * @category asking
 */
export const ask = <Q extends Rpc.AnyWithProps>(
  query: Q,
  payload: Rpc.Payload<Q>,
  options: AskOptions = {}
): Effect.Effect<Rpc.Success<Q>, Rpc.Error<Q>, Rpc.ToHandler<Q>> => {
  const { after, timeout } = options
  const answer = InProcessRpc.call(query, payload).pipe(
    Effect.withSpan(`QueryBus.ask ${query._tag}`, { attributes: { "evsrc.query": query._tag } })
  )
  return after === undefined ? answer : Effect.provideService(answer, ReadAfter, {
    position: typeof after === "bigint" ? after : after.position,
    timeout: Duration.fromInputUnsafe(timeout ?? "5 seconds")
  })
}

/**
 * The handler of a query. The services it needs are resolved once, when the layer is built.
 *
 * **Example** (a handler over a read model)
 *
 * ```ts
 * QueryBus.handler(GetUser, ({ userId }) =>
 *   Effect.flatMap(ProjectionStore.get(Users, userId), Option.match({
 *     onNone: () => Effect.fail(new UserNotFound({ userId })),
 *     onSome: Effect.succeed
 *   })))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const handler = <Q extends Rpc.Any, R>(
  query: Q,
  handle: (payload: Rpc.Payload<Q>) => Effect.Effect<Rpc.Success<Q>, Rpc.Error<Q>, R>
): Layer.Layer<Rpc.ToHandler<Q>, never, R> =>
  Layer.effectContext(Effect.map(Effect.context<R>(), (context) => InProcessRpc.handlers([[query, handle]], context)))
