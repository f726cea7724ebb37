/**
 * The users on Fastify.
 */
import { fastify, type FastifyReply } from "fastify"
import { Readable } from "node:stream"
import { DeactivateUser, RegisterUser, RenameUser } from "../users/contract/UserCommands.ts"
import { GetUser } from "../users/contract/UserQueries.ts"
import { type Answer, internalError, malformed, maxBody, notFound, ofCommand, ofQuery, tooLarge } from "./Answers.ts"
import { changesAfter, headers } from "./Changes.ts"
import { type Listening, signalOf } from "./Listen.ts"
import type { UsersApp } from "./UsersApp.ts"

const send = (reply: FastifyReply, { body, status }: Answer) => reply.code(status).send(body)

interface One {
  readonly Params: { readonly userId: string }
  readonly Querystring: { readonly after?: string }
  readonly Body: object
}

interface Changes {
  readonly Headers: { readonly "last-event-id"?: string }
  readonly Querystring: { readonly after?: string }
}

export const serve = async (app: UsersApp, port = 0): Promise<Listening> => {
  const server = fastify({ forceCloseConnections: true, bodyLimit: maxBody })

  server.post<{ Headers: { readonly "idempotency-key"?: string } }>("/users", async ({ body, headers }, reply) => {
    const commandId = headers["idempotency-key"]
    return send(reply, ofCommand(await app.dispatchUnknown(RegisterUser, body, { commandId }), 201))
  })
  server.patch<One>(
    "/users/:userId",
    async ({ body, params }, reply) =>
      send(reply, ofCommand(await app.dispatchUnknown(RenameUser, { ...Object(body), ...params })))
  )
  server.delete<One>(
    "/users/:userId",
    async ({ params }, reply) => send(reply, ofCommand(await app.dispatchUnknown(DeactivateUser, { ...params })))
  )
  server.get<One>(
    "/users/:userId",
    async ({ params, query: { after } }, reply) =>
      send(reply, ofQuery(await app.askUnknown(GetUser, { ...params }, { after })))
  )
  server.get<Changes>("/changes", (request, reply) => {
    const after = request.headers["last-event-id"] ?? request.query.after
    return reply.headers(headers).send(Readable.from(changesAfter(app, after, signalOf(reply.raw))))
  })

  server.setNotFoundHandler((_, reply) => send(reply, notFound))
  server.setErrorHandler<Error & { readonly statusCode?: number }>((error, _, reply) => {
    const { statusCode = 500 } = error
    return send(reply, statusCode >= 500 ? internalError(error) : statusCode === 413 ? tooLarge : malformed)
  })
  return { url: await server.listen({ port, host: "127.0.0.1" }), close: () => server.close() }
}
