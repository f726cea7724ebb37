/**
 * The handlers of commands and queries that are built in this program. Layers that are merged overwrite each other's services without an error, so
 * two handlers of one command or query are found here.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as InProcessRpc from "./InProcessRpc.ts"

/**
 * What handles commands or a query: an aggregate's decider, a decision, or the handler of a query. The same owner may be built several times, such as for several stores.
 *
 * @since 0.1.0
 * @category models
 */
export interface Owner {
  /** The definition, by which two owners are compared. */
  readonly definition: object
  /** Names it in the error, such as `Aggregate.layer of "Order"`. */
  readonly name: string
}

/**
 * The registry of a program.
 *
 * @since 0.1.0
 * @category services
 */
export class HandlerRegistry extends Context.Service<HandlerRegistry, {
  /**
   * Registers the owner of the handlers of commands or queries for as long as the scope lives. Dies when another owner handles one of them, unless the context has
   * that handler: then the layer is provided within a program that has it, and replaces it on purpose.
   */
  readonly register: (
    owner: Owner,
    commands: Iterable<InProcessRpc.AnyRpc>
  ) => Effect.Effect<void, never, Scope.Scope>
}>()("evsrc/command/HandlerRegistry") {}

/**
 * The one layer of the registry. Layers that are built with one memo map share it: the layers of one `Effect.provide`, and those provided within
 * it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<HandlerRegistry> = Layer.sync(HandlerRegistry, () => {
  const registered = new Set<readonly [key: string, owner: Owner]>()
  const add = (owner: Owner, rpc: InProcessRpc.AnyRpc, context: Context.Context<never>) =>
    Effect.suspend(() => {
      for (const [key, other] of registered) {
        if (key !== rpc.key || other.definition === owner.definition) continue
        if (InProcessRpc.ownerOf(context, rpc) === other.definition) continue
        return Effect.die(
          new Error(
            `evsrc: "${rpc._tag}" has two handlers, ${other.name} and ${owner.name}, of which only one would be called; leave one out, or `
              + "rename one of the two definitions"
          )
        )
      }
      const entry = [rpc.key, owner] as const
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
