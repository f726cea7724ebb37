/**
 * The users by endpoints of `evsrc/http`, as a handler of web requests inside Hono. It needs no code for each request.
 */
import { getRequestListener } from "@hono/node-server"
import * as Effect from "effect/Effect"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import type { EventStore } from "evsrc"
import { HttpCommand, HttpFallback, HttpHandlers, HttpQuery, HttpSource, HttpStream } from "evsrc/http"
import { Hono } from "hono"
import { createServer } from "node:http"
import { DeactivateUser, RegisterUser, RenameUser } from "../users/contract/UserCommands.ts"
import { UserEvent } from "../users/contract/UserEvent.ts"
import { GetUser } from "../users/contract/UserQueries.ts"
import { listen, type Listening } from "./Listen.ts"
import { UsersLayer } from "./UsersApp.ts"

const path = "/users/:userId"
const ofExistingUser = { UserNotFound: 404, UserIsDeactivated: 409 } as const

const changes = HttpStream.changes("changes", { path: "/changes", data: UserEvent })

const Api = HttpApi.make("users").add(
  HttpApiGroup.make("users").add(
    HttpCommand.endpoint(RegisterUser, { path: "/users", success: 201, status: { UserAlreadyRegistered: 409 } }),
    HttpCommand.endpoint(RenameUser, { path, method: "PATCH", status: ofExistingUser }),
    HttpCommand.endpoint(DeactivateUser, { path, method: "DELETE", status: ofExistingUser }),
    HttpQuery.endpoint(GetUser, { path, status: { UserNotFound: 404 } }),
    changes
  )
)

const Handlers = HttpHandlers.layerWith(
  Api,
  "users",
  (others) =>
    others.handle("changes", HttpSource.changes(changes, HttpSource.ofEvents(UserEvent, ({ event }) => event)))
)

const Routes = Layer.merge(HttpApiBuilder.layer(Api), HttpFallback.layer(Api)).pipe(Layer.provide(Handlers))

/** The handlers of requests need the event store, too. */
const Program = Layer.unwrap(
  Effect.map(
    Effect.context<EventStore.EventStore>(),
    (stores) => Routes.pipe(HttpRouter.provideRequest(Layer.succeedContext(stores)))
  )
)

export const serve = async (port = 0): Promise<Listening> => {
  const { dispose, handler } = HttpRouter.toWebHandler(
    Program.pipe(Layer.provide([UsersLayer, HttpServer.layerServices])),
    { disableLogger: true }
  )
  const server = new Hono().mount("/", (request) => handler(request))
  const { close, url } = await listen(createServer(getRequestListener(server.fetch)), port)
  return { url, close: () => close().then(dispose) }
}
