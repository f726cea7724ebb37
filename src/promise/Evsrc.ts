/**
 * Starts an app over a layer, for code that uses promises and not Effect.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { App, CallOptions } from "./App.ts"
import * as AppCalls from "./AppCalls.ts"
import { errorOf, interruptedItself, make } from "./AppRuntime.ts"

export type { After } from "./After.ts"
export type {
  Accepted,
  Answered,
  App,
  CallOptions,
  CloseOptions,
  CommandError,
  CommandResult,
  DispatchOptions,
  EventsOptions,
  Failed,
  Handled,
  NotHandled,
  NotProvided,
  Page,
  Provided,
  QueryError,
  QueryResult,
  ReadOptions
} from "./App.ts"
export type { Subscription } from "./Subscription.ts"

/**
 * The type of a layer that requires services which nothing provides, so that the compiler names them.
 *
 * @since 0.1.0
 * @category models
 */
export interface MissingRequirements<Services> {
  readonly "~the layer requires services; provide them by Layer.provide": Services
}

/**
 * Requires that a layer has no requirements left.
 *
 * @since 0.1.0
 * @category models
 */
export type Complete<Missing> = [Missing] extends [never] ? unknown : MissingRequirements<Missing>

/**
 * The type of the app over a layer.
 *
 * **Example** (a function that takes the app)
 *
 * ```ts
 * type Shop = Evsrc.AppOf<typeof ShopLayer>
 * const serve = (app: Shop) => createServer(…)
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export type AppOf<L extends Layer.Any> = App<Layer.Success<L>>

/**
 * Builds a layer, and returns the app over it. Rejects with the error of the layer, after everything that was built is released.
 *
 * **Example** (a command and a query)
 *
 * ```ts
 * const app = await Evsrc.start(ShopLayer)
 * const paid = await app.dispatch(PayOrder, { orderId, amount: 500 }, { actor: "ann" })
 * if (!paid.ok) return response.status(409).json({ error: paid.error._tag })
 * const order = await app.ask(GetOrder, { orderId }, { after: paid.receipt })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const start = async <Services, E, Missing>(
  layer: Complete<Missing> & Layer.Layer<Services, E, Missing>,
  { signal }: CallOptions = {}
): Promise<App<Services>> => {
  signal?.throwIfAborted()
  const scope = Scope.makeUnsafe()
  const given: Layer.Layer<Services, E, Missing> = layer
  // The type of the parameter ensures that nothing is missing.
  const complete = given as Layer.Layer<Services, E>
  const built = await Effect.runPromiseExit(Layer.buildWithScope(complete, scope), { signal })
  if (Exit.isSuccess(built)) return AppCalls.make<Services>(make(built.value, scope))
  await Effect.runPromise(Scope.close(scope, built))
  const error = Cause.findErrorOption(built.cause)
  if (Option.isSome(error)) throw error.value
  if (!Cause.hasInterruptsOnly(built.cause)) throw errorOf(Cause.squash(built.cause))
  throw signal?.aborted === true ? signal.reason : interruptedItself()
}
