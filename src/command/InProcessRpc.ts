/**
 * Calls the handler of an Rpc in the same process, without encoding: the handler receives the payload as `RpcPayload` makes it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Headers from "effect/http/Headers"
import * as References from "effect/References"
import * as Rpc from "effect/rpc/Rpc"
import { RequestId } from "effect/rpc/RpcMessage"
import type * as Schema from "effect/Schema"
import * as Tracer from "effect/Tracer"
import * as HandledEvent from "../core/HandledEvent.ts"
import { ReadAfter } from "../core/ReadAfter.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import type { HandlerOf } from "./Command.ts"
import { CommandContext, DefaultActor } from "./CommandContext.ts"

/**
 * Any command or query.
 *
 * @since 0.1.0
 * @category models
 */
export interface AnyRpc extends Rpc.Any {
  readonly payloadSchema: { readonly Type: unknown; readonly "~type.make.in": unknown }
  readonly successSchema: { readonly Type: unknown }
  readonly errorSchema: { readonly Type: unknown }
}

/**
 * Returns the payload Schema of a command or query. `Command.Any` and `Query.Any` do not say that it is a Schema.
 *
 * @since 0.1.0
 * @category accessors
 */
export const payloadSchema = (rpc: Pick<AnyRpc, "payloadSchema">): Schema.Top =>
  // `Rpc.make` takes nothing but a Schema, and nothing else makes an Rpc.
  rpc.payloadSchema as Schema.Top

/**
 * Returns the Schema of what a command or query succeeds with. `Query.Any` does not say that it is a Schema.
 *
 * @since 0.1.0
 * @category accessors
 */
export const successSchema = (rpc: Pick<AnyRpc, "successSchema">): Schema.Top =>
  // `Rpc.make` takes nothing but a Schema, and nothing else makes an Rpc.
  rpc.successSchema as Schema.Top

/** The handler that a context holds for an Rpc. `RpcGroup.toHandlers` makes the first part of it. */
interface Entry extends Rpc.Handler<string> {
  readonly rpc?: AnyRpc
  /** The definition of what handles a command: an aggregate's decider or a decision. */
  readonly owner?: object | undefined
  /** The names of personal fields in the events of the handler; `undefined` when these are not known. */
  readonly personal?: ReadonlySet<string> | undefined
  /** Whether the payload or the events have personal fields. */
  readonly isPersonal?: boolean | undefined
}

/**
 * Returns the names of the personal fields in the events of the handler that a context holds for an Rpc, as far as they are known.
 *
 * @since 0.1.0
 * @category accessors
 */
export const personalOf = (context: Context.Context<never>, rpc: AnyRpc): ReadonlySet<string> =>
  entryOf(context, rpc)?.personal ?? new Set()

const keys = new WeakMap<AnyRpc, Context.Key<unknown, Entry>>()

const entryOf = (context: Context.Context<never>, rpc: AnyRpc): Entry | undefined => {
  let key = keys.get(rpc)
  if (key === undefined) keys.set(rpc, key = Context.Service<unknown, Entry>(rpc.key))
  // What is under the key of an Rpc is the handler made for it.
  return Context.getOrUndefined(context, key)
}

/**
 * Returns the definition whose handler the context holds for a command.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ownerOf = (context: Context.Context<never>, rpc: AnyRpc): object | undefined =>
  entryOf(context, rpc)?.owner

/**
 * The handler of an Rpc, as its caller sees it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handler<R extends AnyRpc> {
  /**
   * Whether its errors may quote personal data: those of events of the handler, or of the payload. They may when the handler has no known events.
   */
  readonly isPersonal: boolean
  /**
   * Calls the handler with a command's context, or with that of the caller. It runs with the services of its layer; the span, the position to wait
   * for, and the default actor if the caller has one, are the caller's.
   */
  readonly call: (
    payload: R["payloadSchema"]["Type"],
    command?: CommandContext
  ) => Effect.Effect<R["successSchema"]["Type"], R["errorSchema"]["Type"]>
}

const client = new Rpc.ServerClient(0)
const requestId = RequestId("0")

/**
 * Returns the handler that a context holds for an Rpc. Without one, or with that of another definition of the same name, a call dies.
 *
 * @since 0.1.0
 * @category accessors
 */
export const handlerOf = <R extends AnyRpc>(caller: Context.Context<HandlerOf<R>>, rpc: R): Handler<R> => {
  const entry = entryOf(caller, rpc)
  if (entry === undefined) {
    return missing(
      `evsrc: the program has no handler of "${rpc._tag}"; provide the layer that handles it: Aggregate.layer or Decision.layer for a `
        + "command, QueryBus.handler for a query"
    )
  }
  const { handler, isPersonal = true, rpc: own } = entry
  if (own !== undefined && own.payloadSchema !== rpc.payloadSchema) {
    return missing(
      `evsrc: the layer provides a handler for another definition named "${rpc._tag}"; names of commands and queries must be unique`
    )
  }
  const services = missingServices(entry, caller)
  return {
    isPersonal,
    call: (payload, command) => {
      const result = handler(payload, { client, requestId, headers: Headers.empty, rpc }) as Rpc.WrapperOr<
        Effect.Effect<R["successSchema"]["Type"], R["errorSchema"]["Type"]>
      >
      const effect = Rpc.isWrapper(result) ? result.value : result
      return Effect.updateContext(effect, (within: Context.Context<never>) => {
        const context = services === undefined ? within : Context.merge(within, services)
        return command === undefined ? context : Context.add(context, CommandContext, command)
      })
    }
  }
}

const missing = <R extends AnyRpc>(message: string): Handler<R> => ({
  isPersonal: true,
  call: () => Effect.die(new Error(message))
})

/** Services of a handler's layer. */
interface Services {
  readonly context: Context.Context<never>
  readonly entries: ReadonlyArray<{ readonly key: Context.Key<unknown, unknown>; readonly service: unknown }>
}

/** The services of handlers' layers, without those that are the caller's. */
const services = new WeakMap<Context.Context<never>, Services>()
const servicesWithoutActor = new WeakMap<Context.Context<never>, Services>()

/** Returns the services of a handler's layer, or `undefined` if the caller has them all, as a program that provides its layers together. */
const missingServices = (
  { context: built }: Entry,
  caller: Context.Context<never>
): Context.Context<never> | undefined => {
  const hasActor = Context.getOrUndefined(caller, DefaultActor) !== undefined
  const known = hasActor ? servicesWithoutActor : services
  let found = known.get(built)
  if (found === undefined) known.set(built, found = servicesOf(built, hasActor))
  for (const { key, service } of found.entries) {
    if (Context.getOrUndefined(caller, key) !== service) return found.context
  }
  return undefined
}

const servicesOf = (built: Context.Context<never>, hasActor: boolean): Services => {
  const own = Context.omit(
    Tracer.ParentSpan,
    References.CurrentStackFrame,
    CommandContext,
    ReadAfter,
    HandledEvent.Current
  )(built)
  const context = hasActor ? Context.omit(DefaultActor)(own) : own
  const entries = Array.from(context.mapUnsafe, ([key, service]) => ({
    key: Context.Service<unknown, unknown>(key),
    service
  }))
  return { context, entries }
}

/**
 * Returns a context with the handlers of Rpcs, each of which runs with the services of `context`. The caller ensures that each
 * handler succeeds and fails as its Rpc declares.
 *
 * @since 0.1.0
 * @category constructors
 */
export const handlers = <R extends AnyRpc, Services>(
  implementations: Iterable<
    readonly [rpc: R, handle: (payload: R["payloadSchema"]["Type"]) => Effect.Effect<unknown, unknown, Services>]
  >,
  context: Context.Context<Services>,
  /** The definition of what handles commands, and the names of personal fields in their events. */
  { owner, personal }: Pick<Entry, "owner" | "personal"> = {}
): Context.Context<HandlerOf<R>> => {
  const entries = new Map<string, unknown>()
  for (const [rpc, handler] of implementations) {
    const isPersonal = personal === undefined || personal.size > 0 || PersonalFields.isPersonal(payloadSchema(rpc))
    entries.set(rpc.key, { tag: rpc._tag, handler, context, rpc, owner, personal, isPersonal })
  }
  // The same map from Rpc keys to handlers that RpcGroup.toHandlers makes.
  return Context.makeUnsafe(entries)
}
