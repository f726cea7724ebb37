/**
 * The read model: where every order stands.
 */
import { Event, Projection } from "evsrc"
import { OrderView } from "./contract/OrderQueries.ts"
import { OrderEvent } from "./contract/Orders.ts"
import { PaymentEvent } from "./contract/Payments.ts"
import { StockEvent } from "./contract/Stock.ts"

export const OrderOverview = Projection.make("orders", {
  events: Event.merge(OrderEvent, PaymentEvent, StockEvent),
  document: OrderView,
  index: ["status", "placedAt"],
  key: (event) => "orderId" in event ? event.orderId : [],
  evolve: {
    OrderPlaced: (_, { address: __, payWithin: ___, _tag, ...order }, { recordedAt: placedAt }) => (
      { ...order, status: "placed" as const, placedAt, isReserved: false, paid: 0, refunded: 0 }
    ),
    ShipmentRequested: (order) => order && { ...order, status: "shipping" as const },
    ShipmentFailed: (order) => order && { ...order, status: "placed" as const },
    OrderShipped: (order) => order && { ...order, status: "shipped" as const },
    OrderCancelled: (order, { reason }) => order && { ...order, status: "cancelled" as const, reason },
    PaymentReceived: (order, { amount }) => order && { ...order, paid: order.paid + amount },
    PaymentRefunded: (order, { amount }) => order && { ...order, refunded: order.refunded + amount },
    StockDelivered: Projection.ignore,
    StockReserved: (order) => order && { ...order, isReserved: true },
    StockReleased: (order) => order && { ...order, isReserved: false }
  }
})
