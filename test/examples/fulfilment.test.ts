import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Option, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { CommandBus, EventStore, ProcessManager, ProjectionStore } from "evsrc"
import { PgStores } from "evsrc/pg"
import { ProcessSpec } from "evsrc/testing"
import type { OrderView } from "../../examples/fulfilment/contract/OrderQueries.ts"
import {
  CancelOrder,
  NotDeliverable,
  OrderEvent,
  OrderId,
  PlaceOrder,
  Product,
  ReportShipment,
  ShipOrder
} from "../../examples/fulfilment/contract/Orders.ts"
import { PaymentEvent, ReceivePayment, RefundPayment } from "../../examples/fulfilment/contract/Payments.ts"
import {
  DeliverStock,
  OutOfStock,
  ReleaseStock,
  ReserveStock,
  StockEvent
} from "../../examples/fulfilment/contract/Stock.ts"
import { Fulfilment } from "../../examples/fulfilment/Fulfilment.ts"
import { OrderOverview } from "../../examples/fulfilment/OrderOverview.ts"
import * as Shop from "../../examples/fulfilment/Shop.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"

const orderId = OrderId.make("o-1")
const product = Product.make("lamp")
const order = { orderId, product, quantity: 1, amount: 900, address: "Main Street 1" }
const placed = OrderEvent.cases.OrderPlaced.make(order)
const reserved = StockEvent.cases.StockReserved.make({ product, orderId, quantity: 1 })
const paid = PaymentEvent.cases.PaymentReceived.make({ orderId, amount: 900 })
const { send } = ProcessManager

describe("Fulfilment", () => {
  it("ships an order that is reserved and paid, in either order", () => {
    for (const inputs of [[reserved, paid], [paid, reserved]]) {
      ProcessSpec.given(Fulfilment, [placed, ...inputs])
        .thenSends([send(ShipOrder, { orderId })])
        .thenDeadlines({})
        .when(OrderEvent.cases.OrderShipped.make({ orderId }))
        .thenStatus("completed")
    }
  })

  it("cancels an order that is not paid within 15 minutes, and refunds a late payment", () => {
    ProcessSpec.given(Fulfilment, [placed, reserved])
      .thenDeadlines({ PaymentDue: "15 minutes" })
      .after("15 minutes")
      .thenSends([send(CancelOrder, { orderId, reason: "not paid in time" }), send(ReleaseStock, { product, orderId })])
      .when(paid)
      .thenSends([send(RefundPayment, { orderId })])
      .after("30 days")
      .thenStatus("completed")
  })

  it("cancels an order that is out of stock, and refunds what was paid", () => {
    ProcessSpec.given(Fulfilment, [placed, paid])
      .whenRejected(ReserveStock, new OutOfStock({ product, available: 0 }))
      .thenSends([
        send(CancelOrder, { orderId, reason: "out of stock" }),
        send(ReleaseStock, { product, orderId }),
        send(RefundPayment, { orderId })
      ])
  })

  it("refunds a payment of another amount", () => {
    ProcessSpec.given(Fulfilment, [placed, reserved])
      .when(PaymentEvent.cases.PaymentReceived.make({ orderId, amount: 1 }))
      .thenSends([
        send(CancelOrder, { orderId, reason: "wrong amount" }),
        send(ReleaseStock, { product, orderId }),
        send(RefundPayment, { orderId })
      ])
  })

  it("cancels an order whose shipment has failed", () => {
    ProcessSpec.given(Fulfilment, [placed, paid, reserved, OrderEvent.cases.ShipmentFailed.make({ orderId })])
      .thenSends([
        send(CancelOrder, { orderId, reason: "not deliverable" }),
        send(ReleaseStock, { product, orderId }),
        send(RefundPayment, { orderId })
      ])
  })

  it("takes the time to pay from the order", () => {
    ProcessSpec.given(Fulfilment, [OrderEvent.cases.OrderPlaced.make({ ...order, payWithin: 60 })])
      .thenDeadlines({ PaymentDue: "1 minute" })
  })

  it("cancels an order that cannot be delivered", () => {
    ProcessSpec.given(Fulfilment, [placed, paid, reserved])
      .whenRejected(ShipOrder, new NotDeliverable({ orderId }))
      .thenSends([
        send(CancelOrder, { orderId, reason: "not deliverable" }),
        send(ReleaseStock, { product, orderId }),
        send(RefundPayment, { orderId })
      ])
  })
})

const stores = {
  memory: Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory),
  PGlite: PgStores.layer.pipe(Layer.provideMerge(layerPglite())),
  PostgreSQL: PgStores.layer.pipe(Layer.provideMerge(layerPostgres({ poolSize: 10 })))
}

/** Returns an order when it stands as expected. */
const orderWhen = (isExpected: (order: typeof OrderView.Type) => boolean) =>
  ProjectionStore.get(OrderOverview, orderId).pipe(
    Effect.repeat({ until: Option.exists(isExpected), schedule: Schedule.spaced("10 millis") }),
    Effect.timeout("1 minute"),
    Effect.map(Option.getOrThrow)
  )

for (const [name, store] of Object.entries(stores)) {
  describe(`the shop on ${name}`, () => {
    it.live("ships an order", () =>
      Effect.gen(function*() {
        yield* CommandBus.dispatch(DeliverStock, { product, quantity: 3 })
        yield* CommandBus.dispatch(PlaceOrder, order)
        yield* CommandBus.dispatch(ReceivePayment, { orderId, amount: 900 })
        yield* orderWhen(({ status }) => status === "shipping")
        yield* CommandBus.dispatch(ReportShipment, { orderId })
        const { isReserved, paid, refunded } = yield* orderWhen(({ status }) => status === "shipped")
        assert.deepStrictEqual({ isReserved, paid, refunded }, { isReserved: true, paid: 900, refunded: 0 })
      }).pipe(Effect.provide(Shop.layer.pipe(Layer.provideMerge(store)))))

    it.live("refunds an order that is out of stock", () =>
      Effect.gen(function*() {
        yield* CommandBus.dispatch(PlaceOrder, order)
        yield* CommandBus.dispatch(ReceivePayment, { orderId, amount: 900 })
        const { reason, status } = yield* orderWhen(({ refunded }) => refunded === 900)
        assert.deepStrictEqual({ reason, status }, { reason: "out of stock", status: "cancelled" })
      }).pipe(Effect.provide(Shop.layer.pipe(Layer.provideMerge(store)))))
  })
}

describe("the shop in memory", () => {
  it.effect("cancels an unpaid order after 15 minutes of virtual time", () =>
    Effect.gen(function*() {
      yield* CommandBus.dispatch(DeliverStock, { product, quantity: 3 })
      yield* CommandBus.dispatch(PlaceOrder, order)
      yield* TestClock.adjust("14 minutes")
      const early = yield* ProjectionStore.get(OrderOverview, orderId)
      assert.strictEqual(Option.getOrThrow(early).status, "placed")
      yield* TestClock.adjust("2 minutes")
      const late = Option.getOrThrow(yield* ProjectionStore.get(OrderOverview, orderId))
      assert.deepStrictEqual([late.status, late.reason, late.isReserved], ["cancelled", "not paid in time", false])
      assert.strictEqual(DateTime.formatIso(yield* DateTime.now).slice(11, 16), "00:16")
    }).pipe(Effect.provide(Shop.layer.pipe(Layer.provideMerge(stores.memory)))))
})
