/**
 * The program on a socket, over whichever stores it is given.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import * as Users from "../users/Users.ts"
import * as Ending from "./Ending.ts"
import * as Listener from "./Listener.ts"
import * as Routes from "./Routes.ts"

/** Listens once everything else is ready, so that whoever can connect is answered. */
export const layer = (address: Listener.Address) =>
  Layer.unwrap(Effect.map(
    HttpRouter.toHttpEffect(Routes.layer),
    (app) => HttpServer.serve(app, HttpMiddleware.logger).pipe(Layer.provideMerge(Listener.layer(address)))
  )).pipe(
    Layer.provide([
      NodeHttpServer.layerHttpServices,
      Ending.layer,
      // The router would answer a long id as an unknown route; its Schema has better words for it.
      Layer.succeed(HttpRouter.RouterConfig, { maxParamLength: 16_384 }),
      Users.layer
    ])
  )
