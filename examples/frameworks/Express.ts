/**
 * The users on Express.
 */
import express, { type ErrorRequestHandler, type Response } from "express"
import { createServer } from "node:http"
import { DeactivateUser, RegisterUser, RenameUser } from "../users/contract/UserCommands.ts"
import { GetUser } from "../users/contract/UserQueries.ts"
import { type Answer, internalError, malformed, maxBody, notFound, ofCommand, ofQuery, tooLarge } from "./Answers.ts"
import { listen, type Listening, sendChanges } from "./Listen.ts"
import type { UsersApp } from "./UsersApp.ts"

const send = (response: Response, { body, status }: Answer) => {
  response.status(status).json(body)
}

const textOf = (value: unknown) => typeof value === "string" ? value : undefined

/** Express passes the error of a rejected promise on to this handler, too. */
const onError: ErrorRequestHandler = (error, _request, response, next) => {
  if (response.headersSent) next(error)
  else if (error?.type === "entity.too.large") send(response, tooLarge)
  else send(response, error instanceof SyntaxError ? malformed : internalError(error))
}

export const serve = (app: UsersApp, port = 0): Promise<Listening> => {
  const server = express()
  server.use(express.json({ limit: maxBody }))

  server.post("/users", async (request, response) => {
    const commandId = request.get("idempotency-key")
    send(response, ofCommand(await app.dispatchUnknown(RegisterUser, request.body, { commandId }), 201))
  })
  server.patch("/users/:userId", async ({ body, params }, response) => {
    send(response, ofCommand(await app.dispatchUnknown(RenameUser, { ...body, ...params })))
  })
  server.delete("/users/:userId", async ({ params }, response) => {
    send(response, ofCommand(await app.dispatchUnknown(DeactivateUser, params)))
  })
  server.get("/users/:userId", async ({ params, query }, response) => {
    send(response, ofQuery(await app.askUnknown(GetUser, params, { after: textOf(query["after"]) })))
  })
  server.get("/changes", async (request, response) => {
    const after = request.get("last-event-id") ?? textOf(request.query["after"])
    await sendChanges(app, after, response)
  })

  server.use((_, response) => send(response, notFound))
  server.use(onError)
  return listen(createServer(server), port)
}
