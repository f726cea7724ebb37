/**
 * Orders. The process manager `Fulfilment` decides when an order is shipped or cancelled.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Aggregate } from "evsrc"
import * as Orders from "./contract/Orders.ts"

const { CancelOrder, PlaceOrder, ReportFailedShipment, ReportShipment, ShipOrder } = Orders
const { OrderCancelled, OrderPlaced, OrderShipped, ShipmentFailed, ShipmentRequested } = Orders.OrderEvent.cases

const Order = Aggregate.make("Order", {
  id: "orderId",
  state: Schema.Struct({ status: Schema.Literals(["absent", ...Orders.OrderStatus.literals]), address: Schema.String }),
  events: Orders.OrderEvent,
  commands: [PlaceOrder, ShipOrder, ReportShipment, ReportFailedShipment, CancelOrder]
})

const notShipping = (orderId: Orders.OrderId, status: "absent" | typeof Orders.OrderStatus.Type) =>
  Result.fail(status === "absent" ? new Orders.OrderNotFound({ orderId }) : new Orders.NotShipping({ orderId, status }))

export const OrderDecider = Order.decider({
  initial: { status: "absent", address: "" },
  evolve: {
    OrderPlaced: (_, { address }) => ({ status: "placed", address }),
    ShipmentRequested: (state) => ({ ...state, status: "shipping" }),
    ShipmentFailed: (state) => ({ ...state, status: "placed" }),
    OrderShipped: (state) => ({ ...state, status: "shipped" }),
    OrderCancelled: (state) => ({ ...state, status: "cancelled" })
  },
  decide: {
    PlaceOrder: ({ status }, order) =>
      status === "absent" ? [OrderPlaced.make(order)] : Result.fail(new Orders.OrderExists({ orderId: order.orderId })),
    ShipOrder: ({ address, status }, { orderId }) =>
      address.trim() === ""
        ? Result.fail(new Orders.NotDeliverable({ orderId }))
        : status === "placed"
        ? [ShipmentRequested.make({ orderId })]
        : [],
    ReportShipment: ({ status }, { orderId }) =>
      status === "shipping" ? [OrderShipped.make({ orderId })] : notShipping(orderId, status),
    ReportFailedShipment: ({ status }, { orderId }) =>
      status === "shipping" ? [ShipmentFailed.make({ orderId })] : notShipping(orderId, status),
    CancelOrder: ({ status }, order) => status === "placed" ? [OrderCancelled.make(order)] : []
  }
})
