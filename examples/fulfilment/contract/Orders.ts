/**
 * Orders: what a customer wants of one product. Their events, commands and errors.
 */
import * as Schema from "effect/Schema"
import { Command } from "evsrc"

const name = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, {
    expected: "1 to 128 letters and digits, also _ . - after the first"
  })
).annotate({ description: "1 to 128 letters and digits, also `_`, `.` and `-` after the first." })

export const OrderId = name.pipe(Schema.brand("OrderId"))
export type OrderId = typeof OrderId.Type
export const Product = name.pipe(Schema.brand("Product"))
export const Quantity = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000 }))
/** In cents. */
export const Amount = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000_000 }))
export const Address = Schema.String.check(Schema.isPattern(/^[^\p{Cc}\p{Cs}]{0,200}$/u, {
  expected: "one line of at most 200 characters",
  // Tests generate values from a simpler pattern, because Unicode classes cannot be generated from.
  arbitraryConstraint: { patterns: [{ source: "^[A-Za-z0-9 ,.]{0,40}$", flags: "" }] }
})).annotate({ description: "One line of at most 200 characters; blank if the customer gave none." })
/** The time to pay, in seconds; 15 minutes by default. */
export const PayWithin = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 86_400 }))
export const CancelReason = Schema.Literals(["not paid in time", "wrong amount", "out of stock", "not deliverable"])
export const OrderStatus = Schema.Literals(["placed", "shipping", "shipped", "cancelled"])

const order = {
  orderId: OrderId,
  product: Product,
  quantity: Quantity,
  amount: Amount,
  address: Address,
  payWithin: Schema.optionalKey(PayWithin)
}

export const OrderEvent = Schema.TaggedUnion({
  OrderPlaced: order,
  ShipmentRequested: { orderId: OrderId },
  ShipmentFailed: { orderId: OrderId },
  OrderShipped: { orderId: OrderId },
  OrderCancelled: { orderId: OrderId, reason: CancelReason }
})

export class OrderExists extends Schema.TaggedError<OrderExists>()(
  "OrderExists",
  { orderId: OrderId },
  { description: "The id is taken." }
) {
  override get message(): string {
    return `Order "${this.orderId}" exists already`
  }
}

export class OrderNotFound extends Schema.TaggedError<OrderNotFound>()(
  "OrderNotFound",
  { orderId: OrderId },
  { description: "No order has this id." }
) {
  override get message(): string {
    return `Order "${this.orderId}" does not exist`
  }
}

export class NotDeliverable extends Schema.TaggedError<NotDeliverable>()("NotDeliverable", { orderId: OrderId }) {}

export class NotShipping extends Schema.TaggedError<NotShipping>()(
  "NotShipping",
  { orderId: OrderId, status: OrderStatus },
  { description: "The order does not wait for its shipment. `status` is its status." }
) {
  override get message(): string {
    return `Order "${this.orderId}" is ${this.status}; a shipment is reported while the order is shipping`
  }
}

export const PlaceOrder = Command.make("PlaceOrder", { payload: order, error: OrderExists })
/** The process manager sends it; the warehouse then reports the shipment, or that it failed. */
export const ShipOrder = Command.make("ShipOrder", { payload: { orderId: OrderId }, error: NotDeliverable })
const reported = { payload: { orderId: OrderId }, error: Schema.Union([OrderNotFound, NotShipping]) }
export const ReportShipment = Command.make("ReportShipment", reported)
export const ReportFailedShipment = Command.make("ReportFailedShipment", reported)
export const CancelOrder = Command.make("CancelOrder", { payload: { orderId: OrderId, reason: CancelReason } })
