/**
 * Calls the handler of an Rpc in process, without encoding.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Headers from "effect/http/Headers"
import * as Rpc from "effect/rpc/Rpc"
import { RequestId } from "effect/rpc/RpcMessage"
import * as Tracer from "effect/Tracer"

const client = new Rpc.ServerClient(0)
const requestId = RequestId("0")

/**
 * Calls the handler that the context holds for an Rpc. The handler keeps the services it was built with; the caller's span is its
 * parent.
 *
 * @since 0.1.0
 * @category calling
 */
export const call = <R extends Rpc.Any>(
  rpc: R,
  payload: Rpc.Payload<R>
): Effect.Effect<Rpc.Success<R>, Rpc.Error<R>, Rpc.ToHandler<R>> =>
  Effect.contextWith((context: Context.Context<Rpc.ToHandler<R>>) => {
    // `Rpc.ToHandler<R>` in the requirements says that the context has, under the Rpc's key, the handler made for it; neither
    // the key nor the erased handler can show it. RpcGroup.accessHandler does the same.
    const { context: built, handler } = context.mapUnsafe.get(rpc.key) as Rpc.Handler<string>
    const result = handler(payload, { client, requestId, headers: Headers.empty, rpc }) as Rpc.WrapperOr<
      Effect.Effect<Rpc.Success<R>, Rpc.Error<R>>
    >
    const effect = Rpc.isWrapper(result) ? result.value : result
    return Effect.provideContext(effect, Context.omit(Tracer.ParentSpan)(built))
  })

/**
 * A context with the handlers of Rpcs, each running with the services of `context`. The caller sees to it that each handler
 * succeeds and fails as its Rpc says.
 *
 * @since 0.1.0
 * @category handling
 */
export const handlers = <R extends Rpc.Any, Services>(
  implementations: Iterable<
    readonly [rpc: R, handle: (payload: Rpc.Payload<R>) => Effect.Effect<unknown, unknown, Services>]
  >,
  context: Context.Context<Services>
): Context.Context<Rpc.ToHandler<R>> => {
  const entries = new Map<string, unknown>()
  for (const [rpc, handler] of implementations) entries.set(rpc.key, { tag: rpc._tag, handler, context })
  // The same map from Rpc keys to handlers that RpcGroup.toHandlers makes.
  return Context.makeUnsafe(entries)
}
