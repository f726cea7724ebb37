/**
 * A signal that completes when the server shuts down, so that open event streams end.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Layer from "effect/Layer"

export class ShutdownSignal
  extends Context.Service<ShutdownSignal, Deferred.Deferred<void>>()("evsrc/examples/http/ShutdownSignal")
{}

export const layer = Layer.effect(ShutdownSignal, Deferred.make<void>())
