/**
 * Orders: what a customer wants of one product. The process manager `Fulfilment` decides when an order is shipped or cancelled.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Aggregate, Command } from "evsrc"

export const OrderId = Schema.NonEmptyString.check(Schema.isMaxLength(128)).pipe(Schema.brand("OrderId"))
export type OrderId = typeof OrderId.Type
export const Product = Schema.NonEmptyString.check(Schema.isMaxLength(128)).pipe(Schema.brand("Product"))
export const Quantity = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000 }))
/** In cents. */
export const Amount = Schema.Int.check(Schema.isGreaterThan(0))
export const CancelReason = Schema.Literals(["not paid in time", "out of stock", "not deliverable"])

const order = { orderId: OrderId, product: Product, quantity: Quantity, amount: Amount, address: Schema.String }

export const OrderEvent = Schema.TaggedUnion({
  OrderPlaced: order,
  OrderShipped: { orderId: OrderId },
  OrderCancelled: { orderId: OrderId, reason: CancelReason }
})

export class OrderExists extends Schema.TaggedError<OrderExists>()("OrderExists", { orderId: OrderId }) {}
export class NotDeliverable extends Schema.TaggedError<NotDeliverable>()("NotDeliverable", { orderId: OrderId }) {}

export const PlaceOrder = Command.make("PlaceOrder", {
  payload: order,
  error: OrderExists
})
export const ShipOrder = Command.make("ShipOrder", { payload: { orderId: OrderId }, error: NotDeliverable })
export const CancelOrder = Command.make("CancelOrder", { payload: { orderId: OrderId, reason: CancelReason } })

const Order = Aggregate.make("Order", {
  id: "orderId",
  state: Schema.Struct({
    status: Schema.Literals(["absent", "placed", "shipped", "cancelled"]),
    address: Schema.String
  }),
  events: OrderEvent,
  commands: [PlaceOrder, ShipOrder, CancelOrder]
})

export const OrderDecider = Order.decider({
  initial: { status: "absent", address: "" },
  evolve: {
    OrderPlaced: (_, { address }) => ({ status: "placed", address }),
    OrderShipped: (state) => ({ ...state, status: "shipped" }),
    OrderCancelled: (state) => ({ ...state, status: "cancelled" })
  },
  decide: {
    PlaceOrder: ({ status }, order) =>
      status === "absent"
        ? [OrderEvent.cases.OrderPlaced.make(order)]
        : Result.fail(new OrderExists({ orderId: order.orderId })),
    ShipOrder: ({ address, status }, { orderId }) =>
      address.trim() === ""
        ? Result.fail(new NotDeliverable({ orderId }))
        : status === "placed"
        ? [OrderEvent.cases.OrderShipped.make({ orderId })]
        : [],
    CancelOrder: ({ status }, order) => status === "placed" ? [OrderEvent.cases.OrderCancelled.make(order)] : []
  }
})
