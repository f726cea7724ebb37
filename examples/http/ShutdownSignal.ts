/**
 * A signal that completes when the server shuts down, so that open event streams end.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { HttpSource } from "evsrc/http"

export class ShutdownSignal
  extends Context.Service<ShutdownSignal, Deferred.Deferred<void>>()("evsrc/examples/http/ShutdownSignal")
{}

export const layer = Layer.effectContext(
  Effect.map(
    Deferred.make<void>(),
    (signal) => Context.make(ShutdownSignal, signal).pipe(Context.add(HttpSource.Shutdown, Deferred.await(signal)))
  )
)
