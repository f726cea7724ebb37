/**
 * The same requests to the users on each framework, over real sockets.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Evsrc } from "evsrc/promise"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Http from "node:http"
import { connect } from "node:net"
import * as Path from "node:path"
import { maxBody } from "../../examples/frameworks/Answers.ts"
import * as Express from "../../examples/frameworks/Express.ts"
import * as Fastify from "../../examples/frameworks/Fastify.ts"
import * as Hono from "../../examples/frameworks/Hono.ts"
import type { Listening } from "../../examples/frameworks/Listen.ts"
import * as NodeHttp from "../../examples/frameworks/NodeHttp.ts"
import { type UsersApp, UsersLayer } from "../../examples/frameworks/UsersApp.ts"
import * as WebHandler from "../../examples/frameworks/WebHandler.ts"
import { until } from "../promise/Shop.ts"

const folder = Path.resolve(import.meta.dirname, "../../examples/frameworks")

/** How many subscriptions of an app wait for an event. */
interface Waiting {
  count: number
}

/** An app that counts its subscriptions which wait for an event. */
const counting = (app: UsersApp, waiting: Waiting): UsersApp => {
  const events: UsersApp["events"] = (set, options) => {
    const subscription = app.events(set, options)
    const counted: typeof subscription = {
      ...subscription,
      next: () => {
        waiting.count++
        return subscription.next().finally(() => waiting.count--)
      },
      [Symbol.asyncIterator]: () => counted
    }
    return counted
  }
  return { ...app, events }
}

/** Starts an app of its own, which ends with the server. */
const withApp = (serve: Serve) => async (): Promise<Listening> => {
  const app = await Evsrc.start(UsersLayer)
  const { close, url } = await serve(app)
  return { url, close: () => close().then(() => app.close()) }
}

type Serve = (app: UsersApp) => Promise<Listening>

const frameworks: ReadonlyArray<readonly [name: string, serve: Serve]> = [
  ["Express", Express.serve],
  ["Fastify", Fastify.serve],
  ["Hono", Hono.serve],
  ["NodeHttp", NodeHttp.serve]
]

const servers: ReadonlyArray<readonly [name: string, start: () => Promise<Listening>]> = [
  ...frameworks.map(([name, serve]) => [name, withApp(serve)] as const),
  ["WebHandler", () => WebHandler.serve()]
]

interface Answer {
  readonly status: number
  readonly json: Readonly<Record<string, unknown>>
}

/** Reads the lines of server-sent events up to a change. */
const nextChange = async (
  reader: ReadableStreamDefaultReader<string>,
  read: { text: string }
): Promise<Readonly<Record<string, string>>> => {
  for (;;) {
    const end = read.text.indexOf("\n\n")
    if (end === -1) {
      const { done, value } = await reader.read()
      if (done) throw new Error("the stream has ended")
      read.text += value
      continue
    }
    const event = read.text.slice(0, end)
    read.text = read.text.slice(end + 2)
    const fields = Object.fromEntries(
      event.split("\n").map((line) => {
        const at = line.indexOf(":")
        return [line.slice(0, at), line.slice(at + 1).trimStart()]
      })
    )
    if (fields["event"] === "change") return fields
  }
}

describe.each(servers)("the users on %s", (_, start) => {
  let server: Listening
  beforeAll(async () => {
    server = await start()
  })
  afterAll(() => server.close())

  const ask = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const response = await fetch(`${server.url}${path}`, {
      method,
      headers: body === undefined ? headers : { "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) })
    })
    const json: unknown = await response.json()
    return { status: response.status, json: Object(json) } satisfies Answer
  }

  const register = async (userId: string) => {
    const { json, status } = await ask("POST", "/users", { userId, email: "ann@example.com", name: "Ann" })
    assert.strictEqual(status, 201, JSON.stringify(json))
    return String(json["cursor"])
  }

  const follow = async (after: string, headers: Record<string, string> = {}) => {
    const controller = new AbortController()
    const response = await fetch(`${server.url}/changes?after=${after}`, { headers, signal: controller.signal })
    assert.include(response.headers.get("content-type"), "text/event-stream")
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
    const read = { text: "" }
    return { next: () => nextChange(reader, read), leave: () => controller.abort() }
  }

  it("registers a user, whom a query after the cursor finds", async () => {
    const cursor = await register("u1")
    const { json, status } = await ask("GET", `/users/u1?after=${cursor}`)
    assert.strictEqual(status, 200)
    assert.include(json, { userId: "u1", email: "ann@example.com", name: "Ann", status: "active", version: 1 })
  })

  it("renames and deactivates a user", async () => {
    await register("u2")
    assert.include((await ask("PATCH", "/users/u2", { name: "Bea" })).json, { version: 2 })
    const { json } = await ask("DELETE", "/users/u2")
    const found = await ask("GET", `/users/u2?after=${String(json["cursor"])}`)
    assert.include(found.json, { name: "Bea", status: "deactivated", version: 3 })
  })

  it("answers declared errors with their statuses", async () => {
    await register("u3")
    const again = await ask("POST", "/users", { userId: "u3", email: "ann@example.com", name: "Ann" })
    assert.strictEqual(again.status, 409)
    assert.include(again.json, { _tag: "UserAlreadyRegistered", message: `User "u3" is already registered` })
    for (const [method, body] of [["GET"], ["PATCH", { name: "Bea" }], ["DELETE"]] as const) {
      const missing = await ask(method, "/users/nobody", body)
      assert.strictEqual(missing.status, 404, method)
      assert.include(missing.json, { _tag: "UserNotFound" })
    }
  })

  it("answers 400 to a body that is not valid", async () => {
    for (const body of [{ userId: "u4" }, { userId: "u4", email: "ann", name: "Ann" }, "{", "[]"]) {
      assert.strictEqual((await ask("POST", "/users", body)).status, 400, JSON.stringify(body))
    }
    assert.strictEqual((await ask("GET", "/users/u4?after=yesterday")).status, 400)
  })

  it("carries out a repeated request with one key once", async () => {
    const body = { userId: "u5", email: "ann@example.com", name: "Ann" }
    const key = { "idempotency-key": "k-5" }
    const first = await ask("POST", "/users", body, key)
    const second = await ask("POST", "/users", body, key)
    assert.deepStrictEqual([second.status, second.json["cursor"]], [201, first.json["cursor"]])
    assert.strictEqual((await ask("POST", "/users", { ...body, name: "Bea" }, key)).status, 422)
  })

  it("answers 413 to a body that is too large", async () => {
    // A server may close the connection of a body that it does not read, so this request has one of its own.
    const request = Http.request(`${server.url}/users`, {
      method: "POST",
      agent: false,
      headers: { "content-type": "application/json" }
    })
    const answered = once(request, "response")
    request.on("error", () => {})
    request.end(JSON.stringify({ userId: "u10", email: "ann@example.com", name: "x".repeat(2 * maxBody) }))
    const [response] = await answered
    assert.strictEqual(response.statusCode, 413)
    response.destroy()
    await register("u10")
  })

  it("answers 404 to an unknown path", async () => {
    assert.strictEqual((await ask("GET", "/nothing")).status, 404)
  })

  it("streams changes, and resumes after the last one", async () => {
    const cursor = await register("u6")
    const first = await follow(cursor)
    await register("u7")
    const change = await first.next()
    assert.include(JSON.parse(change["data"]!), { _tag: "UserRegistered", userId: "u7" })
    first.leave()
    await register("u8")
    const second = await follow(cursor, { "last-event-id": change["id"]! })
    assert.include(JSON.parse((await second.next())["data"]!), { userId: "u8" })
    second.leave()
  })
})

describe.each(frameworks)("a client of %s", (_, serve) => {
  it("ends its subscription when its socket is destroyed", async () => {
    const waiting: Waiting = { count: 0 }
    const app = await Evsrc.start(UsersLayer)
    const server = await serve(counting(app, waiting))
    const { hostname, port } = new URL(server.url)
    const clients = await Promise.all(Array.from({ length: 5 }, async () => {
      const socket = connect(Number(port), hostname)
      socket.write(`GET /changes HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`)
      await once(socket, "data")
      return socket
    }))
    await until(() => waiting.count === 5)
    clients.pop()?.destroy()
    await until(() => waiting.count === 4)
    for (const socket of clients) socket.resetAndDestroy()
    await until(() => waiting.count === 0)
    await server.close()
    await app.close()
  })
})

describe("an example", () => {
  const source = (name: string) => Fs.readFileSync(Path.join(folder, `${name}.ts`), "utf8")

  it.each(servers)("on %s has less than 80 lines", (name) => {
    assert.isBelow(source(name).split("\n").length, 80)
  })

  it.each(["Express", "Fastify", "Hono", "NodeHttp", "Answers", "Changes", "Listen"])(
    "%s imports nothing of Effect and has no cast",
    (name) => {
      const code = source(name).replace(/\/\*\*[^]*?\*\//g, "")
      assert.notMatch(code, /from "effect/)
      assert.notMatch(code.replace(/^import .*$/gm, ""), /\bas\b/)
    }
  )
})
