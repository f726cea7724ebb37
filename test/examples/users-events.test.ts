/**
 * GET /users/events: the stream of user changes, over connections that may break at any time.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpApiClient from "effect/http-api/HttpApiClient"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { LogPosition, Position, ProjectionStore } from "evsrc"
import { HttpSource } from "evsrc/http"
import { Api } from "../../examples/http/contract/Api.ts"
import { type Ask, at, changedStore, client, memoryStores, start } from "./UsersProgram.ts"

interface Received {
  readonly id: string
  readonly event: string
  readonly data: string
}

/** Reads events until it is closed, as a browser's `EventSource` does. */
const connect = async (url: string, path = "/users/events", headers: Record<string, string> = {}) => {
  const abort = new AbortController()
  const response = await fetch(`${url}${path}`, { headers, signal: abort.signal })
  assert.strictEqual(response.status, 200)
  assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream\b/)
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ""
  /** Returns the next event; undefined after the end of the connection. */
  const next = async (): Promise<Received | undefined> => {
    while (!text.includes("\n\n")) {
      const read = await reader.read()
      if (read.done) return undefined
      text += read.value
    }
    const end = text.indexOf("\n\n")
    const fields = new Map(
      text.slice(0, end).split("\n").map((line) => {
        const colon = line.indexOf(":")
        return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")]
      })
    )
    text = text.slice(end + 2)
    return { id: fields.get("id") ?? "", event: fields.get("event") ?? "", data: fields.get("data") ?? "" }
  }
  return { next, close: () => abort.abort() }
}

const scope = Scope.makeUnsafe()
let url: string
let ask: Ask

beforeAll(async () => {
  url = await Effect.runPromise(Scope.provide(start(), scope))
  ask = client(url)
})

afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

let count = 0
const register = async (name = "Ann") => {
  const userId = `user-${++count}`
  const { json, status } = await ask("POST", "/users", { body: { userId, email: "ann@example.com", name } })
  assert.strictEqual(status, 201)
  return { userId, position: String(at(json, "position")), cursor: String(at(json, "cursor")) }
}

/** Returns the next `UserChanged` event. */
const change = async ({ next }: Awaited<ReturnType<typeof connect>>) => {
  let received = await next()
  while (received?.event === "Reached") received = await next()
  assert.isDefined(received)
  assert.strictEqual(received!.event, "UserChanged")
  const id = received!.id
  // The cursor names the event after the position.
  return { id: String(id).split("_")[0], cursor: id, data: JSON.parse(received!.data) as unknown }
}

describe("GET /users/events", () => {
  it("streams the changes from now on", async () => {
    await register()
    const connection = await connect(url)
    assert.deepInclude(await connection.next(), { event: "Reached", data: "" })
    const { cursor, position, userId } = await register("Zoë")
    const registered = await change(connection)
    assert.strictEqual(registered.cursor, cursor)
    assert.strictEqual(registered.id, position)
    assert.deepInclude(registered.data, { userId, version: 1, position })
    assert.deepStrictEqual(at(registered.data, "change"), {
      _tag: "UserRegistered",
      userId,
      email: "ann@example.com",
      name: "Zoë"
    })
    await ask("PATCH", `/users/${userId}`, { body: { name: "Zoe" } })
    const renamed = await change(connection)
    assert.deepStrictEqual(at(renamed.data, "change"), { _tag: "UserRenamed", userId, name: "Zoe" })
    connection.close()
  })

  it("resumes after a reconnect without gaps or duplicates", async () => {
    const first = await connect(url)
    const [one, two] = [await register(), await register()]
    assert.strictEqual((await change(first)).id, one.position)
    first.close()
    const missed = await register()
    const again = await connect(url, "/users/events", { "last-event-id": one.position })
    for (const { position } of [two, missed]) assert.strictEqual((await change(again)).id, position)
    const later = await register()
    assert.strictEqual((await change(again)).id, later.position)
    again.close()
  })

  it("resumes without gaps after a disconnect before the first change", async () => {
    const first = await connect(url)
    const { id } = (await first.next())!
    first.close()
    const missed = await register()
    const again = await connect(url, "/users/events", { "last-event-id": id })
    assert.strictEqual((await change(again)).id, missed.position)
    again.close()
  })

  it("starts after the given position, or after the last event on a reconnect", async () => {
    const [one, two, three] = [await register(), await register(), await register()]
    const path = `/users/events?after=${one.position}`
    const first = await connect(url, path)
    assert.strictEqual((await change(first)).id, two.position)
    first.close()
    const again = await connect(url, path, { "last-event-id": two.position })
    assert.strictEqual((await change(again)).id, three.position)
    again.close()
  })

  it("rejects invalid positions, other methods, and the reserved user id", async () => {
    const wrong = await ask("GET", "/users/events", { headers: { "last-event-id": "x" } })
    assert.strictEqual(wrong.status, 400)
    assert.deepInclude(wrong.json, { _tag: "InvalidInput", in: "headers" })
    assert.strictEqual((await ask("GET", "/users/events?after=-1")).status, 400)
    const method = await ask("PATCH", "/users/events", { body: { name: "X" } })
    assert.deepStrictEqual([method.status, method.headers.get("allow")], [405, "GET, HEAD, OPTIONS"])
    const body = { userId: "events", email: "ann@example.com", name: "Ann" }
    const id = await ask("POST", "/users", { body })
    assert.deepInclude(id.json, { _tag: "InvalidInput", in: "body" })
    assert.include(id.text, "is reserved")
  })

  it("rejects a cursor whose event the log does not have, before the stream begins", async () => {
    const { cursor } = await register()
    const lost = cursor.replace(/.$/, (digit) => digit === "0" ? "1" : "0")
    for (const path of [`/users/events?after=${lost}`, `/users?after=${lost}`]) {
      const { json, status } = await ask("GET", path)
      assert.deepStrictEqual([status, at(json, "_tag")], [410, "LogDiverged"], path)
    }
    assert.strictEqual((await ask("GET", `/users?after=${cursor}`)).status, 200)
  })

  it("rejects a position beyond the end of the log, before the stream begins", async () => {
    const { json, status } = await ask("GET", "/users/events?after=99999")
    assert.deepStrictEqual([status, at(json, "_tag")], [410, "LogDiverged"])
  })

  it("appears in the OpenAPI document", async () => {
    const { json } = await ask("GET", "/openapi.json")
    const operation = at(json, "paths", "/users/events", "get")
    assert.isDefined(at(operation, "responses", "200", "content", "text/event-stream", "schema"))
    const parameters = Array.from(Object(at(operation, "parameters")), (parameter) => at(parameter, "name"))
    assert.sameMembers(parameters, ["last-event-id", "after"])
  })

  it.live("works with a typed client of its contract", () =>
    Effect.gen(function*() {
      const { position, userId } = yield* Effect.promise(() => register())
      const api = yield* HttpApiClient.make(Api, { baseUrl: url })
      const events = yield* api.users.events({
        headers: { "last-event-id": LogPosition.make(Position.make(BigInt(position) - 1n), undefined) },
        query: {}
      })
      const [reached, changed] = yield* Stream.runCollect(Stream.take(events, 2))
      assert.deepStrictEqual([reached?.event, changed?.event], ["Reached", "UserChanged"])
      assert.strictEqual(changed?.event === "UserChanged" ? String(changed.data.userId) : "none", userId)
      assert.strictEqual(changed?.id.position, BigInt(position))
    }).pipe(Effect.provide(FetchHttpClient.layer)))

  it("sends heartbeats and ends when the server shuts down", async () => {
    const own = Scope.makeUnsafe()
    const stores = Layer.merge(memoryStores, Layer.succeed(HttpSource.HeartbeatInterval, "10 millis"))
    const connection = await connect(await Effect.runPromise(Scope.provide(start(stores), own)))
    const received = [await connection.next(), await connection.next(), await connection.next()]
    assert.deepStrictEqual(received, Array.from({ length: 3 }, () => ({ id: "0", event: "Reached", data: "" })))
    const closed = Effect.runPromise(Scope.close(own, Exit.void))
    let ended = false
    while (!ended) ended = await connection.next().then((event) => event === undefined, () => true)
    await closed
  })

  it("ends when the log cannot be read, without details of the error", async () => {
    const own = Scope.makeUnsafe()
    // The process manager reads the log when the program starts.
    let isBroken = false
    const stores = Layer.merge(
      changedStore(({ readAll }) => ({
        readAll: (request) => isBroken ? Effect.die(new Error("secret")) : readAll(request)
      })),
      ProjectionStore.layerMemory
    )
    const url = await Effect.runPromise(Scope.provide(start(stores), own))
    isBroken = true
    const connection = await connect(url)
    const received = [await connection.next(), await connection.next()]
    assert.deepStrictEqual(received, [{ id: "0", event: "Reached", data: "" }, undefined])
    await Effect.runPromise(Scope.close(own, Exit.void))
  })
})
