/**
 * The handlers of commands and queries that are built in this program. Layers that are merged overwrite each other's services without an error, so
 * the registry finds two handlers of one command or query.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Event from "../event/Event.ts"
import * as EventMerge from "../event/EventMerge.ts"
import * as InProcessRpc from "./InProcessRpc.ts"

/**
 * What handles commands or a query: an aggregate's decider, a decision, or the handler of a query. The same owner may be built several times, such as for
 * several stores.
 *
 * @since 0.1.0
 * @category models
 */
export interface Owner {
  /** The definition, by which two owners are compared. */
  readonly definition: object
  /** Names it in the error, such as `the aggregate "Order"`. */
  readonly name: string
  /** The events that its commands write, and the store to which they write them. */
  readonly writes?: {
    readonly events: Event.Any
    readonly store: object
    /** The name of the aggregate, with which the names of its streams begin. */
    readonly aggregate?: string | undefined
    /** The name of the command of a decision whose events go to a stream of their own, with which the names of these streams begin. */
    readonly ownStreams?: string | undefined
  } | undefined
}

/**
 * The registry of a program.
 *
 * @since 0.1.0
 * @category services
 */
export class HandlerRegistry extends Context.Service<HandlerRegistry, {
  /**
   * Registers the owner of the handlers of commands or queries for as long as the scope lives. Dies when another owner handles one of them, or writes
   * other events of the same name, or to the same streams, in the same store, unless the context has the handlers of that owner: then the layer is provided within a
   * program that has them, and replaces them on purpose.
   */
  readonly register: (
    owner: Owner,
    commands: Iterable<InProcessRpc.AnyRpc>
  ) => Effect.Effect<void, never, Scope.Scope>
}>()("evsrc/command/HandlerRegistry") {}

interface Registered {
  readonly rpc: InProcessRpc.AnyRpc
  readonly owner: Owner
}

const twoHandlers = (rpc: InProcessRpc.AnyRpc, one: Owner, other: Owner): string =>
  `evsrc: "${rpc._tag}" has two handlers, ${one.name} and ${other.name}, of which only one would be called; leave one out, or `
  + "rename one of the two definitions"

/** An id of a command, which comes from outside, would select an instance of the aggregate. */
const sharedStreams = (one: Owner, other: Owner): string | undefined => {
  const [aggregate, own] = [one.writes?.aggregate, other.writes?.ownStreams]
  return aggregate === undefined || own === undefined || !`${own}-`.startsWith(`${aggregate}-`)
    ? undefined
    : `evsrc: ${other.name} has no \`stream\`, so its events go to streams named "${own}-<command id>", which are instances of ${one.name}; `
      + "rename one of the two, or name the stream with the option `stream` of Decision.make"
}

/** A consumer or a model that selects an event by its name reads the events of both owners. */
const twoEvents = (one: Owner, other: Owner): string | undefined => {
  if (one.writes === undefined || other.writes === undefined || one.writes.store !== other.writes.store) {
    return undefined
  }
  const shared = sharedStreams(one, other) ?? sharedStreams(other, one)
  if (shared !== undefined) return shared
  const conflict = EventMerge.conflictOf(one.writes.events, other.writes.events)
  return conflict === undefined ? undefined : `evsrc: ${one.name} and ${other.name} write ${conflict}`
}

/**
 * The one layer of the registry. Layers that are built with one memo map share it: the layers of one `Effect.provide`, and those provided within
 * it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<HandlerRegistry> = Layer.sync(HandlerRegistry, () => {
  const registered = new Set<Registered>()
  const add = (owner: Owner, rpc: InProcessRpc.AnyRpc, context: Context.Context<never>) =>
    Effect.suspend(() => {
      for (const other of registered) {
        if (other.owner.definition === owner.definition) continue
        if (InProcessRpc.ownerOf(context, other.rpc) === other.owner.definition) continue
        const problem = other.rpc.key === rpc.key ? twoHandlers(rpc, other.owner, owner) : twoEvents(other.owner, owner)
        if (problem !== undefined) return Effect.die(new Error(problem))
      }
      const entry = { rpc, owner }
      registered.add(entry)
      return Effect.succeed(entry)
    })
  return HandlerRegistry.of({
    register: (owner, commands) =>
      Effect.contextWith((context: Context.Context<Scope.Scope>) =>
        Effect.forEach(
          commands,
          (rpc) =>
            Effect.acquireRelease(add(owner, rpc, context), (entry) => Effect.sync(() => registered.delete(entry))),
          { discard: true }
        )
      )
  })
})

/**
 * Registers the owner of the handlers that a layer provides.
 *
 * @since 0.1.0
 * @category combinators
 */
export const register = (
  owner: Owner,
  commands: Iterable<InProcessRpc.AnyRpc>
): Effect.Effect<void, never, Scope.Scope | HandlerRegistry> =>
  Effect.flatMap(HandlerRegistry, (registry) => registry.register(owner, commands))
