/**
 * Dispatches queries to their handlers.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { HandlerOf } from "../command/Command.ts"
import * as HandlerRegistry from "../command/HandlerRegistry.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import * as RpcPayload from "../command/RpcPayload.ts"
import type { InvalidQuery } from "../core/errors.ts"
import * as LogPosition from "../core/LogPosition.ts"
import type { Position } from "../core/Position.ts"
import { ReadAfter } from "../core/ReadAfter.ts"
import type { Receipt } from "../core/Receipt.ts"
import { countQuery } from "../core/telemetry/metricUpdates.ts"
import * as safeSpan from "../core/telemetry/safeSpan.ts"
import type * as Query from "./Query.ts"

/**
 * How `ask` waits for the caller's own writes.
 *
 * @since 0.1.0
 * @category options
 */
export interface AskOptions {
  /**
   * The receipt or position that the read models of the query must have reached before they are read, so that the caller reads
   * its own writes. When the log was set back since, and does not have the event there, the query fails with `LogDiverged`; a bare
   * position cannot be checked.
   */
  readonly after?: Receipt | LogPosition.LogPosition | Position | undefined
  /** The longest wait for `after`, 5 seconds by default; then the query fails with `ProjectionBehind`. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * Asks a query in process and returns its answer.
 *
 * **Details**
 *
 * It requires the handler of the query, which `QueryBus.handler` provides. It fails with an error that the query declares, or with
 * an error of `Query.BusError`: `InvalidQuery` when the payload does not satisfy its Schema or has a field that the Schema does
 * not have, `ProjectionBehind` or `EventStoreError`.
 *
 * **Example** (a query that waits for the caller's own write)
 *
 * ```ts
 * const receipt = yield* CommandBus.dispatch(RenameUser, { userId, name })
 * const user = yield* QueryBus.ask(GetUser, { userId }, { after: receipt })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const ask = <Q extends Query.Any>(
  query: Q,
  payload: Query.PayloadInput<Q>,
  options: AskOptions = {}
): Effect.Effect<Query.Success<Q>, Query.Error<Q> | InvalidQuery, HandlerOf<Q>> =>
  run(query, () => RpcPayload.queryPayload(query, payload), options)

/**
 * Asks a query whose payload is JSON of unknown form, such as the parameters of a request, and returns its answer. The payload is decoded by the JSON codec of
 * its Schema; `InvalidQuery` lists all its problems.
 *
 * @since 0.1.0
 * @category combinators
 */
export const askUnknown = <Q extends Query.Any>(
  query: Q,
  json: unknown,
  options: AskOptions = {}
): Effect.Effect<Query.Success<Q>, Query.Error<Q> | InvalidQuery, HandlerOf<Q>> =>
  run(query, () => RpcPayload.queryPayloadOfJson(query, json), options)

/**
 * Asks the query of a name in an `RpcGroup` of queries, with a payload that is JSON of unknown form, and returns its answer. If the group has no query of the
 * name, it fails with `InvalidQuery`, which lists the names.
 *
 * @since 0.1.0
 * @category combinators
 */
export const askByName = <Q extends Query.Any>(
  group: RpcPayload.Group<Q>,
  name: string,
  json: unknown,
  options: AskOptions = {}
): Effect.Effect<Query.Success<Q>, Query.Error<Q> | InvalidQuery, HandlerOf<Q>> =>
  Effect.flatMap(RpcPayload.queryOfName(group, name), (query) => askUnknown(query, json, options))

const run = <Q extends Query.Any>(
  query: Q,
  payload: () => Effect.Effect<Query.Payload<Q>, InvalidQuery>,
  { after, timeout }: AskOptions
): Effect.Effect<Query.Success<Q>, Query.Error<Q> | InvalidQuery, HandlerOf<Q>> => {
  const answer = Effect.contextWith((caller: Context.Context<HandlerOf<Q>>) => {
    const asked = safeSpan.withSpan(
      Effect.suspend(() =>
        Effect.flatMapEager(payload(), (valid) => InProcessRpc.handlerOf(caller, query).call(valid))
      ),
      `QueryBus.ask ${query._tag}`,
      { "evsrc.query": query._tag },
      // It is not known what the handler of a query reads.
      true
    )
    return countQuery(asked, query._tag, caller)
  })
  return after === undefined ? answer : Effect.provideService(answer, ReadAfter, {
    ...positionOf(after),
    timeout: Duration.fromInputUnsafe(timeout ?? "5 seconds")
  })
}

const positionOf = (after: Receipt | LogPosition.LogPosition | Position): LogPosition.LogPosition =>
  typeof after === "object" && "events" in after ? LogPosition.ofReceipt(after) : LogPosition.from(after)

/**
 * Provides the handler of a query. The services that `handle` needs are resolved once, when the layer is built. Dies when another layer of the program
 * handles the query, unless this one is provided within a program that has the other.
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
export const handler = <Q extends Query.Any, R>(
  query: Q,
  handle: (payload: Query.Payload<Q>) => Effect.Effect<Query.Success<Q>, Query.Error<Q>, R>
): Layer.Layer<HandlerOf<Q>, never, R> =>
  Layer.effectContext(Effect.gen(function*() {
    yield* HandlerRegistry.register({ definition: handle, name: "a QueryBus.handler" }, [query])
    return InProcessRpc.handlers([[query, handle]], yield* Effect.context<R>(), { owner: handle })
  })).pipe(Layer.provide(HandlerRegistry.layer))
