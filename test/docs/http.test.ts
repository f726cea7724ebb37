/** Executes the code of docs/http.md. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, Option, Result, Schedule, Schema, Stream } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest, HttpRouter, HttpServer } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiClient, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import {
  Aggregate,
  Command,
  EventStore,
  LogPosition,
  Projection,
  ProjectionStore,
  Projector,
  Query,
  QueryBus,
  Version
} from "evsrc"
import { HttpActor, HttpCommand, HttpErrors, HttpFallback, HttpHandlers, HttpHealth } from "evsrc/http"
import { HttpProblems, HttpQuery, HttpSource, HttpStream } from "evsrc/http"
import { createServer } from "node:http"

const OrderId = Schema.NonEmptyString
const amount = Schema.Int

const OrderEvent = Schema.TaggedUnion({ Placed: { orderId: OrderId, amount }, Paid: { orderId: OrderId } })

class OrderExists extends Schema.TaggedError<OrderExists>()("OrderExists", { orderId: OrderId }) {}
class OrderNotFound extends Schema.TaggedError<OrderNotFound>()("OrderNotFound", { orderId: OrderId }) {}
class AlreadyPaid extends Schema.TaggedError<AlreadyPaid>()("AlreadyPaid", { orderId: OrderId }) {
  override get message() {
    return `Order "${this.orderId}" is paid`
  }
}

const PlaceOrder = Command.make("PlaceOrder", { payload: { orderId: OrderId, amount }, error: OrderExists })
const PayOrder = Command.make("PayOrder", {
  payload: { orderId: OrderId, amount },
  error: Schema.Union([OrderNotFound, AlreadyPaid])
})

const Order = Aggregate.make("Order", {
  id: "orderId",
  state: Schema.Literals(["absent", "placed", "paid"]),
  events: OrderEvent,
  commands: [PlaceOrder, PayOrder]
}).decider({
  initial: "absent",
  evolve: { Placed: () => "placed" as const, Paid: () => "paid" as const },
  decide: {
    PlaceOrder: (state, { amount, orderId }) =>
      state === "absent"
        ? [OrderEvent.cases.Placed.make({ orderId, amount })]
        : Result.fail(new OrderExists({ orderId })),
    PayOrder: (state, { orderId }) =>
      state === "placed"
        ? [OrderEvent.cases.Paid.make({ orderId })]
        : Result.fail(state === "paid" ? new AlreadyPaid({ orderId }) : new OrderNotFound({ orderId }))
  }
})

const OrderView = Schema.Struct({ orderId: OrderId, amount, paid: Schema.Boolean })
const OrderChange = Schema.Struct({ what: Schema.String, orderId: OrderId })
const OrdersProjection = Projection.make("orders", {
  events: OrderEvent,
  document: OrderView,
  key: (event) => event.orderId,
  evolve: {
    Placed: (_, { amount, orderId }) => ({ orderId, amount, paid: false }),
    Paid: (order) => order && { ...order, paid: true }
  }
})

const GetOrder = Query.make("GetOrder", { payload: { orderId: OrderId }, success: OrderView, error: OrderNotFound })
const ListOrders = Query.make("ListOrders", {
  payload: { after: Schema.optionalKey(Schema.String) },
  success: Schema.Struct({ items: Schema.Array(OrderView), next: Schema.optionalKey(Schema.String) })
})

const Orders = Layer.mergeAll(
  Aggregate.layer(Order),
  Projector.layer([OrdersProjection]),
  QueryBus.handler(GetOrder, ({ orderId }) =>
    Effect.flatMap(
      ProjectionStore.get(OrdersProjection, orderId),
      Option.match({ onNone: () => Effect.fail(new OrderNotFound({ orderId })), onSome: Effect.succeed })
    )),
  QueryBus.handler(
    ListOrders,
    ({ after }) =>
      Effect.map(
        ProjectionStore.list(OrdersProjection, { after, limit: 1 }),
        ({ items, next }) => ({ items, ...Option.match(next, { onNone: () => ({}), onSome: (next) => ({ next }) }) })
      )
  )
)

const placeOrder = HttpCommand.endpoint(PlaceOrder, {
  path: "/orders",
  success: 201,
  generate: "orderId",
  location: "/orders/:orderId",
  status: { OrderExists: 409 }
})
const payOrder = HttpCommand.endpoint(PayOrder, {
  path: "/orders/:orderId/payment",
  status: { OrderNotFound: 404, AlreadyPaid: 409 }
})
const getOrder = HttpQuery.endpoint(GetOrder, { path: "/orders/:orderId", status: { OrderNotFound: 404 } })
const listOrders = HttpQuery.endpoint(ListOrders, { path: "/orders", rename: { after: "cursor" }, page: "after" })

const payAtTerminal = HttpCommand.endpoint(PayOrder, {
  name: "payAtTerminal",
  path: "/orders/:orderId/terminal-payment",
  status: { OrderNotFound: 404, AlreadyPaid: 409 },
  headers: { "x-terminal": Schema.String },
  context: (headers) => ({ attributes: { terminal: headers["x-terminal"] } }),
  onConflict: (conflict, { orderId }) => conflict.actual === 0 ? new OrderNotFound({ orderId }) : conflict
})

const Api = HttpApi.make("shop").add(
  HttpApiGroup.make("orders").add(placeOrder, payOrder, getOrder, listOrders)
).middleware(HttpActor.HttpActor)

const Actors = HttpActor.layer(({ headers }) =>
  headers["authorization"] === "Bearer t-ann"
    ? Effect.succeed("ann")
    : Effect.fail(new HttpErrors.Unauthenticated({ message: "The token is not valid" }))
)

const Routes = Layer.merge(HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }), HttpFallback.layer(Api)).pipe(
  Layer.provide(HttpHandlers.layer(Api, "orders")),
  Layer.provide(Actors),
  Layer.provide(Orders)
)

const checkout = HttpApiEndpoint.post("checkout", "/orders/:orderId/checkout", {
  params: { orderId: OrderId },
  headers: HttpCommand.headersWith({}),
  success: OrderView,
  error: [
    ...HttpErrors.ofCommands,
    ...HttpErrors.ofQueries,
    HttpErrors.withStatus(OrderNotFound, 404),
    HttpErrors.withStatus(AlreadyPaid, 409)
  ]
}).middleware(HttpProblems.HttpProblems)
const Checkouts = HttpApi.make("checkouts").add(HttpApiGroup.make("checkouts").add(payAtTerminal, checkout))

const CheckoutHandlers = HttpHandlers.layerWith(Checkouts, "checkouts", (others) =>
  others.handle(
    "checkout",
    Effect.fnUntraced(function*({ headers, params: { orderId } }) {
      const { amount } = yield* HttpHandlers.ask(GetOrder, { orderId })
      const receipt = yield* HttpHandlers.dispatch(PayOrder, { orderId, amount }, headers)
      return yield* HttpHandlers.ask(GetOrder, { orderId }, { after: LogPosition.ofReceipt(receipt) })
    }),
    // So that the server answers a write that its shutdown interrupts.
    { uninterruptible: true }
  ))
const CheckoutRoutes = HttpApiBuilder.layer(Checkouts).pipe(
  Layer.provide(CheckoutHandlers),
  HttpRouter.provideRequest(Orders),
  Layer.provide(Orders)
)

const orderChanges = HttpStream.changes("orderChanges", { path: "/changes", data: OrderChange })
const watchOrder = HttpStream.watch("watchOrder", {
  path: "/orders/:orderId/live",
  params: { orderId: OrderId },
  data: Schema.NullOr(OrderView)
})
const health = HttpHealth.endpoint("health", { path: "/health" })
const Live = HttpApi.make("live").add(HttpApiGroup.make("live").add(orderChanges, watchOrder, health))

const LiveHandlers = HttpHandlers.layerWith(Live, "live", (others) =>
  others
    .handle(
      "orderChanges",
      HttpSource.changes(
        orderChanges,
        HttpSource.ofEvents(OrderEvent, ({ event }) => ({ what: event._tag, orderId: event.orderId }))
      )
    )
    .handle(
      "watchOrder",
      HttpSource.watch(watchOrder, ({ orderId }) =>
        Stream.map(ProjectionStore.watch(OrdersProjection, orderId), Option.getOrNull))
    )
    .handle("health", HttpHealth.handle([OrdersProjection])))

const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

export const Server = HttpRouter.serve(Routes).pipe(
  Layer.provide(stores),
  Layer.provide(NodeHttpServer.layer(() => createServer(), { host: "127.0.0.1", port: 3000 }))
)

const serve = Effect.gen(function*() {
  const services = Layer.succeedContext(yield* Layer.build(stores))
  const all = Layer.mergeAll(
    Routes,
    HttpApiBuilder.layer(Live).pipe(Layer.provide(LiveHandlers)),
    CheckoutRoutes
  ).pipe(
    HttpRouter.provideRequest(services),
    Layer.provide(services)
  )
  const server = yield* HttpRouter.serve(all, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(NodeHttpServer.layer(() => createServer(), { host: "127.0.0.1", port: 0 })),
    Layer.provide(Logger.layer([])),
    Layer.build
  )
  return HttpServer.formatAddress(Context.get(server, HttpServer.HttpServer).address)
})

const withToken = HttpClient.mapRequest(HttpClientRequest.bearerToken("t-ann"))

describe("docs/http.md", () => {
  it.live("serves commands and queries, and streams of what they change", () =>
    Effect.gen(function*() {
      const baseUrl = yield* serve
      const orderId = "o-1"
      const { orders } = yield* HttpApiClient.make(Api, { baseUrl, transformClient: withToken })
      const receipt = yield* orders.placeOrder({
        payload: { orderId, amount: 500 },
        headers: { "idempotency-key": "k-1" }
      })
      const order = yield* orders.getOrder({ params: { orderId }, query: { after: receipt.cursor } })
      assert.deepStrictEqual(order, { orderId, amount: 500, paid: false })
      yield* orders.payOrder({
        params: { orderId },
        payload: { amount: 500 },
        headers: { "if-match": receipt.version }
      })
      const error = yield* Effect.flip(
        orders.payOrder({ params: { orderId }, payload: { amount: 500 }, headers: {} })
      )
      assert.instanceOf(error, AlreadyPaid)

      const ask = (path: string, init: RequestInit = {}) => Effect.promise(() => fetch(`${baseUrl}${path}`, init))
      const response = yield* ask("/orders/o-1/payment", {
        method: "POST",
        headers: { authorization: "Bearer t-ann", "content-type": "application/json" },
        body: JSON.stringify({ amount: 500 })
      })
      const again: unknown = yield* Effect.promise(() => response.json())
      assert.deepStrictEqual(again, {
        type: "about:blank",
        title: "Conflict",
        status: 409,
        detail: "Order \"o-1\" is paid",
        message: "Order \"o-1\" is paid",
        _tag: "AlreadyPaid",
        orderId: "o-1"
      })
      assert.strictEqual((yield* ask("/orders/o-1")).status, 401)
      assert.strictEqual((yield* ask("/nothing")).status, 404)
      assert.strictEqual((yield* ask("/openapi.json")).status, 200)

      const { live } = yield* HttpApiClient.make(Live, { baseUrl })
      const changes = yield* live.orderChanges({ query: { after: receipt.cursor }, headers: {} })
      const [, paid] = yield* Stream.runCollect(Stream.take(changes, 2))
      assert.deepStrictEqual(paid?.data, { what: "Paid", orderId })
      const states = yield* live.watchOrder({ params: { orderId }, query: {} })
      const [state] = yield* Stream.runCollect(Stream.take(states, 1))
      assert.strictEqual(state?.event, "document")
      const { health } = yield* Effect.retry(live.health(), { times: 100, schedule: Schedule.spaced("100 millis") })
      assert.notStrictEqual(health, "red")

      const { checkouts } = yield* HttpApiClient.make(Checkouts, { baseUrl })
      for (const orderId of ["o-2", "o-3"]) yield* orders.placeOrder({ payload: { orderId, amount: 5 }, headers: {} })
      const page = yield* orders.listOrders({ query: {} })
      const authorization = { authorization: "Bearer t-ann" }
      const linked = yield* ask("/orders", { headers: authorization })
      assert.strictEqual(linked.headers.get("link"), `<?cursor=${page.next}>; rel="next"`)
      const bought = yield* checkouts.checkout({ params: { orderId: "o-2" }, headers: {} })
      assert.deepStrictEqual(bought, { orderId: "o-2", amount: 5, paid: true })
      const pay = (orderId: string, version: number) =>
        checkouts.payAtTerminal({
          params: { orderId },
          payload: { amount: 5 },
          headers: { "x-terminal": "t1", "if-match": Version.make(version) }
        })
      assert.strictEqual((yield* pay("o-3", 1)).version, 2)
      assert.instanceOf(yield* Effect.flip(pay("o-4", 1)), OrderNotFound)
    }).pipe(Effect.provide(FetchHttpClient.layer)))
})
