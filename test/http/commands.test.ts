/** The endpoints of commands, over a real socket. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import {
  EventStore,
  type EventStoreDriver,
  EventStoreError,
  OutcomeUnknown,
  ProjectionStore,
  StoreUnavailable
} from "evsrc"

import { HttpHandlers } from "evsrc/http"
import { PgStores } from "evsrc/pg"
import { request } from "node:http"
import { internals } from "../../src/core/internals.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"
import { type Answer, client, start } from "./Server.ts"

const tagOf = ({ json }: Answer) => Reflect.get(Object(json), "_tag")
const field = ({ json }: Answer, name: string) => Reflect.get(Object(json), name)

/** Runs a test against a server of its own. */
const served = (test: (ask: ReturnType<typeof client>) => Promise<void>) => () =>
  Effect.flatMap(start(), (url) => Effect.promise(() => test(client(url))))

/** Stores in memory, of which the event store has a changed driver. */
const changed = (change: (driver: EventStoreDriver.EventStoreDriver) => Partial<EventStoreDriver.EventStoreDriver>) =>
  Layer.effect(
    EventStore.EventStore,
    Effect.flatMap(
      EventStore.EventStore,
      ({ [internals]: { driver } }) => EventStore.make({ ...driver, ...change(driver) })
    )
  ).pipe(Layer.provide(EventStore.layerMemory), Layer.merge(ProjectionStore.layerMemory))

const failing = (reason: ConstructorParameters<typeof EventStoreError>[0]["reason"]) =>
  changed(() => ({ append: () => Effect.fail(new EventStoreError({ reason })) }))

/** Sends the headers of a request, and returns the status and the header `Connection` of the response. */
const withoutBody = (url: string, headers: Record<string, string>) =>
  new Promise<readonly [number | undefined, string | undefined]>((resolve, reject) => {
    const sent = request(`${url}/orders`, { method: "POST", headers }, (response) => {
      resolve([response.statusCode, response.headers.connection])
      response.resume()
      sent.destroy()
    })
    sent.on("error", reject)
    sent.flushHeaders()
  })

describe("an endpoint of a command", () => {
  it.live(
    "answers with the receipt, the version as ETag and the location",
    served(async (ask) => {
      const placed = await ask("POST", "/orders", { body: { orderId: "o1", amount: 5 } })
      assert.strictEqual(placed.status, 201)
      assert.strictEqual(placed.headers.get("etag"), "\"1\"")
      assert.strictEqual(placed.headers.get("location"), "/orders/o1")
      assert.strictEqual(field(placed, "version"), 1)
      assert.strictEqual(field(placed, "stream"), "Order-o1")
      assert.match(String(field(placed, "cursor")), /^1_[0-9a-f-]{36}$/)
    })
  )

  it.live(
    "takes fields from the path and from the body",
    served(async (ask) => {
      await ask("POST", "/orders", { body: { orderId: "o1", amount: 5 } })
      const paid = await ask("POST", "/orders/o1/payment", { body: { amount: 5 } })
      assert.strictEqual(paid.status, 200)
      assert.strictEqual(field(paid, "version"), 2)
    })
  )

  it.live(
    "answers a declared error with its status, its fields and its message",
    served(async (ask) => {
      const absent = await ask("POST", "/orders/o%2D9/payment", { body: { amount: 5 } })
      assert.strictEqual(absent.status, 404)
      assert.deepStrictEqual(absent.json, {
        type: "about:blank",
        title: "Not Found",
        status: 404,
        detail: "Order \"o-9\" does not exist",
        message: "Order \"o-9\" does not exist",
        _tag: "OrderNotFound",
        orderId: "o-9"
      })
    })
  )

  it.live(
    "keeps a field of an error that has the name of a problem member",
    served(async (ask) => {
      await ask("POST", "/orders", { body: { orderId: "o1", amount: 5 } })
      await ask("POST", "/orders/o1/payment", { body: { amount: 5 } })
      const again = await ask("POST", "/orders/o1/payment", { body: { amount: 5 } })
      assert.strictEqual(again.status, 409)
      assert.strictEqual(field(again, "status"), "paid")
      assert.strictEqual(field(again, "due"), "0")
    })
  )

  it.live(
    "responds with the option `answer`, and renames fields",
    served(async (ask) => {
      const touched = await ask("PATCH", "/orders/o1")
      assert.strictEqual(touched.status, 200)
      assert.deepStrictEqual(touched.json, { id: "o1", version: 0 })
    })
  )

  it.live(
    "generates an id that the request omits, the same for the same key",
    served(async (ask) => {
      const request = { body: { amount: 5 }, headers: { "idempotency-key": "k1" } }
      const [first, again] = [await ask("POST", "/orders", request), await ask("POST", "/orders", request)]
      assert.strictEqual(first.status, 201)
      assert.deepStrictEqual(again.json, first.json)
      const other = await ask("POST", "/orders", { body: { amount: 5 } })
      assert.notStrictEqual(field(other, "stream"), field(first, "stream"))
      assert.match(
        String(field(first, "stream")),
        /^Order-[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/
      )
    })
  )

  it.live(
    "executes a repeated request once, and rejects its key for another request",
    served(async (ask) => {
      const headers = { "idempotency-key": "k1" }
      const first = await ask("POST", "/orders", { body: { orderId: "o1", amount: 5 }, headers })
      const again = await ask("POST", "/orders", { body: { orderId: "o1", amount: 5 }, headers })
      assert.deepStrictEqual(again.json, first.json)
      const other = await ask("POST", "/orders", { body: { orderId: "o1", amount: 6 }, headers })
      assert.strictEqual(other.status, 422)
      assert.strictEqual(tagOf(other), "IdempotencyKeyReused")
      assert.notInclude(other.text, "o1")
    })
  )

  it.live(
    "responds with 412 when If-Match or If-None-Match does not hold",
    served(async (ask) => {
      const place = (headers: Record<string, string>) =>
        ask("POST", "/orders", { body: { orderId: "o1", amount: 5 }, headers })
      const pay = (headers: Record<string, string>) =>
        ask("POST", "/orders/o1/payment", { body: { amount: 5 }, headers })
      const absent = await pay({ "if-match": "*" })
      assert.strictEqual(absent.status, 412)
      assert.strictEqual(tagOf(absent), "PreconditionFailed")
      assert.strictEqual((await place({ "if-none-match": "*" })).status, 201)
      const exists = await place({ "if-none-match": "*" })
      assert.strictEqual(exists.status, 412)
      const future = await pay({ "if-match": "\"7\"" })
      assert.strictEqual(future.status, 412)
      assert.strictEqual(field(future, "expected"), 7)
      assert.strictEqual(field(future, "actual"), 1)
      assert.strictEqual((await pay({ "if-match": "1" })).status, 200)
    })
  )
})

describe("an invalid request with a command", () => {
  const invalid = (what: string, headers: Record<string, string>, names: string) =>
    it.live(
      `is a 400 with ${what}`,
      served(async (ask) => {
        const answer = await ask("POST", "/orders/o1/payment", { body: { amount: 5 }, headers })
        assert.strictEqual(answer.status, 400)
        assert.strictEqual(tagOf(answer), "InvalidInput")
        assert.strictEqual(field(answer, "in"), "headers")
        assert.include(String(field(answer, "message")), names)
      })
    )
  invalid("an empty Idempotency-Key", { "idempotency-key": "" }, "idempotency-key")
  invalid("a long Idempotency-Key", { "idempotency-key": "k".repeat(257) }, "1 to 256")
  invalid("two keys in Idempotency-Key", { "idempotency-key": "k1, k2" }, "one key")
  invalid("a key that is not ASCII", { "idempotency-key": "clé" }, "ASCII")
  invalid("a weak If-Match", { "if-match": "W/\"3\"" }, "if-match")
  invalid("two versions in If-Match", { "if-match": "\"3\", \"4\"" }, "if-match")
  invalid("a version in If-None-Match", { "if-none-match": "\"3\"" }, "if-none-match")
  invalid("both conditions", { "if-match": "*", "if-none-match": "*" }, "cannot be combined")

  it.live(
    "is a 400 that names every invalid and unknown field",
    served(async (ask) => {
      const answer = await ask("POST", "/orders/o1/payment", { body: { amount: "my secret", amuont: "secret" } })
      assert.strictEqual(answer.status, 400)
      const issues = field(answer, "issues") as ReadonlyArray<{ readonly field: string }>
      assert.deepStrictEqual(issues.map(({ field }) => field).toSorted(), ["amount", "amuont"])
    })
  )

  it.live(
    "is a problem when the body is not JSON, of another type, or too large",
    served(async (ask) => {
      const post = (raw: string, type?: string) =>
        ask("POST", "/orders/o1/payment", type === undefined ? { raw } : { raw, type })
      const broken = await post("{\"amount\": 5")
      assert.deepStrictEqual([broken.status, tagOf(broken)], [400, "InvalidInput"])
      const empty = await ask("POST", "/orders/o1/payment")
      assert.deepStrictEqual([empty.status, tagOf(empty)], [400, "InvalidInput"])
      const text = await post("{\"amount\": 5}", "text/plain")
      assert.deepStrictEqual([text.status, tagOf(text)], [415, "UnsupportedMediaType"])
      const large = await post(JSON.stringify({ amount: 5, note: "y".repeat(2 ** 20) }))
      assert.deepStrictEqual([large.status, tagOf(large)], [413, "BodyTooLarge"])
      const path = await ask("POST", "/orders/o!1/payment", { body: { amount: 5 } })
      assert.deepStrictEqual([path.status, field(path, "in")], [400, "path"])
    })
  )

  it.live("is a problem before the body arrives when the body is too large or compressed", () =>
    Effect.flatMap(start(), (url) =>
      Effect.promise(async () => {
        const headers = { "content-type": "application/json", "content-length": String(2 ** 21) }
        assert.deepStrictEqual(await withoutBody(url, headers), [413, "close"])
        const compressed = { ...headers, "content-length": "5", "content-encoding": "gzip" }
        assert.deepStrictEqual(await withoutBody(url, compressed), [415, "keep-alive"])
      })))
})

describe("a fault behind a command", () => {
  it.live(
    "is a 500 without details when the decider throws",
    served(async (ask) => {
      const answer = await ask("POST", "/orders", { body: { orderId: "o1", amount: 5, note: "explode" } })
      assert.deepStrictEqual([answer.status, tagOf(answer)], [500, "InternalError"])
    })
  )

  const failsWith = (
    name: string,
    reason: ConstructorParameters<typeof EventStoreError>[0]["reason"],
    status: number,
    tag: string
  ) =>
    it.live(name, () =>
      Effect.gen(function*() {
        const ask = client(yield* start(failing(reason)))
        const answer = yield* Effect.promise(() => ask("POST", "/orders", { body: { orderId: "o1", amount: 5 } }))
        assert.deepStrictEqual([answer.status, tagOf(answer)], [status, tag])
        assert.strictEqual(answer.headers.get("retry-after"), "1")
      }))
  const cause = new Error("the secret password")
  failsWith(
    "is a 503 with Retry-After when the store is unreachable",
    new StoreUnavailable({ message: "secret host", cause }),
    503,
    "StoreUnavailable"
  )
  failsWith(
    "is a 503 when the outcome of a write is unknown",
    new OutcomeUnknown({ stream: "Order-o1", message: "secret host", cause }),
    503,
    "OutcomeUnknown"
  )
})

const backEnds = {
  PGlite: PgStores.layer.pipe(Layer.provide(layerPglite())),
  PostgreSQL: PgStores.layer.pipe(Layer.provide(layerPostgres({ poolSize: 10 })))
}

describe.each(Object.entries(backEnds))("on %s", (_, stores) => {
  it.live("places, repeats, pays and reads an order", () =>
    Effect.flatMap(start(stores), (url) =>
      Effect.promise(async () => {
        const ask = client(url)
        const place = () => ask("POST", "/orders", { body: { amount: 5 }, headers: { "idempotency-key": "k1" } })
        const [placed, again] = [await place(), await place()]
        assert.strictEqual(placed.status, 201, placed.text)
        assert.deepStrictEqual(again.json, placed.json)
        const path = placed.headers.get("location") ?? ""
        const pay = () => ask("POST", `${path}/payment`, { body: { amount: 5 }, headers: { "if-match": "\"1\"" } })
        const [paid, stale] = [await pay(), await pay()]
        assert.deepStrictEqual([paid.status, stale.status], [200, 412])
        const read = await ask("GET", `${path}?after=${String(field(paid, "cursor"))}`)
        assert.strictEqual(field(read, "paid"), true)
      })))
})

describe("a server that shuts down", () => {
  const stopped = (
    stores: Parameters<typeof start>[0],
    isWaiting: () => boolean,
    request: (ask: ReturnType<typeof client>) => Promise<Answer>
  ) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const ask = client(yield* Scope.provide(start(stores), scope))
      const answer = yield* Effect.forkChild(Effect.promise(() => request(ask)))
      while (!isWaiting()) yield* Effect.sleep("20 millis")
      yield* Scope.close(scope, Exit.void)
      return yield* Fiber.join(answer)
    })

  it.live("answers that the outcome of a write is unknown", () =>
    Effect.gen(function*() {
      const seen = { append: false }
      const hanging = changed(() => ({
        append: () =>
          Effect.suspend(() => {
            seen.append = true
            return Effect.never
          })
      }))
      const answer = yield* stopped(
        hanging,
        () => seen.append,
        (ask) => ask("POST", "/orders", { body: { orderId: "o1", amount: 5 } })
      )
      assert.deepStrictEqual([answer.status, tagOf(answer)], [503, "OutcomeUnknown"])
    }), 60_000)

  it.live("answers a read with ShuttingDown", () =>
    Effect.gen(function*() {
      const seen = { read: false }
      const hanging = changed(() => ({
        readStream: () =>
          Effect.suspend(() => {
            seen.read = true
            return Effect.never
          })
      }))
      const answer = yield* stopped(hanging, () => seen.read, (ask) => ask("GET", "/orders/o1/history"))
      assert.deepStrictEqual([answer.status, tagOf(answer)], [503, "ShuttingDown"])
    }), 60_000)
})

describe("an endpoint of a query", () => {
  it.live(
    "takes a point in time as a parameter",
    served(async (ask) => {
      await ask("POST", "/orders", { body: { orderId: "o1", amount: 5 } })
      await ask("POST", "/orders/o1/payment", { body: { amount: 5 } })
      const at = (query: string) => ask("GET", `/orders/o1/history${query}`)
      assert.deepStrictEqual((await at("?at=version:1")).json, { version: 1, state: "Placed" })
      assert.deepStrictEqual((await at("?at=position:2")).json, { version: 2, state: "Paid" })
      assert.deepStrictEqual((await at("")).json, { version: 2, state: "Paid" })
      const later = await at("?at=version:9")
      assert.deepStrictEqual([later.status, tagOf(later)], [404, "AsOfNotReached"])
      const wrong = await at("?at=yesterday")
      assert.deepStrictEqual([wrong.status, field(wrong, "in")], [400, "query"])
    })
  )

  it.live(
    "reads the caller's own write by `after`",
    served(async (ask) => {
      for (let n = 1; n <= 5; n++) {
        const placed = await ask("POST", "/orders", { body: { orderId: `o${n}`, amount: n } })
        const read = await ask("GET", `/orders/o${n}?after=${String(field(placed, "cursor"))}`)
        assert.deepStrictEqual(read.json, { orderId: `o${n}`, amount: n, paid: false })
      }
    })
  )

  it.live(
    "answers a declared error, and rejects unknown parameters",
    served(async (ask) => {
      const absent = await ask("GET", "/orders/o1")
      assert.deepStrictEqual([absent.status, tagOf(absent)], [404, "OrderNotFound"])
      const unknown = await ask("GET", "/orders?payed=true")
      assert.deepStrictEqual([unknown.status, field(unknown, "in")], [400, "query"])
      const wrong = await ask("GET", "/orders/o1?after=x")
      assert.deepStrictEqual([wrong.status, field(wrong, "in")], [400, "query"])
    })
  )

  it.live("fails with ProjectionBehind when the read model is behind", () =>
    Effect.gen(function*() {
      const ask = client(
        yield* start().pipe(Effect.provideService(HttpHandlers.ReadTimeout, "50 millis"))
      )
      const answer = yield* Effect.promise(() => ask("GET", "/orders/o1?after=1000000"))
      assert.deepStrictEqual([answer.status, tagOf(answer)], [503, "ProjectionBehind"])
    }))

  it.live(
    "returns a list in pages, and takes a point in time in a body",
    served(async (ask) => {
      let cursor = ""
      for (const orderId of ["a", "b", "c"]) {
        const placed = await ask("POST", "/orders", { body: { orderId, amount: 1 } })
        cursor = String(field(placed, "cursor"))
      }
      const first = await ask("GET", `/orders?limit=2&paid=false&after=${cursor}`)
      assert.strictEqual(first.status, 200)
      const next = await ask("GET", `/orders?limit=2&paid=false&cursor=${String(field(first, "next"))}`)
      assert.deepStrictEqual(next.json, { items: [{ orderId: "c", amount: 1, paid: false }] })
      const found = await ask("POST", "/orders/find", { body: { orderIds: ["a"], at: "version:3" } })
      assert.deepStrictEqual(found.json, ["version 3", "a"])
      const wrong = await ask("POST", "/orders/find", { body: { orderIds: ["a"], at: "yesterday" } })
      assert.deepStrictEqual([wrong.status, field(wrong, "in")], [400, "body"])
    })
  )
})
