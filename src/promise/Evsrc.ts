/**
 * Starts the app of a layer, for code that uses promises instead of Effect.
 *
 * @since 0.1.0
 */
import type * as Layer from "effect/Layer"
import type { App, StartOptions } from "./App.ts"
import * as AppCalls from "./AppCalls.ts"
import * as AppLayer from "./AppLayer.ts"
import * as AppRuntime from "./AppRuntime.ts"

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
  Page,
  QueryError,
  QueryResult,
  ReadOptions,
  StartOptions
} from "./App.ts"
export type { Subscription } from "./Subscription.ts"

/**
 * The type of a layer with missing services, so that the compiler names them.
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
 * The type of the app of a layer.
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
 * Builds a layer, and returns its app. Rejects with the error of the layer, or with `LayerTimeout` when the build takes longer than `timeout` (15
 * minutes). Before it rejects, it releases everything that it has built.
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
  { signal, timeout = "15 minutes" }: StartOptions = {}
): Promise<App<Services>> => {
  const given: Layer.Layer<Services, E, Missing> = layer
  // The type of the parameter ensures that nothing is missing.
  const complete = given as Layer.Layer<Services, E>
  const built = await AppLayer.build(complete, AppLayer.durationOf("timeout", timeout), signal)
  return AppCalls.make<Services>(AppRuntime.make(built))
}
