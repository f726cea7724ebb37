/**
 * Calls the handler of an Rpc in the same process, without encoding: the payload is constructed and validated, and the handler
 * receives the decoded value.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Headers from "effect/http/Headers"
import * as Rpc from "effect/rpc/Rpc"
import { RequestId } from "effect/rpc/RpcMessage"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Tracer from "effect/Tracer"
import { InvalidCommand, InvalidQuery } from "../core/errors.ts"
import { ReadAfter } from "../core/ReadAfter.ts"
import { CommandContext } from "./CommandContext.ts"

/** An unknown field is most likely a misspelt optional one, so it is an error. */
const strict = { parseOptions: { onExcessProperty: "error" } } as const

const format = SchemaIssue.makeFormatterDefault()

/**
 * Returns the payload of a command. Fails with `InvalidCommand` when the payload does not satisfy its Schema or has a field that
 * the Schema does not have.
 *
 * @since 0.1.0
 * @category constructors
 */
export const commandPayload = <C extends Rpc.AnyWithProps>(
  command: C,
  payload: Rpc.PayloadConstructor<C>
): Effect.Effect<Rpc.Payload<C>, InvalidCommand> =>
  construct(command, payload, (message) => new InvalidCommand({ command: command._tag, message }))

/**
 * Returns the payload of a query. Fails with `InvalidQuery` when the payload does not satisfy its Schema or has a field that the
 * Schema does not have.
 *
 * @since 0.1.0
 * @category constructors
 */
export const queryPayload = <Q extends Rpc.AnyWithProps>(
  query: Q,
  payload: Rpc.PayloadConstructor<Q>
): Effect.Effect<Rpc.Payload<Q>, InvalidQuery> =>
  construct(query, payload, (message) => new InvalidQuery({ query: query._tag, message }))

const construct = <R extends Rpc.AnyWithProps, E>(
  rpc: R,
  payload: Rpc.PayloadConstructor<R>,
  invalid: (message: string) => E
): Effect.Effect<Rpc.Payload<R>, E> =>
  rpc.payloadSchema.makeEffect(payload, strict).pipe(
    Effect.mapBoth({
      onFailure: (issue) => invalid(format(issue)),
      // `makeEffect` of the Rpc's own payload Schema makes its payload; the erased Schema of `AnyWithProps` says unknown.
      onSuccess: (valid) => valid as Rpc.Payload<R>
    })
  )

/** The handler that a context holds for an Rpc. `rpc` is missing when `RpcGroup.toHandlers` made it. */
interface Entry extends Rpc.Handler<string> {
  readonly rpc?: Rpc.AnyWithProps
}

const client = new Rpc.ServerClient(0)
const requestId = RequestId("0")

/**
 * Calls the handler that the context holds for an Rpc. The handler runs with the services of its layer; the span, the command's
 * context and the position to wait for are the caller's.
 *
 * @since 0.1.0
 * @category combinators
 */
export const call = <R extends Rpc.AnyWithProps>(
  rpc: R,
  payload: Rpc.Payload<R>
): Effect.Effect<Rpc.Success<R>, Rpc.Error<R>, Rpc.ToHandler<R>> =>
  Effect.contextWith((context: Context.Context<Rpc.ToHandler<R>>) => {
    // `Rpc.ToHandler<R>` in the requirements says that the context has, under the Rpc's key, the handler made for it; neither
    // the key nor the erased handler can show it. RpcGroup.accessHandler does the same.
    const { context: built, handler, rpc: own } = context.mapUnsafe.get(rpc.key) as Entry
    if (own !== undefined && own.payloadSchema !== rpc.payloadSchema) {
      return Effect.die(
        new Error(
          `evsrc: the layer provides a handler for another definition named "${rpc._tag}"; names of commands and queries must be unique`
        )
      )
    }
    const result = handler(payload, { client, requestId, headers: Headers.empty, rpc }) as Rpc.WrapperOr<
      Effect.Effect<Rpc.Success<R>, Rpc.Error<R>>
    >
    const effect = Rpc.isWrapper(result) ? result.value : result
    return Effect.provideContext(effect, Context.omit(Tracer.ParentSpan, CommandContext, ReadAfter)(built))
  })

/**
 * Returns a context with the handlers of Rpcs, each of which runs with the services of `context`. The caller ensures that each
 * handler succeeds and fails as its Rpc declares.
 *
 * @since 0.1.0
 * @category constructors
 */
export const handlers = <R extends Rpc.Any, Services>(
  implementations: Iterable<
    readonly [rpc: R, handle: (payload: Rpc.Payload<R>) => Effect.Effect<unknown, unknown, Services>]
  >,
  context: Context.Context<Services>
): Context.Context<Rpc.ToHandler<R>> => {
  const entries = new Map<string, unknown>()
  for (const [rpc, handler] of implementations) entries.set(rpc.key, { tag: rpc._tag, handler, context, rpc })
  // The same map from Rpc keys to handlers that RpcGroup.toHandlers makes.
  return Context.makeUnsafe(entries)
}
