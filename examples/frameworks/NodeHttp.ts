/**
 * The users on node:http, without a framework.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { DeactivateUser, RegisterUser, RenameUser } from "../users/contract/UserCommands.ts"
import { GetUser } from "../users/contract/UserQueries.ts"
import { type Answer, internalError, malformed, maxBody, notFound, ofCommand, ofQuery, tooLarge } from "./Answers.ts"
import { listen, type Listening, sendChanges } from "./Listen.ts"
import type { UsersApp } from "./UsersApp.ts"

class BodyTooLarge extends Error {}

/** Returns the JSON of the body. */
const bodyOf = async (request: IncomingMessage) => {
  const chunks: Array<Buffer> = []
  let size = 0
  // The socket stays open for the response.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk)
    size += chunks.at(-1)?.length ?? 0
    if (size > maxBody) throw new BodyTooLarge()
  }
  return JSON.parse(Buffer.concat(chunks).toString())
}

const textOf = (header: string | ReadonlyArray<string> | undefined) => typeof header === "string" ? header : undefined

const respond = async (app: UsersApp, request: IncomingMessage, url: URL): Promise<Answer> => {
  const { headers, method } = request
  if (url.pathname === "/users" && method === "POST") {
    const commandId = textOf(headers["idempotency-key"])
    return ofCommand(await app.dispatchUnknown(RegisterUser, await bodyOf(request), { commandId }), 201)
  }
  const [, encoded] = /^\/users\/([^/]+)$/.exec(url.pathname) ?? []
  if (encoded === undefined) return notFound
  const userId = decodeURIComponent(encoded)
  switch (method) {
    case "PATCH":
      return ofCommand(await app.dispatchUnknown(RenameUser, { ...await bodyOf(request), userId }))
    case "DELETE":
      return ofCommand(await app.dispatchUnknown(DeactivateUser, { userId }))
    case "GET":
      return ofQuery(await app.askUnknown(GetUser, { userId }, { after: url.searchParams.get("after") ?? undefined }))
    default:
      return notFound
  }
}

const ofThrown = (error: unknown): Answer => {
  if (error instanceof BodyTooLarge) return tooLarge
  return error instanceof SyntaxError || error instanceof URIError ? malformed : internalError(error)
}

const handle = async (app: UsersApp, request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const url = new URL(request.url ?? "/", "http://localhost")
  if (request.method === "GET" && url.pathname === "/changes") {
    const after = textOf(request.headers["last-event-id"]) ?? url.searchParams.get("after") ?? undefined
    return sendChanges(app, after, response)
  }
  const { body, status } = await respond(app, request, url).catch(ofThrown)
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))
}

export const serve = (app: UsersApp, port = 0): Promise<Listening> =>
  listen(
    createServer((request, response) => {
      handle(app, request, response).catch((error: unknown) => {
        console.error(error)
        response.destroy()
      })
    }),
    port
  )
