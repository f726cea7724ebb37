/**
 * The user management example in this process, on stores in memory, over a real socket.
 */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import { EventStore, type EventStoreDriver, ProjectionStore } from "evsrc"
import * as App from "../../examples/http/App.ts"
import { internals } from "../../src/core/internals.ts"

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly json: unknown
}

/** Returns the value at a path of JSON, as an untyped client reads it. */
export const at = (json: unknown, ...path: ReadonlyArray<string | number>): unknown =>
  path.reduce((value, key) => value === undefined || value === null ? undefined : Reflect.get(Object(value), key), json)

export interface Request {
  readonly headers?: Record<string, string>
  /** Sent as JSON. */
  readonly body?: unknown
  /** Sent unchanged. */
  readonly raw?: NonNullable<RequestInit["body"]>
}

export type Ask = (method: string, path: string, request?: Request) => Promise<Answer>

/** Every error must be problem details with a tag and a message, and without a stack trace. */
const checkError = ({ headers, json, status, text }: Answer, asked: string) => {
  const what = `${asked} answered ${status} ${text}`
  assert.match(headers.get("content-type") ?? "none", /^application\/problem\+json\b/, what)
  assert.match(String(at(json, "_tag")), /^[A-Z]\w+$/, what)
  const message = at(json, "message")
  assert.isString(message, what)
  assert.isNotEmpty(message, what)
  assert.strictEqual(at(json, "detail"), message, what)
  assert.strictEqual(at(json, "type"), "about:blank", what)
  assert.isNotEmpty(at(json, "title"), what)
  // A field of an error, such as the status of an order, replaces the member of the same name.
  if (typeof at(json, "status") === "number") assert.strictEqual(at(json, "status"), status, what)
  assert.notMatch(text, /\n\s+at |node_modules|\.ts:\d/, what)
}

export const client = (url: string): Ask => async (method, path, { body, headers = {}, raw } = {}) => {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: body === undefined ? headers : { "content-type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(raw === undefined ? {} : { body: raw }),
    ...(raw instanceof ReadableStream ? { duplex: "half" } : {})
  })
  const text = await response.text()
  const isJson = /^application\/(problem\+)?json\b/.test(response.headers.get("content-type") ?? "")
  const answer = {
    status: response.status,
    headers: response.headers,
    text,
    json: isJson && text !== "" ? JSON.parse(text) : undefined
  }
  if (answer.status >= 400 && method !== "HEAD") checkError(answer, `${method} ${path}`)
  return answer
}

/** Repeats a request until its response satisfies the predicate. */
export const poll = async (ask: () => Promise<Answer>, wanted: (answer: Answer) => boolean): Promise<Answer> => {
  const deadline = Date.now() + 60_000
  while (true) {
    const answer = await ask()
    if (wanted(answer)) return answer
    if (Date.now() > deadline) assert.fail(`still ${answer.status} ${answer.text}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export const memoryStores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

/** An event store in memory with a changed driver. */
export const changedStore = (
  change: (driver: EventStoreDriver.EventStoreDriver) => Partial<EventStoreDriver.EventStoreDriver>
) =>
  Layer.effect(
    EventStore.EventStore,
    Effect.flatMap(EventStore.EventStore, ({ [internals]: { driver } }) =>
      EventStore.make({ ...driver, ...change(driver) }))
  ).pipe(Layer.provide(EventStore.layerMemory))

/** Starts the program on a free port until the scope closes, and returns its URL. */
export const start = (
  stores: Layer.Layer<EventStore.EventStore | ProjectionStore.ProjectionStore> = memoryStores
): Effect.Effect<string, unknown, Scope.Scope> =>
  App.layer({ host: "127.0.0.1", port: 0 }).pipe(
    Layer.provide(stores),
    Layer.provide(Logger.layer([])),
    Layer.build,
    Effect.map((context) => HttpServer.formatAddress(Context.get(context, HttpServer.HttpServer).address))
  )
