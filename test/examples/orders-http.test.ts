/**
 * The HTTP API of the shop: the whole flow of an order on every store, with deadlines and a restart, and every endpoint.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpApiClient from "effect/http-api/HttpApiClient"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { EventStore } from "evsrc"
import { PgStores } from "evsrc/pg"
import { OrderId, Product } from "../../examples/fulfilment/contract/Orders.ts"
import { Api } from "../../examples/http/contract/Api.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"
import { type Answer, type Ask, at, client, memoryStores, poll, start } from "./UsersProgram.ts"

const order = { product: "lamp", quantity: 1, amount: 900, address: "Main Street 1" }

const expectStatus = (status: number) => (answer: Answer) => {
  assert.strictEqual(answer.status, status, answer.text)
  return answer
}

/** Sends a request that must succeed, and returns its JSON. */
const send = async (ask: Ask, method: string, path: string, body?: unknown) => {
  const answer = await ask(method, path, body === undefined ? {} : { body })
  assert.isBelow(answer.status, 300, answer.text)
  return answer.json
}

const place = (ask: Ask, orderId: string, more: object = {}) =>
  send(ask, "POST", "/orders", { ...order, orderId, ...more })

/** Waits until a resource is as expected, and returns it. */
const until = async (ask: Ask, path: string, expected: Record<string, unknown>) => {
  const isAsExpected = ({ json }: Answer) => Object.entries(expected).every(([key, value]) => at(json, key) === value)
  return (await poll(() => ask("GET", path), isAsExpected)).json
}

const typesOf = (fulfilment: unknown) => Array.from(Object(at(fulfilment, "steps")), (step) => at(step, "type"))

const flows: Readonly<Record<string, (ask: Ask, restart: () => Promise<Ask>) => Promise<void>>> = {
  "ships an order that is reserved and paid": async (ask) => {
    await send(ask, "POST", "/stock/lamp/deliveries", { quantity: 3 })
    const { cursor } = Object(await place(ask, "shipped"))
    const placed = await send(ask, "GET", `/orders/shipped?after=${cursor}`)
    assert.deepInclude(placed, { orderId: "shipped", product: "lamp", quantity: 1, amount: 900, paid: 0 })
    await until(ask, "/orders/shipped", { isReserved: true, status: "placed" })
    await send(ask, "POST", "/orders/shipped/payment", { amount: 900 })
    await until(ask, "/orders/shipped", { status: "shipping", paid: 900 })
    const { cursor: shippedAt } = Object(await send(ask, "POST", "/orders/shipped/shipment"))
    const shipped = await send(ask, "GET", `/orders/shipped?after=${shippedAt}`)
    assert.deepInclude(shipped, { status: "shipped", isReserved: true, paid: 900, refunded: 0 })
    const done = await until(ask, "/orders/shipped/fulfilment", { status: "completed" })
    assert.deepInclude(done, { isPaid: true, isReserved: true, deadlines: {} })
    assert.includeMembers(typesOf(done), ["FulfilmentBegun", "fulfilment.cancelled.PaymentDue", "fulfilment.completed"])
  },

  "cancels an unpaid order after a restart, and refunds a late payment": async (ask, restart) => {
    await send(ask, "POST", "/stock/lamp/deliveries", { quantity: 3 })
    await place(ask, "late", { payWithin: 4 })
    await place(ask, "patient")
    const running = await until(ask, "/orders/late/fulfilment", { status: "running", isPaid: false })
    assert.strictEqual(at(running, "deadlines", "PaymentDue"), at(running, "nextDueAt"))
    const again = await restart()
    const late = await until(again, "/orders/late", { status: "cancelled", isReserved: false })
    assert.deepInclude(late, { reason: "not paid in time", paid: 0 })
    assert.include(typesOf(await until(again, "/orders/late/fulfilment", {})), "fulfilment.fired.PaymentDue")
    await send(again, "POST", "/orders/late/payment", { amount: 900 })
    await until(again, "/orders/late", { paid: 900, refunded: 900, status: "cancelled" })
    await until(again, "/orders/patient", { status: "placed" })
  },

  "refunds an order that is out of stock, paid wrongly, or not shipped": async (ask) => {
    await send(ask, "POST", "/stock/lamp/deliveries", { quantity: 3 })
    await place(ask, "missing", { product: "chair" })
    await place(ask, "wrong")
    await place(ask, "broken")
    await send(ask, "POST", "/orders/missing/payment", { amount: 900 })
    await send(ask, "POST", "/orders/wrong/payment", { amount: 1 })
    await send(ask, "POST", "/orders/broken/payment", { amount: 900 })
    await until(ask, "/orders/broken", { status: "shipping" })
    await send(ask, "POST", "/orders/broken/failed-shipment")
    await until(ask, "/orders/missing", { status: "cancelled", reason: "out of stock", refunded: 900 })
    await until(ask, "/orders/wrong", { status: "cancelled", reason: "wrong amount", refunded: 1 })
    await until(ask, "/orders/broken", {
      status: "cancelled",
      reason: "not deliverable",
      refunded: 900,
      isReserved: false
    })
  }
}

const stores = {
  memory: memoryStores,
  PGlite: PgStores.layer.pipe(Layer.provide(layerPglite())),
  PostgreSQL: PgStores.layer.pipe(Layer.provide(layerPostgres({ poolSize: 10 })))
}

for (const [name, layer] of Object.entries(stores)) {
  describe(`the shop over HTTP on ${name}`, () => {
    for (const [what, flow] of Object.entries(flows)) {
      it.live(what, () =>
        Effect.gen(function*() {
          const store = Layer.succeedContext(yield* Layer.build(layer))
          const scopes = [yield* Scope.make()]
          const program = () => Effect.runPromise(Scope.provide(start(store), scopes.at(-1)!)).then(client)
          const stop = () => Effect.runPromise(Scope.close(scopes.at(-1)!, Exit.void))
          const ask = yield* Effect.promise(program)
          const restart = async () => {
            await stop()
            scopes.push(Scope.makeUnsafe())
            return program()
          }
          yield* Effect.ensuring(Effect.promise(() => flow(ask, restart)), Effect.promise(stop))
        }))
    }
  })
}

describe("the endpoints of the shop", () => {
  const scope = Scope.makeUnsafe()
  let store: Context.Context<Layer.Success<typeof memoryStores>>
  let url: string
  let ask: Ask

  beforeAll(async () => {
    store = await Effect.runPromise(Scope.provide(Layer.build(memoryStores), scope))
    url = await Effect.runPromise(Scope.provide(start(Layer.succeedContext(store)), scope))
    ask = client(url)
    await send(ask, "POST", "/stock/lamp/deliveries", { quantity: 1000 })
  })
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

  const expectError = async (status: number, tag: string, request: Parameters<Ask>, more: object = {}) => {
    const { json } = await ask(...request).then(expectStatus(status))
    assert.deepInclude(json, { _tag: tag, ...more })
    assert.isNotEmpty(at(json, "message"))
    return json
  }

  const eventsOf = (stream: string) =>
    Effect.runPromise(
      Stream.runCollect(EventStore.readStreamEncoded(stream)).pipe(Effect.provideContext(store))
    )

  const bodies: ReadonlyArray<readonly [field: string, body: object]> = [
    ["product", { product: undefined }],
    ["product", { product: "a b" }],
    ["orderId", { orderId: "" }],
    ["orderId", { orderId: "__proto__" }],
    ["orderId", { orderId: "o".repeat(129) }],
    ["quantity", { quantity: 0 }],
    ["quantity", { quantity: 1001 }],
    ["quantity", { quantity: "1" }],
    ["amount", { amount: 0 }],
    ["amount", { amount: 1.5 }],
    ["amount", { amount: 1e12 }],
    ["address", { address: "a\u0000b" }],
    ["address", { address: "\ud800" }],
    ["address", { address: "a".repeat(201) }],
    ["payWithin", { payWithin: 0 }],
    ["payWithin", { payWithin: 86_401 }],
    ["colour", { colour: "red" }]
  ]
  for (const [field, body] of bodies) {
    it(`rejects ${JSON.stringify(body).slice(0, 50)} of an order`, async () => {
      const json = await expectError(400, "InvalidInput", ["POST", "/orders", { body: { ...order, ...body } }], {
        in: "body"
      })
      assert.include(Array.from(Object(at(json, "issues")), (issue) => at(issue, "field")), field)
    })
  }

  const requests: ReadonlyArray<readonly [part: string, ...request: Parameters<Ask>]> = [
    ["body", "POST", "/orders/o/payment", { body: { amount: 0 } }],
    ["body", "POST", "/orders/o/payment", { body: {} }],
    ["body", "POST", "/stock/lamp/deliveries", { body: { quantity: -1 } }],
    ["path", "POST", "/stock/a%20b/deliveries", { body: { quantity: 1 } }],
    ["path", "POST", "/orders/%00/shipment"],
    ["path", "GET", "/orders/%20"],
    ["path", "GET", "/orders/a%20b/fulfilment"],
    ["query", "GET", "/orders?status=asleep"],
    ["query", "GET", "/orders?limit=0"],
    ["query", "GET", "/orders?cursor=%25"],
    ["query", "GET", "/orders?after=x"],
    ["query", "GET", "/orders/o?at=1"],
    ["query", "GET", "/fulfilments?status=placed"],
    ["query", "GET", "/fulfilments?limit=1001"],
    ["headers", "POST", "/orders/o/shipment", { headers: { "x-actor": "" } }],
    ["headers", "POST", "/orders/o/shipment", { headers: { "idempotency-key": "k".repeat(257) } }]
  ]
  for (const [part, ...request] of requests) {
    it(`rejects the ${part} of ${request[0]} ${request[1]} ${JSON.stringify(request[2] ?? {}).slice(0, 30)}`, () =>
      expectError(400, "InvalidInput", request, { in: part }))
  }

  it("returns 404 for an order that does not exist", async () => {
    const orderId = "nothing"
    await expectError(404, "OrderNotFound", ["GET", "/orders/nothing"], { orderId })
    await expectError(404, "OrderNotFound", ["POST", "/orders/nothing/payment", { body: { amount: 1 } }], { orderId })
    await expectError(404, "OrderNotFound", ["POST", "/orders/nothing/shipment"], { orderId })
    await expectError(404, "OrderNotFound", ["POST", "/orders/nothing/failed-shipment"], { orderId })
    await expectError(404, "FulfilmentNotFound", ["GET", "/orders/nothing/fulfilment"], { orderId })
    assert.isEmpty(await eventsOf("Payment-nothing"))
  })

  it("returns 409 for an order that exists, is paid, or is not shipping", async () => {
    const orderId = "twice"
    await place(ask, orderId)
    await expectError(409, "OrderExists", ["POST", "/orders", { body: { ...order, orderId } }], { orderId })
    await expectError(409, "NotShipping", ["POST", "/orders/twice/shipment"], { orderId, status: "placed" })
    await send(ask, "POST", "/orders/twice/payment", { amount: 900 })
    await expectError(409, "AlreadyPaid", ["POST", "/orders/twice/payment", { body: { amount: 900 } }], { orderId })
    await until(ask, "/orders/twice", { status: "shipping" })
    await send(ask, "POST", "/orders/twice/shipment")
    await expectError(409, "NotShipping", ["POST", "/orders/twice/failed-shipment"], { orderId, status: "shipped" })
  })

  it("carries out a request once under its Idempotency-Key, with its actor", async () => {
    const headers = (key: string) => ({ headers: { "idempotency-key": key, "x-actor": "bob" } })
    const placing = { body: order, ...headers("place-1") }
    const [first, again] = [await ask("POST", "/orders", placing), await ask("POST", "/orders", placing)]
    assert.deepStrictEqual([first.status, first.text], [201, again.text])
    const orderId = String(at(first.json, "orderId"))
    const paying = { body: { amount: 900 }, ...headers("pay-1") }
    const paid = await ask("POST", `/orders/${orderId}/payment`, paying)
    assert.strictEqual((await ask("POST", `/orders/${orderId}/payment`, paying)).text, paid.text)
    await expectError(422, "IdempotencyKeyReused", ["POST", `/orders/${orderId}/payment`, {
      body: { amount: 800 },
      ...headers("pay-1")
    }])
    await expectError(422, "IdempotencyKeyReused", ["POST", "/stock/lamp/deliveries", {
      body: { quantity: 1 },
      ...headers("place-1")
    }])
    await until(ask, `/orders/${orderId}`, { status: "shipping" })
    const events = await eventsOf(`Order-${orderId}`)
    assert.deepStrictEqual(
      events.map(({ metadata, type }) => [type, at(metadata, "actor"), at(metadata, "correlationId")]),
      [["OrderPlaced", "bob", "place-1"], ["ShipmentRequested", "process:fulfilment@1", "pay-1"]]
    )
    assert.lengthOf(await eventsOf(`Payment-${orderId}`), 1)
  })

  it("lists orders by status, the newest first, in pages", async () => {
    const ids = ["list-1", "list-2", "list-3"]
    let after = ""
    for (const id of ids) {
      after = String(at(await place(ask, id, { product: "none" }), "cursor"))
      // The log records milliseconds.
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const newest = await send(ask, "GET", `/orders?limit=1&after=${after}`)
    assert.strictEqual(at(newest, "items", 0, "orderId"), "list-3")
    for (const id of ids) await until(ask, `/orders/${id}`, { status: "cancelled" })
    const found: Array<unknown> = []
    let next: unknown = ""
    while (next !== undefined) {
      const page = await send(ask, "GET", `/orders?status=cancelled&limit=2${next === "" ? "" : `&cursor=${next}`}`)
      found.push(...Object(at(page, "items")))
      next = at(page, "next")
    }
    assert.deepStrictEqual(
      found.map((one) => String(at(one, "orderId"))).filter((id) => id.startsWith("list-")),
      ids.toReversed()
    )
    assert.isTrue(found.every((one) => at(one, "status") === "cancelled"))
  })

  it("lists processes by their next deadline, and shows their steps", async () => {
    await place(ask, "slow", { payWithin: 3000 })
    await place(ask, "fast", { payWithin: 2000 })
    for (const id of ["slow", "fast"]) await until(ask, `/orders/${id}/fulfilment`, { isReserved: true })
    const { items } = Object(await send(ask, "GET", "/fulfilments?status=running&limit=1000"))
    const ids = Array.from(items, (item) => at(item, "orderId"))
    assert.isBelow(ids.indexOf("fast"), ids.indexOf("slow"))
    assert.isAtLeast(ids.indexOf("fast"), 0)
    const fulfilment = await send(ask, "GET", "/orders/fast/fulfilment")
    assert.deepStrictEqual(typesOf(fulfilment), [
      "fulfilment.received",
      "FulfilmentBegun",
      "fulfilment.send.ReserveStock",
      "fulfilment.deadline.PaymentDue",
      "fulfilment.received",
      "FulfilmentReserved"
    ])
    assert.notProperty(fulfilment, "stuckAt")
  })

  it("reserves stock for an order whose id is a name of JavaScript", async () => {
    await place(ask, "constructor")
    await until(ask, "/orders/constructor", { isReserved: true })
  })

  it("reports the process manager at /health", async () => {
    const { json } = await poll(() => ask("GET", "/health"), ({ status }) => status === 200)
    const consumersOf = (part: string) => Array.from(Object(at(json, part)), (one) => String(at(one, "consumer")))
    const workers = ["orders@1", "subscription:fulfilment.outputs@1", "subscription:fulfilment@1", "users@1"]
    assert.deepStrictEqual(consumersOf("workers").toSorted(), workers)
    assert.deepStrictEqual(consumersOf("consumers").toSorted(), ["fulfilment.instances@1", ...workers])
  })

  it.live("works with a typed client of its contract", () =>
    Effect.gen(function*() {
      const api = yield* HttpApiClient.make(Api, { baseUrl: url })
      const [orderId, product] = [OrderId.make("typed"), Product.make("lamp")]
      const { cursor } = yield* api.orders.place({ headers: {}, payload: { ...order, orderId, product } })
      const found = yield* api.orders.get({ params: { id: orderId }, query: { after: cursor } })
      assert.strictEqual(found.orderId, orderId)
      const failed = yield* Effect.flip(api.orders.reportShipment({ params: { id: orderId }, headers: {} }))
      assert(failed._tag === "NotShipping", failed._tag)
      assert.strictEqual(failed.status, "placed")
    }).pipe(Effect.provide(FetchHttpClient.layer)))
})
