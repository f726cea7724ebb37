/**
 * Serves an HTTP API in this process, over a real socket, and asks it as a client without types.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert } from "@effect/vitest"
import { Context, Effect, Layer, Logger, type Scope } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { type EventStore, ProjectionStore } from "evsrc"
import { EventStore as Stores } from "evsrc"
import { HttpHandlers } from "evsrc/http"
import { createServer } from "node:http"
import * as Orders from "./Orders.ts"

export interface Answer {
  readonly status: number
  readonly type: string | null
  readonly headers: Headers
  readonly text: string
  readonly json: unknown
}

export interface Request {
  readonly headers?: Record<string, string>
  readonly body?: unknown
  readonly raw?: string
  readonly type?: string
}

export type Ask = (method: string, path: string, request?: Request) => Promise<Answer>

/** Every error must be problem details that agree with the status, without a stack trace or a cause. */
const checkProblem = ({ json, status, text, type }: Answer, asked: string) => {
  const what = `${asked} answered ${status} ${text}`
  assert.strictEqual(type, "application/problem+json", what)
  const problem = json as Record<string, unknown>
  assert.match(String(problem["_tag"]), /^[A-Z]\w+$/, what)
  for (const member of ["type", "title", "detail", "message"]) assert.isNotEmpty(problem[member], what)
  if (typeof problem["status"] === "number") assert.strictEqual(problem["status"], status, what)
  assert.notMatch(text, /\n\s+at |node_modules|\.ts:\d|"cause"|secret/, what)
}

export const client = (url: string): Ask => async (method, path, { body, headers = {}, raw, type } = {}) => {
  const content = raw ?? (body === undefined ? undefined : JSON.stringify(body))
  const response = await fetch(`${url}${path}`, {
    method,
    headers: content === undefined ? headers : { "content-type": type ?? "application/json", ...headers },
    ...(content === undefined ? {} : { body: content })
  })
  const text = await response.text()
  const contentType = response.headers.get("content-type")
  const answer = {
    status: response.status,
    type: contentType,
    headers: response.headers,
    text,
    json: contentType?.includes("json") === true && text !== "" ? JSON.parse(text) as unknown : undefined
  }
  if (answer.status >= 400 && method !== "HEAD") checkProblem(answer, `${method} ${path}`)
  return answer
}

export const memory = Layer.merge(Stores.layerMemory, ProjectionStore.layerMemory)

/** Serves routes on a free port until the scope closes, and returns the URL. */
export const serve = <E>(
  routes: Layer.Layer<never, E, HttpRouter.HttpRouter | Layer.Success<typeof NodeHttpServer.layerHttpServices>>
): Effect.Effect<string, unknown, Scope.Scope> =>
  HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(NodeHttpServer.layer(() => createServer(), {
      host: "127.0.0.1",
      port: 0,
      gracefulShutdownTimeout: "200 millis"
    })),
    Layer.provide(Logger.layer([])),
    Layer.build,
    Effect.map((context) => HttpServer.formatAddress(Context.get(context, HttpServer.HttpServer).address))
  )

/** Serves the orders, and returns the URL. */
export const start = (
  stores: Layer.Layer<EventStore.EventStore | ProjectionStore.ProjectionStore, unknown> = memory
) =>
  serve(
    HttpApiBuilder.layer(Orders.Api, { openapiPath: "/openapi.json" }).pipe(
      Layer.provide(HttpHandlers.layer(Orders.Api, "orders")),
      Layer.provide(Orders.layer),
      Layer.provide(stores)
    )
  )
