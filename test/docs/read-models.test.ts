/** Executes the code of docs/read-models.md. */
import { assert, describe, it, layer } from "@effect/vitest"
import { DateTime, Effect, Fiber, Layer, Option, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Event, EventBus, EventStore, Projection, ProjectionStore, Projector, Query, QueryBus } from "evsrc"
import { PgStores } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"
import { append, memory, order, OrderCancelled, OrderEvent, OrderShipped, place, Sold } from "./orders.ts"

const Orders = Projection.make("orders", {
  events: OrderEvent,
  document: Schema.Struct({ ...order, status: Schema.Literals(["placed", "shipped"]), placedAt: Schema.DateTimeUtc }),
  index: ["customer", "status", "placedAt"],
  partitionBy: "stream",
  key: (event) => event.orderId,
  evolve: {
    OrderPlaced: (_, { customer, orderId }, { recordedAt }) => ({
      orderId,
      customer,
      status: "placed",
      placedAt: recordedAt
    }),
    OrderShipped: (order) => order && { ...order, status: "shipped" },
    OrderCancelled: () => Projection.remove
  }
})

const PaymentEvent = Schema.TaggedUnion({
  PaymentReceived: { paymentId: Schema.NonEmptyString, customer: Schema.NonEmptyString, cents: Schema.Int }
}).pipe(Event.tags({ customer: "customer" }))

const Balances = Projection.make("balances", {
  events: Event.merge(OrderEvent, PaymentEvent),
  document: Schema.Struct({ orders: Schema.Int, paid: Schema.Int }),
  partitions: 4,
  partitionBy: { tag: "customer" },
  key: ({ customer }) => customer,
  evolve: {
    OrderPlaced: ({ orders, paid } = { orders: 0, paid: 0 }) => ({ orders: orders + 1, paid }),
    PaymentReceived: ({ orders, paid } = { orders: 0, paid: 0 }, { cents }) => ({ orders, paid: paid + cents }),
    OrderShipped: Projection.ignore,
    OrderCancelled: Projection.ignore
  }
})

const OpenOrders = Projection.make("open-orders", {
  lifecycle: "inline",
  events: OrderEvent,
  document: Schema.Int,
  key: (event) => event.customer,
  evolve: {
    OrderPlaced: (open = 0) => open + 1,
    OrderShipped: (open = 0) => open > 1 ? open - 1 : Projection.remove,
    OrderCancelled: (open = 0) => open > 1 ? open - 1 : Projection.remove
  }
})

const History = Projection.make("history", {
  lifecycle: "live",
  events: OrderEvent,
  document: Schema.Array(Schema.String),
  key: (event) => event.customer,
  find: (customer) => [{ tags: [Event.tag("customer", customer)] }],
  evolve: {
    OrderPlaced: (lines = [], { orderId }) => [...lines, `${orderId} placed`],
    OrderShipped: (lines = [], { orderId }) => [...lines, `${orderId} shipped`],
    OrderCancelled: (lines = [], { orderId }) => [...lines, `${orderId} cancelled`]
  }
})

const OrdersOf = Query.make("OrdersOf", {
  payload: { customer: order.customer },
  success: Schema.Array(Orders.document)
})

const OrderHandlers = QueryBus.handler(
  OrdersOf,
  ({ customer }) => Effect.map(ProjectionStore.list(Orders, { where: { customer } }), ({ items }) => items)
)

const Stores = Projector.layerInline([OpenOrders]).pipe(
  Layer.provide(EventStore.layerMemory),
  Layer.provideMerge(ProjectionStore.layerMemory)
)

const ReadSide = Layer.merge(Projector.layer([Orders, Sold, Balances]), OrderHandlers)

layer(ReadSide.pipe(Layer.provideMerge(Stores)), { excludeTestServices: true })("read models", (it) => {
  it.effect("a query waits for the write that it shows", () =>
    Effect.gen(function*() {
      yield* place("a-1", "ann")
      const receipt = yield* append(OrderShipped.make({ orderId: "a-1", customer: "ann" }))
      const orders = yield* QueryBus.ask(OrdersOf, { customer: "ann" }, { after: receipt, timeout: "10 seconds" })
      assert.deepStrictEqual(orders.map(({ orderId, status }) => [orderId, status]), [["a-1", "shipped"]])
    }))

  it.effect("lists documents by page", () =>
    Effect.gen(function*() {
      const from = yield* DateTime.now
      for (const id of ["b-1", "b-4", "b-2", "b-3"]) {
        yield* place(id, "bob")
        // Times of milliseconds tell the orders apart.
        yield* Effect.sleep("2 millis")
      }
      const to = yield* DateTime.now
      yield* place("b-5", "bob")
      const { position } = yield* append(OrderCancelled.make({ orderId: "b-2", customer: "bob" }))
      yield* ProjectionStore.awaitPosition(Orders, position, "10 seconds")

      const options = {
        where: { customer: "bob", placedAt: { gte: from, lt: to } },
        orderBy: { field: "placedAt", direction: "desc" },
        limit: 2
      } as const
      const first = yield* ProjectionStore.list(Orders, options)
      const second = yield* ProjectionStore.list(Orders, { ...options, after: Option.getOrThrow(first.next) })
      assert.deepStrictEqual(first.items.map(({ orderId }) => orderId), ["b-3", "b-4"])
      assert.deepStrictEqual(second.items.map(({ orderId }) => orderId), ["b-1"])
      assert.isTrue(Option.isNone(second.next))
      yield* ProjectionStore.reindex(Orders)
      assert.isTrue(Option.isNone(yield* ProjectionStore.get(Orders, "b-2")))
    }))

  it.effect("a raised version can be read before it has caught up, unless the program waits", () =>
    Effect.gen(function*() {
      const raised = { ...Sold, version: 2, id: "sold@2" }
      const { position } = yield* place("r-1", "ann", [{ sku: "cup", quantity: 3 }])
      yield* ProjectionStore.awaitPosition(Sold, position, "10 seconds")
      const before = yield* ProjectionStore.get(Sold, "cup")
      assert.isTrue(Option.isNone(yield* ProjectionStore.get(raised, "cup")))
      yield* Effect.gen(function*() {
        yield* ProjectionStore.awaitPosition(raised, yield* EventStore.head, "1 hour")
        assert.deepStrictEqual(yield* ProjectionStore.get(raised, "cup"), before)
      }).pipe(Effect.provide(Projector.layer([raised])))
    }))

  it.effect("an event touches several documents", () =>
    Effect.gen(function*() {
      yield* place("c-1", "cem", [{ sku: "tea", quantity: 2 }, { sku: "milk", quantity: 1 }])
      const { position } = yield* place("c-2", "cem", [{ sku: "tea", quantity: 3 }])
      yield* ProjectionStore.awaitPosition(Sold, position, "10 seconds")
      assert.deepStrictEqual(yield* ProjectionStore.get(Sold, "tea"), Option.some(5))
      assert.deepStrictEqual(yield* ProjectionStore.get(Sold, "milk"), Option.some(1))
    }))

  it.effect("a projection reads the events of several aggregates", () =>
    Effect.gen(function*() {
      yield* place("h-1", "hal")
      const { position } = yield* EventStore.append(PaymentEvent, "Payment-h-1", [
        { _tag: "PaymentReceived", paymentId: "h-1", customer: "hal", cents: 250 }
      ])
      yield* ProjectionStore.awaitPosition(Balances, position, "10 seconds")
      assert.deepStrictEqual(yield* ProjectionStore.get(Balances, "hal"), Option.some({ orders: 1, paid: 250 }))
    }))

  it.effect("inline and live projections are never behind", () =>
    Effect.gen(function*() {
      yield* place("d-1", "dea")
      yield* place("d-2", "dea")
      yield* append(OrderShipped.make({ orderId: "d-1", customer: "dea" }))
      assert.deepStrictEqual(yield* ProjectionStore.get(OpenOrders, "dea"), Option.some(1))
      const history = yield* ProjectionStore.get(History, "dea")
      assert.deepStrictEqual(Option.getOrThrow(history), ["d-1 placed", "d-2 placed", "d-1 shipped"])
    }))

  it.effect("watches a document", () =>
    Effect.gen(function*() {
      const shipped = yield* ProjectionStore.watch(Orders, "e-1").pipe(
        Stream.filter((order) => Option.isSome(order) && order.value.status === "shipped"),
        Stream.runHead,
        Effect.forkChild
      )
      yield* place("e-1", "eve")
      yield* append(OrderShipped.make({ orderId: "e-1", customer: "eve" }))
      assert.isTrue(Option.isSome(yield* Fiber.join(shipped)))
    }))

  it.effect("listens to events", () =>
    Effect.gen(function*() {
      const events = yield* EventBus.listen(OrderEvent)
      yield* place("f-1", "fay")
      const next = yield* Stream.runHead(Stream.filter(events, ({ event }) => event.customer === "fay"))
      assert.strictEqual(Option.getOrThrow(next).event._tag, "OrderPlaced")
    }).pipe(Effect.scoped, Effect.provide(EventBus.layer())))

  it.effect("a projection filters its events", () =>
    Effect.gen(function*() {
      const OrdersOfGus = Projection.make("orders-of-gus", {
        events: OrderEvent,
        where: { tags: [Event.tag("customer", "gus")], streamPrefix: "Order-" },
        document: Schema.Int,
        key: ({ customer }) => customer,
        evolve: {
          OrderPlaced: (orders = 0) => orders + 1,
          OrderShipped: Projection.ignore,
          OrderCancelled: Projection.ignore
        }
      })
      yield* Layer.build(Projector.layer([OrdersOfGus]))
      yield* place("g-1", "gus")
      const { position } = yield* place("g-2", "gil")
      yield* ProjectionStore.awaitPosition(OrdersOfGus, position, "10 seconds")
      const { items } = yield* ProjectionStore.list(OrdersOfGus)
      assert.deepStrictEqual(items, [1])
    }))
})

const Sales = Projection.handler("sales", {
  events: OrderEvent,
  handle: {
    OrderPlaced: ({ lines, orderId }, { recordedAt }) =>
      Effect.flatMap(
        SqlClient.SqlClient,
        (sql) =>
          Effect.forEach(lines, ({ quantity, sku }) =>
            sql`insert into sales (order_id, sku, quantity, sold_at)
            values (${orderId}, ${sku}, ${quantity}, ${recordedAt.toJSON()})`)
      ),
    OrderShipped: Projection.ignore,
    OrderCancelled: ({ orderId }) =>
      Effect.flatMap(SqlClient.SqlClient, (sql) => sql`delete from sales where order_id = ${orderId}`)
  }
})

const BestSellers = Query.make("BestSellers", {
  payload: { limit: Schema.Int },
  success: Schema.Array(Schema.Struct({ sku: Schema.String, sold: Schema.Int }))
})

const SalesHandlers = QueryBus.handler(BestSellers, ({ limit }) =>
  Effect.gen(function*() {
    yield* ProjectionStore.awaitReadAfter(Sales)
    const sql = yield* SqlClient.SqlClient
    return yield* Effect.orDie(
      sql<{ readonly sku: string; readonly sold: number }>`select sku, sum(quantity)::int as sold from sales
        group by sku order by sold desc, sku limit ${limit}`
    )
  }))

const database = layerPostgres()
const SalesTable = Layer.effectDiscard(Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql`create table sales (order_id text, sku text, quantity int, sold_at timestamptz)`
))
const OnPostgres = Layer.merge(Projector.layer([Sales]), SalesHandlers).pipe(
  Layer.provideMerge(PgStores.layer),
  Layer.provide(SalesTable),
  Layer.provideMerge(database)
)

layer(OnPostgres, { excludeTestServices: true })("a projection on your own tables", (it) => {
  it.effect("is queried with SQL", () =>
    Effect.gen(function*() {
      yield* place("1", "ann", [{ sku: "tea", quantity: 2 }, { sku: "milk", quantity: 1 }])
      yield* place("2", "bob", [{ sku: "tea", quantity: 3 }])
      yield* place("3", "cem", [{ sku: "soap", quantity: 9 }])
      const receipt = yield* append(OrderCancelled.make({ orderId: "3", customer: "cem" }))
      const best = yield* QueryBus.ask(BestSellers, { limit: 1 }, { after: receipt })
      assert.deepStrictEqual(best, [{ sku: "tea", sold: 5 }])
    }))
})

describe("a program in several processes", () => {
  it.live("shares the partitions of a projection", () =>
    Effect.gen(function*() {
      const process = Layer.fresh(Projector.layer([Sold], { lease: "5 seconds" }))
      yield* Layer.build(process)
      yield* Layer.build(process)
      for (let n = 1; n < 20; n++) yield* place(`${n}`, "ann", [{ sku: "tea", quantity: n }])
      const { position } = yield* place("20", "ann", [{ sku: "tea", quantity: 20 }])
      yield* ProjectionStore.awaitPosition(Sold, position, "10 seconds")
      assert.deepStrictEqual(yield* ProjectionStore.get(Sold, "tea"), Option.some(210))
    }).pipe(Effect.scoped, Effect.provide(memory)))
})
