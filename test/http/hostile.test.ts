/** Requests with odd values, parallel repetitions, and many clients of a stream that vanish, over a real socket. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Schema, Stream } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiGroup } from "effect/http-api"
import { HttpFallback, HttpHandlers, HttpSource, HttpStream } from "evsrc/http"
import { get, type IncomingMessage } from "node:http"
import { connect } from "node:net"
import * as Orders from "./Orders.ts"
import { type Ask, client, memory, serve } from "./Server.ts"

const Change = Schema.Struct({ orderId: Orders.OrderId })
const orderChanges = HttpStream.changes("orderChanges", { path: "/changes", data: Change })
const Api = HttpApi.make("shop").add(
  HttpApiGroup.make("orders").add(
    Orders.placeOrder,
    Orders.payOrder,
    Orders.getOrderEndpoint,
    Orders.listOrdersEndpoint,
    orderChanges
  )
)

const start = Effect.gen(function*() {
  const open = { streams: 0 }
  const group = HttpHandlers.layerWith(Api, "orders", (others) =>
    others.handle(
      "orderChanges",
      HttpSource.changes(orderChanges, (after) =>
        Stream.suspend(() => {
          open.streams++
          return HttpSource.ofEvents(Orders.OrderEvent, ({ event: { orderId } }) => ({ orderId }))(after)
        }).pipe(Stream.ensuring(Effect.sync(() => open.streams--))))
    ))
  const services = Layer.succeedContext(
    yield* Layer.build(Orders.layer.pipe(Layer.provideMerge(memory), Layer.provide(Logger.layer([]))))
  )
  const url = yield* serve(
    Layer.merge(HttpApiBuilder.layer(Api), HttpFallback.layer(Api)).pipe(
      Layer.provide(group),
      HttpRouter.provideRequest(services),
      Layer.provide(services)
    )
  )
  return { url, open }
})

/** Runs a test against a server of its own that has the order o1. */
const served = (test: (ask: Ask, url: string, open: { readonly streams: number }) => Promise<void>) => () =>
  Effect.flatMap(
    Effect.provideService(start, HttpHandlers.ReadTimeout, "50 millis"),
    ({ open, url }) =>
      Effect.promise(async () => {
        const ask = client(url)
        await ask("POST", "/orders", { body: { orderId: "o1", amount: 5 } })
        await test(ask, url, open)
      })
  )

/** Waits for a condition, at most a minute. */
const until = async (condition: () => boolean) => {
  const deadline = Date.now() + 60_000
  while (!condition()) {
    assert.isBelow(Date.now(), deadline, "the condition does not hold")
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Sends a request line as it is, which `fetch` would normalise, and returns the status and the tag. */
const rawly = (url: string, target: string) =>
  new Promise<readonly [status: number, tag: unknown]>((resolve, reject) => {
    const { hostname, port } = new URL(url)
    const socket = connect(Number(port), hostname)
    let received = ""
    socket.on("error", reject)
    socket.on("data", (data) => received += data.toString())
    socket.on("close", () => {
      const [head = "", body = ""] = received.split("\r\n\r\n")
      assert.match(head, /content-type: application\/problem\+json/i)
      resolve([Number(head.split(" ")[1]), Reflect.get(Object(JSON.parse(body)), "_tag")])
    })
    socket.write(`GET ${target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`)
  })

const unknownId = "00000000-0000-0000-0000-000000000000"

describe("malformed requests", () => {
  it.live(
    "are rejected for their path or query string",
    served(async (_, url) => {
      for (
        const [target, status, tag] of [
          ["/orders/%00", 400, "InvalidInput"],
          ["/orders/a%2Fb", 400, "InvalidInput"],
          ["/orders/%2e%2e", 400, "InvalidInput"],
          ["/orders/%FF", 400, "InvalidInput"],
          ["/orders/%c0%80", 400, "InvalidInput"],
          ["/orders/%", 400, "InvalidInput"],
          ["/orders/../orders/o1", 404, "RouteNotFound"],
          ["/%00", 404, "RouteNotFound"],
          ["*", 404, "RouteNotFound"],
          ["/orders/__proto__", 400, "InvalidInput"],
          ["/orders/constructor", 404, "OrderNotFound"],
          ["/orders/o1?after=", 400, "InvalidInput"],
          ["/orders/o1?after=1&after=1", 400, "InvalidInput"],
          [`/orders/o1?after=1_${unknownId}`, 410, "LogDiverged"],
          [`/orders/o1?after=999_${unknownId}`, 410, "LogDiverged"],
          ["/orders/o1?after=999", 503, "ProjectionBehind"],
          ["/orders?cursor=%00", 400, "InvalidRequest"]
        ] as const
      ) assert.deepStrictEqual(await rawly(url, target), [status, tag], target)
    })
  )

  it.live(
    "are rejected for their headers",
    served(async (ask) => {
      const body = { amount: 5 }
      for (
        const [name, value, status] of [
          ["if-match", "W/\"1\"", 400],
          ["if-match", "\"1\", \"2\"", 400],
          ["if-match", "\"*\"", 400],
          ["if-match", "-1", 400],
          ["if-match", "9999999999999999", 400],
          ["if-match", "\"0\"", 412],
          ["if-match", "\"999999999999999\"", 412],
          ["if-none-match", "\"1\"", 400],
          ["idempotency-key", "a, b", 400],
          ["content-type", "application/vnd.api+json", 415],
          ["content-type", "application/json, text/plain", 415]
        ] as const
      ) {
        const { status: found } = await ask("POST", "/orders/o1/payment", { body, headers: { [name]: value } })
        assert.strictEqual(found, status, `${name}: ${value}`)
      }
      for (
        const [id, status] of [["x", 400], ["1,2", 400], ["9223372036854775808", 400], ["999", 410], [
          `1_${unknownId}`,
          410
        ]] as const
      ) assert.strictEqual((await ask("GET", "/changes", { headers: { "last-event-id": id } })).status, status, id)
    })
  )

  it.live(
    "are rejected for their body",
    served(async (ask) => {
      for (
        const raw of ["null", "[]", "1", "{", "{}trailing", "[".repeat(100_000), "{\"amount\":5,\"__proto__\":{}}"]
      ) {
        const answer = await ask("POST", "/orders/o1/payment", { raw })
        assert.deepStrictEqual([answer.status, Reflect.get(Object(answer.json), "in")], [400, "body"], raw.slice(0, 40))
      }
    })
  )
})

describe("parallel requests with one Idempotency-Key", () => {
  it.live(
    "execute the command once, and reject another body",
    served(async (ask) => {
      const answers = await Promise.all(
        Array.from(
          { length: 30 },
          (_, i) => ask("POST", "/orders", { body: { amount: 1 + i % 2 }, headers: { "idempotency-key": "one" } })
        )
      )
      const created = answers.filter(({ status }) => status === 201)
      assert.strictEqual(created.length, 15)
      assert.strictEqual(new Set(created.map(({ text }) => text)).size, 1)
      assert.isTrue(answers.every(({ status }) => status === 201 || status === 422))
    })
  )
})

describe("a stream of changes", () => {
  it.live(
    "serves many clients, and ends when they disconnect",
    served(async (ask, url, open) => {
      const received: Array<{ text: string; readonly response: IncomingMessage }> = []
      for (let i = 0; i < 100; i++) {
        get(`${url}/changes`, (response) => {
          const one = { text: "", response }
          received.push(one)
          response.on("data", (data) => one.text += String(data))
          response.on("error", () => {})
        })
      }
      await until(() => received.length === 100 && received.every(({ text }) => text.includes("reached")))
      await ask("POST", "/orders", { body: { orderId: "o2", amount: 5 } })
      await until(() => received.every(({ text }) => text.includes("\"o2\"")))
      assert.strictEqual(open.streams, 100)
      for (const { response } of received) response.destroy()
      await until(() => open.streams === 0)
      assert.strictEqual((await ask("HEAD", "/changes")).status, 200)
      await until(() => open.streams === 0)
    })
  )
})
