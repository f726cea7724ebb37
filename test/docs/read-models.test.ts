/** The code of docs/read-models.md. */
import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Option, Schedule, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { DeliveryAudit, Event, EventBus, EventStore, Health, Parking, Projection } from "evsrc"
import { ProjectionStore, Projector, Query, QueryBus, Rebuild, Subscription } from "evsrc"
import { PgStores } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const order = { orderId: Schema.NonEmptyString, customer: Schema.NonEmptyString }
const line = Schema.Struct({ sku: Schema.NonEmptyString, quantity: Schema.Int })

const OrderEvent = Schema.TaggedUnion({
  OrderPlaced: { ...order, lines: Schema.Array(line) },
  OrderShipped: order,
  OrderCancelled: order
}).pipe(Event.tags({ customer: "customer" }))

const Orders = Projection.make("orders", {
  events: OrderEvent,
  document: Schema.Struct({ ...order, status: Schema.Literals(["placed", "shipped"]) }),
  index: ["customer", "status"],
  key: (event) => event.orderId,
  evolve: {
    OrderPlaced: (_, { customer, orderId }) => ({ orderId, customer, status: "placed" }),
    OrderShipped: (order) => order && { ...order, status: "shipped" },
    OrderCancelled: () => undefined
  }
})

const Sold = Projection.make("sold", {
  events: OrderEvent,
  document: Schema.Int,
  partitions: 4,
  key: (event) => event._tag === "OrderPlaced" ? event.lines.map(({ sku }) => sku) : [],
  evolve: {
    OrderPlaced: (sold = 0, { lines }, _record, sku) =>
      lines.reduce((sum, line) => line.sku === sku ? sum + line.quantity : sum, sold),
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
    OrderShipped: (open = 0) => open > 1 ? open - 1 : undefined,
    OrderCancelled: (open = 0) => open > 1 ? open - 1 : undefined
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

const Answers = QueryBus.handler(
  OrdersOf,
  ({ customer }) => Effect.map(ProjectionStore.list(Orders, { where: { customer } }), ({ items }) => items)
)

const Stores = Projector.layerInline([OpenOrders]).pipe(
  Layer.provide(EventStore.layerMemory),
  Layer.provideMerge(ProjectionStore.layerMemory)
)

const ReadSide = Layer.merge(Projector.layer([Orders, Sold]), Answers)

const { OrderCancelled, OrderPlaced, OrderShipped } = OrderEvent.cases

/** What the commands of a program would append; answers the receipt. */
const append = (event: typeof OrderEvent.Type) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(OrderEvent, `Order-${event.orderId}`, [event]))

const place = (orderId: string, customer: string, lines: ReadonlyArray<typeof line.Type> = []) =>
  append(OrderPlaced.make({ orderId, customer, lines }))

layer(ReadSide.pipe(Layer.provideMerge(Stores)), { excludeTestServices: true })("read models", (it) => {
  it.effect("a query waits for the write that it is to show", () =>
    Effect.gen(function*() {
      yield* place("a-1", "ann")
      const receipt = yield* append(OrderShipped.make({ orderId: "a-1", customer: "ann" }))
      const orders = yield* QueryBus.ask(OrdersOf, { customer: "ann" }, { after: receipt, timeout: "10 seconds" })
      assert.deepStrictEqual(orders, [{ orderId: "a-1", customer: "ann", status: "shipped" }])
    }))

  it.effect("documents are listed by page", () =>
    Effect.gen(function*() {
      for (const id of ["b-1", "b-2", "b-3"]) yield* place(id, "bob")
      const { position } = yield* append(OrderCancelled.make({ orderId: "b-2", customer: "bob" }))
      const store = yield* ProjectionStore.ProjectionStore
      yield* store.awaitPosition(Orders, position, "10 seconds")

      const where = { customer: "bob", status: "placed" } as const
      const first = yield* ProjectionStore.list(Orders, { where, limit: 1 })
      const second = yield* ProjectionStore.list(Orders, { where, limit: 1, after: Option.getOrThrow(first.next) })
      assert.deepStrictEqual(first.items.map(({ orderId }) => orderId), ["b-1"])
      assert.deepStrictEqual(second.items.map(({ orderId }) => orderId), ["b-3"])
      assert.isTrue(Option.isNone(second.next))
      assert.isTrue(Option.isNone(yield* ProjectionStore.get(Orders, "b-2")))
    }))

  it.effect("an event can touch several documents", () =>
    Effect.gen(function*() {
      const store = yield* ProjectionStore.ProjectionStore
      yield* place("c-1", "cem", [{ sku: "tea", quantity: 2 }, { sku: "milk", quantity: 1 }])
      const { position } = yield* place("c-2", "cem", [{ sku: "tea", quantity: 3 }])
      yield* store.awaitPosition(Sold, position, "10 seconds")
      assert.deepStrictEqual(yield* ProjectionStore.get(Sold, "tea"), Option.some(5))
      assert.deepStrictEqual(yield* ProjectionStore.get(Sold, "milk"), Option.some(1))
    }))

  it.effect("inline and live projections are there at once", () =>
    Effect.gen(function*() {
      yield* place("d-1", "dea")
      yield* place("d-2", "dea")
      yield* append(OrderShipped.make({ orderId: "d-1", customer: "dea" }))
      assert.deepStrictEqual(yield* ProjectionStore.get(OpenOrders, "dea"), Option.some(1))
      const history = yield* ProjectionStore.get(History, "dea")
      assert.deepStrictEqual(Option.getOrThrow(history), ["d-1 placed", "d-2 placed", "d-1 shipped"])
    }))

  it.effect("a document is watched", () =>
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

  it.effect("events are listened to", () =>
    Effect.gen(function*() {
      const events = yield* EventBus.listen(OrderEvent)
      yield* place("f-1", "fay")
      const next = yield* Stream.runHead(Stream.filter(events, ({ event }) => event.customer === "fay"))
      assert.strictEqual(Option.getOrThrow(next).event._tag, "OrderPlaced")
    }).pipe(Effect.scoped, Effect.provide(EventBus.layer())))

  it.effect("a projection takes the events that it asks for", () =>
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
      const store = yield* ProjectionStore.ProjectionStore
      yield* store.awaitPosition(OrdersOfGus, position, "10 seconds")
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

const SalesAnswers = QueryBus.handler(BestSellers, ({ limit }) =>
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
const OnPostgres = Layer.merge(Projector.layer([Sales]), SalesAnswers).pipe(
  Layer.provideMerge(PgStores.layer),
  Layer.provide(SalesTable),
  Layer.provideMerge(database)
)

layer(OnPostgres, { excludeTestServices: true })("a projection on tables of one's own", (it) => {
  it.effect("is asked with SQL", () =>
    Effect.gen(function*() {
      yield* place("1", "ann", [{ sku: "tea", quantity: 2 }, { sku: "milk", quantity: 1 }])
      yield* place("2", "bob", [{ sku: "tea", quantity: 3 }])
      yield* place("3", "cem", [{ sku: "soap", quantity: 9 }])
      const receipt = yield* append(OrderCancelled.make({ orderId: "3", customer: "cem" }))
      const best = yield* QueryBus.ask(BestSellers, { limit: 1 }, { after: receipt })
      assert.deepStrictEqual(best, [{ sku: "tea", sold: 5 }])
    }))
})

class MailRefused extends Schema.TaggedError<MailRefused>()("MailRefused", { to: Schema.String }) {
  override get message() {
    return `no mail can be sent to ${this.to}`
  }
}

class Mailer extends Context.Service<Mailer, {
  readonly send: (to: string, text: string, messageId: string) => Effect.Effect<void, MailRefused>
}>()("Mailer") {}

const mail = (to: string, text: string, messageId: string) =>
  Effect.flatMap(Mailer, (mailer) => mailer.send(to, text, messageId))

/** A mailer that knows which messages it has sent, and whom it cannot reach. */
const sent = new Map<string, string>()
const unreachable = new Set(["bob", "cem"])
const TestMailer = Layer.succeed(Mailer, {
  send: (to, text, messageId) =>
    Effect.suspend(() => {
      if (unreachable.has(to)) return Effect.fail(new MailRefused({ to }))
      sent.set(messageId, `${to}: ${text}`)
      return Effect.void
    })
})

const OrderMail = Subscription.make("order-mail", {
  events: OrderEvent,
  from: "now",
  retry: Schedule.recurs(1),
  handle: {
    OrderPlaced: ({ customer, orderId }, { id }) => mail(customer, `${orderId} is placed`, id),
    OrderShipped: ({ customer, orderId }, { id }) => mail(customer, `${orderId} is on its way`, id),
    OrderCancelled: Subscription.ignore
  }
})

const Mails = Subscription.layer([OrderMail]).pipe(Layer.provide(TestMailer))

/** Waits until so many streams are parked. */
const untilParked = (count: number) =>
  Parking.list(OrderMail).pipe(
    Effect.repeat({ until: (parked) => parked.length === count, schedule: Schedule.spaced("10 millis") }),
    Effect.timeout("30 seconds")
  )

const memory = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

layer(Mails.pipe(Layer.provideMerge(memory)), { excludeTestServices: true })("a subscription", (it) => {
  it.effect("parks the streams on whose events it fails", () =>
    Effect.gen(function*() {
      yield* place("1", "bob")
      yield* append(OrderShipped.make({ orderId: "1", customer: "bob" }))
      yield* place("2", "cem")
      yield* place("3", "ann")
      yield* untilParked(2)
      unreachable.delete("bob")

      const parked = yield* Parking.list(OrderMail)
      assert.deepStrictEqual(parked.map(({ stream }) => stream), ["Order-1", "Order-2"])
      const { events, history, waiting } = yield* Parking.inspect(OrderMail, "Order-1")
      assert.deepStrictEqual(waiting.map(({ type }) => type), ["OrderShipped"])
      const retried = yield* Parking.retry(OrderMail, "Order-1", { actor: "ann", reason: "his address is fixed" })
      assert.deepStrictEqual([retried.outcome, retried.parked], ["retried", undefined])
      const skipped = yield* Parking.skip(OrderMail, "Order-2", { actor: "ann", reason: "he has no address" })
      assert.strictEqual(skipped.outcome, "skipped")
      assert.match(history[0]?.detail ?? "", /no mail can be sent to bob$/)
      assert.strictEqual(events._tag, "Success")

      const store = yield* ProjectionStore.ProjectionStore
      const { head } = yield* EventStore.EventStore
      yield* store.awaitPosition({ id: OrderMail.id, lifecycle: "async" }, yield* head, "10 seconds")
      assert.sameMembers(Array.from(sent.values()), [
        "ann: 3 is placed",
        "bob: 1 is placed",
        "bob: 1 is on its way"
      ])
      const audit = yield* DeliveryAudit.run(OrderMail)
      assert.deepStrictEqual(audit.partitions.map(({ applied, skipped }) => [applied, skipped]), [[3, 1]])
    }))
})

/** `Sold` as it was released first, with a mistake. */
const SoldBefore: typeof Sold = Projection.make("sold", {
  events: OrderEvent,
  document: Schema.Int,
  partitions: 4,
  key: (event) => event._tag === "OrderPlaced" ? event.lines.map(({ sku }) => sku) : [],
  evolve: {
    OrderPlaced: (sold = 0) => sold + 1,
    OrderShipped: Projection.ignore,
    OrderCancelled: Projection.ignore
  }
})

describe("a projection that was wrong", () => {
  it.live("is made again, and the old one can be had back", () =>
    Effect.gen(function*() {
      const store = yield* ProjectionStore.ProjectionStore
      const { position } = yield* place("1", "ann", [{ sku: "tea", quantity: 5 }])
      yield* store.awaitPosition(SoldBefore, position, "10 seconds").pipe(Effect.provide(Projector.layer([SoldBefore])))
      yield* Layer.build(Projector.layer([Sold]))
      let screen = ""
      const write = (text: string) => screen += text

      const progress = yield* Rebuild.rebuild(Sold, { compare: true }).pipe(
        Stream.tap((progress) => Effect.sync(() => write(`\r${Rebuild.bar(progress)}\x1b[K`))),
        Stream.runCollect
      )
      const differences = progress.flatMap(({ compared }) => compared?.differences ?? [])
      assert.deepStrictEqual(differences, [{ _tag: "Different", key: "tea", active: 1, rebuilt: 5 }])
      assert.strictEqual(progress.at(-1)?.phase, "swapped")
      assert.deepStrictEqual(yield* ProjectionStore.get(Sold, "tea"), Option.some(5))

      assert.match(screen, /sold@1~1 █+ 100 % {2}1 of 1 events {2}swapped/)

      const back = yield* Rebuild.rollback(Sold)
      assert.deepStrictEqual(back, { active: "sold@1", previous: "sold@1~1" })
      assert.deepStrictEqual(yield* ProjectionStore.get(Sold, "tea"), Option.some(1))
      yield* Rebuild.rollback(Sold)
      yield* Rebuild.discard(Sold, "sold@1")

      const audit = yield* DeliveryAudit.run(Sold)
      assert.deepStrictEqual([audit.generation, audit.status], ["sold@1~1", "complete"])
    }).pipe(Effect.scoped, Effect.provide(memory)))
})

describe("a program in several processes", () => {
  it.live("shares out the partitions of a projection", () =>
    Effect.gen(function*() {
      const process = Layer.fresh(Projector.layer([Sold], { lease: "5 seconds" }))
      yield* Layer.build(process)
      yield* Layer.build(process)
      for (let n = 1; n < 20; n++) yield* place(`${n}`, "ann", [{ sku: "tea", quantity: n }])
      const store = yield* ProjectionStore.ProjectionStore
      const { position } = yield* place("20", "ann", [{ sku: "tea", quantity: 20 }])
      yield* store.awaitPosition(Sold, position, "10 seconds")
      assert.deepStrictEqual(yield* ProjectionStore.get(Sold, "tea"), Option.some(210))

      const audit = yield* DeliveryAudit.run(Sold)
      assert.strictEqual(audit.status, "complete")
      const health = yield* Health.of([Sold])
      assert.notStrictEqual(health.status, "red", health.reasons.join("; "))
      const [sold] = health.consumers
      assert.strictEqual(sold?.lag.events, 0)
    }).pipe(Effect.scoped, Effect.provide(memory)))
})
