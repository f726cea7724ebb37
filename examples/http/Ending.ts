/**
 * Tells responses without an end of their own when the server is to end.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Layer from "effect/Layer"

export class Ending extends Context.Service<Ending, Deferred.Deferred<void>>()("evsrc/examples/http/Ending") {}

export const layer = Layer.effect(Ending, Deferred.make<void>())
