/**
 * The HTTP application. It requires the stores.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import * as Shop from "../fulfilment/Shop.ts"
import * as Users from "../users/Users.ts"
import * as Listener from "./Listener.ts"
import * as Routes from "./Routes.ts"
import * as ShutdownSignal from "./ShutdownSignal.ts"

/** The server starts to listen after everything else is ready, so every accepted connection is served. */
export const layer = (address: Listener.Address) =>
  Layer.unwrap(Effect.map(
    HttpRouter.toHttpEffect(Routes.layer),
    (app) => HttpServer.serve(app, HttpMiddleware.logger).pipe(Layer.provideMerge(Listener.layer(address)))
  )).pipe(
    Layer.provide([
      NodeHttpServer.layerHttpServices,
      ShutdownSignal.layer,
      // With the default limit the router treats a long id as an unknown route; the id's Schema reports it better.
      Layer.succeed(HttpRouter.RouterConfig, { maxParamLength: 16_384 }),
      Users.layer,
      Shop.layer
    ])
  )
