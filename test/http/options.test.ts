/** The options of endpoints, and endpoints of one's own beside them, over a real socket. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Option, Schema, Stream } from "effect"
import { FetchHttpClient, HttpRouter } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiClient, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"
import {
  AsOf,
  AsOfNotReached,
  EventStore,
  EventStoreError,
  ProjectionStore,
  Query,
  QueryBus,
  StoreUnavailable,
  Version
} from "evsrc"
import { HttpCommand, HttpErrors, HttpFallback, HttpHandlers, HttpProblems, HttpQuery } from "evsrc/http"
import { internals } from "../../src/core/internals.ts"
import * as Orders from "./Orders.ts"
import { type Answer, client, memory, serve } from "./Server.ts"

const field = ({ json }: Answer, name: string) => Reflect.get(Object(json), name)
const tagOf = (answer: Answer) => field(answer, "_tag")

const params = { orderId: Orders.OrderId }

const pay = HttpCommand.endpoint(Orders.PayOrder, {
  path: "/orders/:orderId/payment",
  headers: { "x-actor": Schema.optionalKey(Schema.String.check(Schema.isMaxLength(10))) },
  context: (headers) => ({ actor: headers["x-actor"] }),
  status: { OrderNotFound: 404, WrongStatus: 409 },
  onConflict: (conflict, { orderId }) => conflict.actual === 0 ? new Orders.OrderNotFound({ orderId }) : conflict
})
const list = HttpQuery.endpoint(Orders.ListOrders, { path: "/orders", rename: { after: "cursor" }, page: "after" })

/** Endpoints of one's own. */
const place = HttpApiEndpoint.post("place", "/orders/:orderId", {
  params,
  headers: HttpCommand.headersWith({ "x-amount": Schema.optionalKey(Schema.Int) }),
  success: Schema.Struct({ version: Version.Version }),
  error: [...HttpErrors.ofCommands, HttpErrors.withStatus(Orders.OrderExists, 409)]
}).middleware(HttpProblems.HttpProblems)
const state = HttpApiEndpoint.get("state", "/orders/:orderId/state", {
  params,
  query: { after: HttpQuery.after, version: Schema.optionalKey(Version.Version) },
  success: Schema.String,
  error: [
    ...HttpErrors.ofQueries,
    HttpErrors.withStatus(Orders.OrderNotFound, 404),
    HttpErrors.withStatus(AsOfNotReached, 404)
  ]
}).middleware(HttpProblems.HttpProblems)
const count = HttpApiEndpoint.get("count", "/orders/:orderId/count", {
  params,
  success: Schema.Int,
  error: HttpErrors.ofReads
}).middleware(HttpProblems.HttpProblems)

const Api = HttpApi.make("shop").add(HttpApiGroup.make("orders").add(pay, list, place, state, count))

const group = HttpHandlers.layerWith(Api, "orders", (others) =>
  others
    .handle("place", ({ headers, params: { orderId } }) =>
      Effect.map(
        HttpHandlers.dispatch(Orders.PlaceOrder, { orderId, amount: headers["x-amount"] ?? 1 }, headers),
        ({ version }) => ({ version })
      ))
    .handle(
      "state",
      Effect.fnUntraced(function*({ params: { orderId }, query: { after, version } }) {
        if (version === undefined) {
          const { paid } = yield* HttpHandlers.ask(Orders.GetOrder, { orderId }, { after })
          return paid ? "Paid" : "Placed"
        }
        const { state } = yield* HttpHandlers.ask(Orders.GetOrderAsOf, { orderId, asOf: AsOf.version(version) })
        return state
      })
    )
    .handle("count", ({ params: { orderId } }) =>
      HttpHandlers.mapReadErrors(Stream.runCount(EventStore.readStreamEncoded(`Order-${orderId}`)))))

const start = (stores: Layer.Layer<EventStore.EventStore | ProjectionStore.ProjectionStore> = memory) =>
  Effect.gen(function*() {
    const services = Layer.succeedContext(
      yield* Layer.build(Orders.layer.pipe(Layer.provideMerge(stores), Layer.provide(Logger.layer([]))))
    )
    const url = yield* serve(
      Layer.merge(
        HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }),
        HttpFallback.layer(Api, { paths: { "/openapi.json": ["GET"] } })
      ).pipe(Layer.provide(group), HttpRouter.provideRequest(services), Layer.provide(services))
    )
    const actors = Stream.runCollect(EventStore.readAllEncoded()).pipe(
      Effect.map((events) => events.map(({ metadata }) => metadata.actor)),
      Effect.provide(services)
    )
    return { actors, ask: client(url), url }
  })

/** Runs a test against a server of its own. */
const served = (test: (ask: ReturnType<typeof client>) => Promise<void>) => () =>
  Effect.flatMap(start(), ({ ask }) => Effect.promise(() => test(ask)))

describe("the options of an endpoint of a command", () => {
  it.live("`context` takes the actor from a further header", () =>
    Effect.gen(function*() {
      const { actors, ask } = yield* start()
      yield* Effect.promise(async () => {
        for (const [order, headers] of [["o1", { "x-actor": "ann" }], ["o2", {}]] as const) {
          await ask("POST", `/orders/${order}`)
          const paid = await ask("POST", `/orders/${order}/payment`, { body: { amount: 5 }, headers })
          assert.strictEqual(paid.status, 200, paid.text)
        }
        const headers = { "x-actor": "a name that is too long" }
        const wrong = await ask("POST", "/orders/o1/payment", { body: { amount: 5 }, headers })
        assert.deepStrictEqual([wrong.status, field(wrong, "in")], [400, "headers"])
        const { json } = await ask("GET", "/openapi.json")
        assert.include(JSON.stringify(json), "\"name\":\"x-actor\"")
      })
      assert.deepStrictEqual(yield* actors, ["anonymous", "ann", "anonymous", "anonymous"])
    }))

  it.live(
    "`onConflict` returns the error of a conflict",
    served(async (ask) => {
      const paid = (version: string) =>
        ask("POST", "/orders/o1/payment", { body: { amount: 5 }, headers: { "if-match": version } })
      const absent = await paid("3")
      assert.deepStrictEqual([absent.status, tagOf(absent)], [404, "OrderNotFound"])
      await ask("POST", "/orders/o1")
      const stale = await paid("3")
      assert.deepStrictEqual([stale.status, tagOf(stale), field(stale, "actual")], [409, "ConcurrencyConflict", 1])
    })
  )
})

describe("the option `location` of an endpoint of a command", () => {
  const at = (location: `/${string}`) => () =>
    HttpCommand.endpoint(Orders.PlaceOrder, {
      path: "/orders",
      rename: { orderId: "id" },
      location,
      status: { OrderExists: 409 }
    })

  it("throws for a parameter that is not a field of the request", () => {
    assert.throws(
      at("/orders/:orderId"),
      `"PlaceOrder" with the location /orders/:orderId: the payload has no field "orderId"; its fields are "id", "amount", "note"`
    )
    at("/orders/:id")()
  })
})

describe("the option `page` of an endpoint of a query", () => {
  it.live(
    "links the next page with the other parameters",
    served(async (ask) => {
      let version: Answer | undefined
      for (const order of ["a", "b", "c"]) version = await ask("POST", `/orders/${order}`)
      assert.strictEqual(version?.status, 200)
      const first = await ask("GET", "/orders?paid=false&limit=2&after=3")
      const [, link = ""] = /^<(.*)>; rel="next"$/.exec(first.headers.get("link") ?? "") ?? []
      assert.strictEqual(link, `?paid=false&limit=2&after=3&cursor=${String(field(first, "next"))}`)
      const second = await ask("GET", `/orders${link}`)
      assert.deepStrictEqual(second.json, { items: [{ orderId: "c", amount: 1, paid: false }] })
      assert.isNull(second.headers.get("link"))
    })
  )

  it.live("takes a `next` that is null, or an Option without a value, for the last page", () =>
    Effect.gen(function*() {
      const payload = { after: Schema.optionalKey(Schema.String) }
      const Nullable = Query.make("Nullable", {
        payload,
        success: Schema.Struct({ next: Schema.NullOr(Schema.String) })
      })
      const Optional = Query.make("Optional", {
        payload,
        success: Schema.Struct({ next: Schema.OptionFromNullOr(Schema.String) })
      })
      const options = { rename: { after: "cursor" }, page: "after" } as const
      const Pages = HttpApi.make("pages").add(
        HttpApiGroup.make("pages").add(
          HttpQuery.endpoint(Nullable, { path: "/nullable", ...options }),
          HttpQuery.endpoint(Optional, { path: "/optional", ...options })
        )
      )
      const url = yield* serve(
        HttpApiBuilder.layer(Pages).pipe(
          Layer.provide(HttpHandlers.layer(Pages, "pages")),
          Layer.provide(
            QueryBus.handler(Nullable, ({ after }) => Effect.succeed({ next: after === undefined ? "p2" : null }))
          ),
          Layer.provide(
            QueryBus.handler(Optional, ({ after }) =>
              Effect.succeed({ next: after === undefined ? Option.some("p2") : Option.none() }))
          )
        )
      )
      for (const path of ["/nullable", "/optional"]) {
        const first = yield* Effect.promise(() =>
          client(url)("GET", path)
        )
        assert.deepStrictEqual([first.status, first.json], [200, { next: "p2" }])
        assert.strictEqual(first.headers.get("link"), "<?cursor=p2>; rel=\"next\"")
        const last = yield* Effect.promise(() => client(url)("GET", `${path}?cursor=p2`))
        assert.deepStrictEqual([last.status, last.json], [200, { next: null }])
        assert.isNull(last.headers.get("link"))
      }
    }))

  it("throws for a field that is not a parameter", () => {
    const named = { path: "/orders", method: "POST", page: "after", rename: { after: "cursor" } } as const
    assert.throws(() => HttpQuery.endpoint(Orders.ListOrders, named), /"after" is in the path, in the body/)
  })
})

describe("an endpoint of your own", () => {
  it.live(
    "dispatches a command under the key and the conditions of the request",
    served(async (ask) => {
      const headers = { "idempotency-key": "k1", "if-none-match": "*", "x-amount": "7" }
      const placed = await ask("POST", "/orders/o1", { headers })
      assert.deepStrictEqual([placed.status, placed.headers.get("etag"), placed.json], [200, "\"1\"", { version: 1 }])
      assert.deepStrictEqual((await ask("POST", "/orders/o1", { headers })).json, placed.json)
      const exists = await ask("POST", "/orders/o1")
      assert.deepStrictEqual([exists.status, tagOf(exists)], [409, "OrderExists"])
      const stale = await ask("POST", "/orders/o1", { headers: { "if-none-match": "*" } })
      assert.deepStrictEqual([stale.status, tagOf(stale)], [412, "PreconditionFailed"])
      const both = await ask("POST", "/orders/o1", { headers: { "if-none-match": "*", "if-match": "1" } })
      assert.deepStrictEqual([both.status, field(both, "in")], [400, "headers"])
    })
  )

  it.live(
    "asks a query, and waits for `after`",
    served(async (ask) => {
      await ask("POST", "/orders/o1")
      const paid = await ask("POST", "/orders/o1/payment", { body: { amount: 1 } })
      const read = await ask("GET", `/orders/o1/state?after=${String(field(paid, "cursor"))}`)
      assert.strictEqual(read.json, "Paid")
      assert.strictEqual((await ask("GET", "/orders/o1/state?version=1")).json, "Placed")
      const absent = await ask("GET", "/orders/o2/state")
      assert.deepStrictEqual([absent.status, tagOf(absent)], [404, "OrderNotFound"])
    })
  )

  it.live("fails with ProjectionBehind when the read model does not reach `after` in time", () =>
    Effect.gen(function*() {
      const { ask } = yield* start().pipe(Effect.provideService(HttpHandlers.ReadTimeout, "50 millis"))
      const late = yield* Effect.promise(() => ask("GET", "/orders/o1/state?after=1000000"))
      assert.deepStrictEqual([late.status, tagOf(late)], [503, "ProjectionBehind"])
      assert.strictEqual(late.headers.get("retry-after"), "1")
    }))

  it.live("sends points in time in the form of requests, and a client decodes them", () =>
    Effect.gen(function*() {
      const { ask, url } = yield* start()
      yield* Effect.promise(() => ask("POST", "/orders/o1"))
      const later = yield* Effect.promise(() => ask("GET", "/orders/o1/state?version=9"))
      assert.strictEqual(later.status, 404)
      assert.deepInclude(later.json, { _tag: "AsOfNotReached", asOf: "version:9", reached: "version:1" })
      const { orders } = yield* HttpApiClient.make(Api, { baseUrl: url })
      const error = yield* Effect.flip(
        orders.state({ params: { orderId: Orders.OrderId.make("o1") }, query: { version: Version.make(9) } })
      )
      assert.instanceOf(error, AsOfNotReached)
      assert.deepStrictEqual(error.reached, AsOf.version(1))
    }).pipe(Effect.provide(FetchHttpClient.layer)))

  it.live("hides the details of an error of the store", () => {
    const away = Layer.effect(
      EventStore.EventStore,
      Effect.flatMap(EventStore.EventStore, ({ [internals]: { driver } }) =>
        EventStore.make({
          ...driver,
          readStream: () =>
            Effect.fail(
              new EventStoreError({ reason: new StoreUnavailable({ message: "secret host", cause: undefined }) })
            )
        }))
    ).pipe(Layer.provide(EventStore.layerMemory), Layer.merge(ProjectionStore.layerMemory))
    return Effect.flatMap(start(away), ({ ask }) =>
      Effect.promise(async () => {
        const answer = await ask("GET", "/orders/o1/count")
        assert.deepStrictEqual([answer.status, tagOf(answer)], [503, "StoreUnavailable"])
        assert.strictEqual(answer.headers.get("retry-after"), "1")
      }))
  })
})

describe("HttpFallback", () => {
  it.live(
    "answers OPTIONS with the methods of the path",
    served(async (ask) => {
      const options = await ask("OPTIONS", "/orders/o1/state?x=1")
      assert.deepStrictEqual([options.status, options.text, options.headers.get("allow")], [
        204,
        "",
        "GET, HEAD, OPTIONS"
      ])
      assert.strictEqual((await ask("OPTIONS", "/nothing")).status, 404)
    })
  )

  it.live("joins the methods of paths that differ only in the names of parameters", () =>
    Effect.gen(function*() {
      const routes = HttpApiBuilder.layer(Orders.Api).pipe(
        Layer.provide(HttpHandlers.layer(Orders.Api, "orders")),
        Layer.provide(Orders.layer),
        Layer.provide(memory)
      )
      const ask = client(yield* serve(Layer.merge(HttpFallback.layer(Orders.Api), routes)))
      yield* Effect.promise(async () => {
        const patched = await ask("PATCH", "/orders/o1")
        assert.strictEqual(patched.status, 200, patched.text)
        assert.strictEqual((await ask("GET", "/orders/o1")).status, 404)
        const method = await ask("DELETE", "/orders/o1")
        assert.deepStrictEqual([method.status, method.headers.get("allow")], [405, "PATCH, GET, HEAD, OPTIONS"])
      })
    }))

  it.live(
    "answers methods of paths beside the API, and paths that are not UTF-8",
    served(async (ask) => {
      const method = await ask("DELETE", "/openapi.json")
      assert.deepStrictEqual([method.status, method.headers.get("allow")], [405, "GET, HEAD, OPTIONS"])
      const broken = await ask("GET", "/orders%FF")
      assert.strictEqual(broken.status, 400)
      assert.deepInclude(broken.json, { _tag: "InvalidInput", in: "path" })
    })
  )

  it.live(
    "reports a parameter that is too long for the router, and shortens the path",
    served(async (ask) => {
      const parameter = await ask("GET", `/orders/${"o".repeat(101)}/state`)
      assert.strictEqual(parameter.status, 400)
      assert.deepInclude(parameter.json, { _tag: "InvalidInput", in: "path" })
      assert.include(parameter.text, "longer than the server accepts")
      const path = await ask("GET", `/${"o/".repeat(1000)}`)
      assert.deepStrictEqual([path.status, tagOf(path)], [404, "RouteNotFound"])
      assert.isBelow(path.text.length, 600)
    })
  )
})

describe("the OpenAPI document", () => {
  it.live(
    "says when each error occurs",
    served(async (ask) => {
      const text = JSON.stringify((await ask("GET", "/openapi.json")).json)
      assert.include(text, "The read model did not reach `after` in time.")
      assert.include(text, "`If-Match` or `If-None-Match` does not hold.")
    })
  )

  it("describes fields whose form in requests differs", () => {
    const described = HttpQuery.endpoint(Orders.FindOrders, {
      path: "/orders/find",
      method: "POST",
      fields: { at: AsOf.FromString.annotate({ description: "In the body." }) }
    })
    const historic = HttpQuery.endpoint(Orders.GetOrderAsOf, {
      path: "/orders/:orderId/history",
      fields: { asOf: Schema.optionalKey(AsOf.FromString).annotate({ description: "In the query string." }) },
      status: { AsOfNotReached: 404 }
    })
    const paths =
      OpenApi.fromApi(HttpApi.make("described").add(HttpApiGroup.make("all").add(described, historic))).paths
    assert.match(JSON.stringify(paths["/orders/find"]), /"at":\{[^}]*"description":"In the body."/)
    assert.match(JSON.stringify(paths["/orders/{orderId}/history"]), /"name":"asOf",[^}]*\}[^}]*"In the query string."/)
  })
})
