/** Clients of `HttpApiClient`, which decode answers and errors, and the middleware that makes the actor. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { FetchHttpClient, HttpRouter, HttpServer } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiClient, HttpApiGroup } from "effect/http-api"
import { EventStore, InvalidCommand, Version } from "evsrc"
import { HttpActor, HttpErrors, HttpHandlers } from "evsrc/http"
import * as Orders from "./Orders.ts"
import { client, memory, serve, start } from "./Server.ts"

const o1 = Orders.OrderId.make("o1")

const typed = (url: string) =>
  HttpApiClient.make(Orders.Api, { baseUrl: url }).pipe(Effect.provide(FetchHttpClient.layer))

describe("HttpApiClient", () => {
  it.live("sends commands and queries, and decodes their answers", () =>
    Effect.gen(function*() {
      const { orders } = yield* typed(yield* start())
      const receipt = yield* orders.placeOrder({ payload: { orderId: o1, amount: 5 }, headers: {} })
      assert.strictEqual(receipt.version, 1)
      assert.strictEqual(receipt.position, 1n)
      const order = yield* orders.getOrder({ params: { orderId: o1 }, query: { after: receipt.cursor } })
      assert.deepStrictEqual(order, { orderId: o1, amount: 5, paid: false })
      const { items } = yield* orders.listOrders({ query: { limit: 2 } })
      assert.strictEqual(items.length, 1)
      const touched = yield* orders.touchOrder({ params: { id: o1 }, headers: { "if-match": Version.make(1) } })
      assert.deepStrictEqual(touched, { id: o1, version: 1 })
    }))

  it.live("decodes errors into the same classes", () =>
    Effect.gen(function*() {
      const { orders } = yield* typed(yield* start())
      const pay = orders.payOrder({ params: { orderId: o1 }, payload: { amount: 5 }, headers: {} })
      const absent = yield* Effect.flip(pay)
      assert.instanceOf(absent, Orders.OrderNotFound)
      assert.strictEqual(absent.message, "Order \"o1\" does not exist")
      yield* orders.placeOrder({ payload: { orderId: o1, amount: 5 }, headers: {} })
      yield* pay
      const wrong = yield* Effect.flip(pay)
      assert.instanceOf(wrong, Orders.WrongStatus)
      assert.strictEqual(wrong.due, 0n)
      const failed = yield* Effect.flip(
        orders.payOrder({ params: { orderId: o1 }, payload: { amount: 5 }, headers: { "if-match": "streamExists" } })
      )
      assert.notInstanceOf(failed, InvalidCommand)
      const stale = yield* Effect.flip(
        orders.placeOrder({ payload: { orderId: o1, amount: 5 }, headers: { "if-none-match": "*" } })
      )
      assert.instanceOf(stale, HttpErrors.PreconditionFailed)
    }))
})

describe("HttpRouter.toWebHandler", () => {
  it.live("serves the same API inside another framework", () =>
    Effect.gen(function*() {
      const { handler } = yield* Effect.acquireRelease(
        Effect.sync(() =>
          HttpRouter.toWebHandler(
            HttpApiBuilder.layer(Orders.Api).pipe(
              Layer.provide(HttpHandlers.layer(Orders.Api, "orders")),
              Layer.provide([Orders.layer, HttpServer.layerServices]),
              Layer.provide(memory)
            ),
            { disableLogger: true }
          )
        ),
        ({ dispose }) => Effect.promise(dispose)
      )
      const response = yield* Effect.promise(() =>
        handler(
          new Request("http://localhost/orders", {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ orderId: "o1", amount: 5 })
          })
        )
      )
      assert.strictEqual(response.status, 201)
      assert.strictEqual(response.headers.get("etag"), "\"1\"")
    }))
})

const Guarded = HttpApi.make("shop").add(HttpApiGroup.make("orders").add(Orders.placeOrder)).middleware(
  HttpActor.HttpActor
)

const guarded = (actor: Layer.Layer<HttpActor.HttpActor>) =>
  Effect.gen(function*() {
    const services = yield* Layer.build(memory)
    const url = yield* serve(
      HttpApiBuilder.layer(Guarded).pipe(
        Layer.provide(HttpHandlers.layer(Guarded, "orders")),
        Layer.provide(actor),
        Layer.provide(Orders.layer),
        Layer.provide(Layer.succeedContext(services))
      )
    )
    const actors = Stream.runCollect(EventStore.readAllEncoded()).pipe(
      Effect.map((events) => events.map(({ metadata }) => metadata.actor)),
      Effect.provideContext(services)
    )
    return { ask: client(url), actors }
  })

describe("HttpActor", () => {
  it.live("makes the authenticated user the actor of commands, and ignores headers", () =>
    Effect.gen(function*() {
      const { actors, ask } = yield* guarded(HttpActor.layer(({ headers }) =>
        headers["authorization"] === "Bearer t1"
          ? Effect.succeed("ann")
          : Effect.fail(new HttpErrors.Unauthenticated({ message: "The token is not valid" }))
      ))
      const body = { orderId: "o1", amount: 5 }
      const rejected = yield* Effect.promise(() => ask("POST", "/orders", { body, headers: { "x-actor": "ann" } }))
      assert.strictEqual(rejected.status, 401)
      assert.strictEqual(rejected.headers.get("www-authenticate"), "Bearer")
      const headers = { authorization: "Bearer t1", "x-actor": "mallory" }
      assert.strictEqual((yield* Effect.promise(() => ask("POST", "/orders", { body, headers }))).status, 201)
      assert.deepStrictEqual(yield* actors, ["ann"])
    }))

  it.live("takes the actor from a header only with `fromHeader`", () =>
    Effect.gen(function*() {
      const { actors, ask } = yield* guarded(HttpActor.fromHeader("X-Actor"))
      const post = (headers: Record<string, string>) =>
        Effect.promise(() => ask("POST", "/orders", { body: { orderId: "o1", amount: 5 }, headers }))
      assert.strictEqual((yield* post({})).status, 401)
      assert.strictEqual((yield* post({ "x-actor": "ann, mallory" })).status, 401)
      assert.strictEqual((yield* post({ "x-actor": "ann" })).status, 201)
      assert.deepStrictEqual(yield* actors, ["ann"])
    }))

  it.live("answers 500 without details when the authentication dies", () =>
    Effect.gen(function*() {
      const { ask } = yield* guarded(HttpActor.layer(() => Effect.die(new Error("the secret of the session store"))))
      const answer = yield* Effect.promise(() => ask("POST", "/orders", { body: { orderId: "o1", amount: 5 } }))
      assert.strictEqual(answer.status, 500)
    }))
})
