/** Fills a database with orders of the shop. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { Aggregate, CommandBus, type Consumer, EventStore, Health } from "evsrc"
import { PgKeyStore, PgStores } from "evsrc/pg"
import { Order, OrderEvent, PayOrder, PlaceOrder } from "./fixtures/Shop.ts"

/** The mail address of a customer, which no command may print. */
export const mail = "ann@secret.example"

export const storesOf = (url: string) =>
  PgStores.layerWith({ hashChain: true }).pipe(
    Layer.provideMerge(PgKeyStore.layerWith({ maxAge: "10 millis" })),
    Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 }))
  )

export const commandId = "place-order-1"

/** Places order 1 and pays it twice: three events, at positions 1 to 3. */
export const placeAndPay = Effect.gen(function*() {
  yield* CommandBus.dispatch(PlaceOrder, { orderId: "1", customer: "ann", mail }, { commandId, actor: "clerk" })
  yield* CommandBus.dispatch(PayOrder, { orderId: "1", amount: 30 })
  yield* CommandBus.dispatch(PayOrder, { orderId: "1", amount: 12 })
})

/** Places an order. */
export const place = (orderId: string) => CommandBus.dispatch(PlaceOrder, { orderId, customer: "bob", mail })

export const runtime = Aggregate.layer(Order)

/** Appends a payment to another order. */
export const pay = (orderId: string, amount: number) =>
  EventStore.append(OrderEvent, `Order-${orderId}`, [
    OrderEvent.cases.OrderPaid.make({ orderId, customer: "bob", amount })
  ])

/** Appends many payments, to orders of a thousand each. */
export const payMany = (count: number) =>
  Effect.forEach(Array.from({ length: count / 1000 }, (_, index) => String(index)), (orderId) =>
    EventStore.append(
      OrderEvent,
      `Order-${orderId}`,
      Array.from({ length: 1000 }, () =>
        OrderEvent.cases.OrderPaid.make({ orderId, customer: `customer-${orderId}-${"x".repeat(100)}`, amount: 1 }))
    ), { discard: true })

/** Returns the positions that consumers have reached. */
export const positionsOf = (consumers: ReadonlyArray<Consumer.Consumer>) =>
  Effect.map(Health.of(consumers), ({ consumers }) => consumers.map(({ position }) => position))
