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
import { ReadAfter } from "../core/ReadAfter.ts"
import { CommandContext } from "./CommandContext.ts"

/** What a context holds for an Rpc; `rpc` is there when `handlers` made it. */
interface Entry extends Rpc.Handler<string> {
  readonly rpc?: Rpc.AnyWithProps
}

const client = new Rpc.ServerClient(0)
const requestId = RequestId("0")

/**
 * Calls the handler that the context holds for an Rpc. The handler keeps the services it was built with; what belongs to the call (its
 * span, the command's context, the position to wait for) is the caller's.
 *
 * @since 0.1.0
 * @category calling
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
        new Error(`evsrc: the handler at hand for "${rpc._tag}" is that of another Rpc of the same name`)
      )
    }
    const result = handler(payload, { client, requestId, headers: Headers.empty, rpc }) as Rpc.WrapperOr<
      Effect.Effect<Rpc.Success<R>, Rpc.Error<R>>
    >
    const effect = Rpc.isWrapper(result) ? result.value : result
    return Effect.provideContext(effect, Context.omit(Tracer.ParentSpan, CommandContext, ReadAfter)(built))
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
  for (const [rpc, handler] of implementations) entries.set(rpc.key, { tag: rpc._tag, handler, context, rpc })
  // The same map from Rpc keys to handlers that RpcGroup.toHandlers makes.
  return Context.makeUnsafe(entries)
}
