/**
 * The read model: where every order stands.
 */
import * as Schema from "effect/Schema"
import { Event, Projection } from "evsrc"
import { Amount, CancelReason, OrderEvent, OrderId, Product, Quantity } from "./Orders.ts"
import { PaymentEvent } from "./Payments.ts"
import { StockEvent } from "./Stock.ts"

export const OrderStatus = Schema.Literals(["placed", "shipped", "cancelled"])

export const OrderView = Schema.Struct({
  orderId: OrderId,
  product: Product,
  quantity: Quantity,
  amount: Amount,
  status: OrderStatus,
  isReserved: Schema.Boolean,
  paid: Schema.Int,
  refunded: Schema.Int,
  reason: Schema.optionalKey(CancelReason),
  placedAt: Schema.DateTimeUtc
})

export const OrderOverview = Projection.make("orders", {
  events: Event.merge(OrderEvent, PaymentEvent, StockEvent),
  document: OrderView,
  index: ["status", "placedAt"],
  key: (event) => "orderId" in event ? event.orderId : [],
  evolve: {
    OrderPlaced: (_, { address: __, _tag, ...order }, { recordedAt }) => ({
      ...order,
      status: "placed" as const,
      isReserved: false,
      paid: 0,
      refunded: 0,
      placedAt: recordedAt
    }),
    OrderShipped: (order) => order && { ...order, status: "shipped" as const },
    OrderCancelled: (order, { reason }) => order && { ...order, status: "cancelled" as const, reason },
    PaymentReceived: (order, { amount }) => order && { ...order, paid: order.paid + amount },
    PaymentRefunded: (order, { amount }) => order && { ...order, refunded: order.refunded + amount },
    StockDelivered: Projection.ignore,
    StockReserved: (order) => order && { ...order, isReserved: true },
    StockReleased: (order) => order && { ...order, isReserved: false }
  }
})
