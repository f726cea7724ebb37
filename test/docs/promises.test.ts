/** Executes the code of docs/promises.md. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Option, Result, Schema } from "effect"
import {
  Aggregate,
  Command,
  EventStore,
  LogPosition,
  Projection,
  ProjectionStore,
  Projector,
  Query,
  QueryBus
} from "evsrc"
import { AppClosed, Evsrc } from "evsrc/promise"

const OrderId = Schema.NonEmptyString
const amount = Schema.Int

const OrderEvent = Schema.TaggedUnion({ Placed: { orderId: OrderId, amount }, Paid: { orderId: OrderId } })

class OrderExists extends Schema.TaggedError<OrderExists>()("OrderExists", { orderId: OrderId }) {}
class OrderNotFound extends Schema.TaggedError<OrderNotFound>()("OrderNotFound", { orderId: OrderId }) {}
class AlreadyPaid extends Schema.TaggedError<AlreadyPaid>()("AlreadyPaid", { orderId: OrderId }) {}

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
const getOrder = QueryBus.handler(GetOrder, ({ orderId }) =>
  Effect.flatMap(
    ProjectionStore.get(OrdersProjection, orderId),
    Option.match({ onNone: () => Effect.fail(new OrderNotFound({ orderId })), onSome: Effect.succeed })
  ))

const stores = Layer.mergeAll(EventStore.layerMemory, ProjectionStore.layerMemory, Logger.layer([]))

const Shop = Layer.mergeAll(Aggregate.layer(Order), Projector.layer([OrdersProjection]), getOrder).pipe(
  Layer.provideMerge(stores)
)
export type Shop = Evsrc.AppOf<typeof Shop>

const statusOf = (error: Evsrc.CommandError<typeof PayOrder>): number => {
  switch (error._tag) {
    case "InvalidCommand":
      return 400
    case "OrderNotFound":
      return 404
    case "AlreadyPaid":
    case "ConcurrencyConflict":
      return 409
    case "EventStoreError":
      return error.isRetryable ? 503 : error.reason._tag === "CommandIdReused" ? 422 : 500
    case "AppClosed":
      return 503
  }
}

const payments = (app: Evsrc.App<Command.HandlerOf<typeof PayOrder>>) => ({
  pay: (orderId: string, amount: number) => app.dispatch(PayOrder, { orderId, amount })
})
const route = <C extends Command.Any>(app: Evsrc.App<Command.HandlerOf<C>>, command: C) => (body: unknown) =>
  app.dispatchUnknown(command, body)

const assertRejects = (promise: Promise<unknown>, message: string) =>
  promise.then(() => assert.fail("the promise has resolved"), (error) => assert.include(String(error), message))

describe("docs/promises.md", () => {
  it("runs commands, queries and subscriptions as promises", async () => {
    const app = await Evsrc.start(Shop)
    const orderId = "o-1"
    const placed = await app.dispatch(PlaceOrder, { orderId, amount: 500 }, { commandId: "k-1", actor: "ann" })
    if (!placed.ok) throw placed.error
    const order = await app.ask(GetOrder, { orderId }, { after: placed.receipt })
    assert.deepStrictEqual(order, { ok: true, value: { orderId, amount: 500, paid: false } })

    const pay = async (body: unknown) => {
      const paid = await app.dispatchUnknown(PayOrder, body)
      return paid.ok
        ? { status: 200, body: { version: paid.receipt.version, cursor: paid.cursor } }
        : { status: statusOf(paid.error), body: { _tag: paid.error._tag, message: paid.error.message } }
    }
    assert.strictEqual((await pay({ orderId })).status, 400)
    assert.strictEqual((await pay({ orderId: "o-2", amount: 500 })).status, 404)
    assert.strictEqual((await pay({ orderId, amount: 500 })).status, 200)

    const reused = await app.dispatch(PayOrder, { orderId, amount: 500 }, { commandId: "k-1" })
    assert.strictEqual(reused.ok ? 200 : statusOf(reused.error), 422)

    assert.isFalse((await payments(app).pay("o-2", 500)).ok)
    assert.isFalse((await route(app, PayOrder)({ orderId: "o-2" })).ok)

    const late = app.ask(GetOrder, { orderId }, { signal: AbortSignal.abort(new Error("The client has left")) })
    await assertRejects(late, "The client has left")

    const seen: Array<string> = []
    let reached = placed.cursor
    for await (const recorded of app.events(OrderEvent, { stream: `Order-${orderId}` })) {
      seen.push(recorded.event._tag)
      reached = LogPosition.format(LogPosition.ofEvent(recorded))
      if (recorded.event._tag === "Paid") break
    }
    assert.deepStrictEqual(seen, ["Placed", "Paid"])

    const states = app.watch(OrdersProjection, orderId, { after: reached })
    assert.deepStrictEqual(await states.next(), { done: false, value: { orderId, amount: 500, paid: true } })
    await states.return()

    const head = await app.run(Effect.flatMap(EventStore.EventStore, ({ head }) => head))
    assert.strictEqual(head, 2n)

    await app.close({ timeout: "5 seconds" })
    const closed = await app.dispatch(PlaceOrder, { orderId: "o-3", amount: 500 })
    assert.isTrue(!closed.ok && closed.error instanceof AppClosed)
  })
})
