/**
 * The users on Hono. Without the last line the program also runs on Bun, Deno and others.
 */
import { getRequestListener } from "@hono/node-server"
import { Hono } from "hono"
import { bodyLimit } from "hono/body-limit"
import { createServer } from "node:http"
import { DeactivateUser, RegisterUser, RenameUser } from "../users/contract/UserCommands.ts"
import { GetUser } from "../users/contract/UserQueries.ts"
import { type Answer, internalError, malformed, maxBody, notFound, ofCommand, ofQuery, tooLarge } from "./Answers.ts"
import { changesAfter, headers } from "./Changes.ts"
import { listen, type Listening } from "./Listen.ts"
import type { UsersApp } from "./UsersApp.ts"

const responseOf = ({ body, status }: Answer) => Response.json(body, { status })

export const serve = (app: UsersApp, port = 0): Promise<Listening> => {
  const server = new Hono()
  server.use(bodyLimit({ maxSize: maxBody, onError: () => responseOf(tooLarge) }))

  server.post("/users", async ({ req }) => {
    const commandId = req.header("idempotency-key")
    return responseOf(ofCommand(await app.dispatchUnknown(RegisterUser, await req.json(), { commandId }), 201))
  })
  server.patch("/users/:userId", async ({ req }) => {
    const payload = { ...await req.json(), ...req.param() }
    return responseOf(ofCommand(await app.dispatchUnknown(RenameUser, payload)))
  })
  server.delete(
    "/users/:userId",
    async ({ req }) => responseOf(ofCommand(await app.dispatchUnknown(DeactivateUser, req.param())))
  )
  server.get("/users/:userId", async ({ req }) => {
    const after = req.query("after")
    return responseOf(ofQuery(await app.askUnknown(GetUser, req.param(), { after })))
  })
  server.get("/changes", ({ req }) => {
    const after = req.header("last-event-id") ?? req.query("after")
    const changes = ReadableStream.from(changesAfter(app, after, req.raw.signal))
    return new Response(changes.pipeThrough(new TextEncoderStream()), { headers })
  })

  server.notFound(() => responseOf(notFound))
  server.onError((error) => responseOf(error instanceof SyntaxError ? malformed : internalError(error)))
  return listen(createServer(getRequestListener(server.fetch)), port)
}
