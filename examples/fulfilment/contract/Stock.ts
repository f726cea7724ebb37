/**
 * Stock: its events, commands and errors.
 */
import * as Schema from "effect/Schema"
import { Command } from "evsrc"
import { OrderId, Product, Quantity } from "./Orders.ts"

const delivery = { product: Product, quantity: Quantity }
const reservation = { ...delivery, orderId: OrderId }

export const StockEvent = Schema.TaggedUnion({
  StockDelivered: delivery,
  StockReserved: reservation,
  StockReleased: reservation
})

export class OutOfStock extends Schema.TaggedError<OutOfStock>()("OutOfStock", {
  product: Product,
  available: Schema.Int
}) {}

export const DeliverStock = Command.make("DeliverStock", { payload: delivery })
export const ReserveStock = Command.make("ReserveStock", { payload: reservation, error: OutOfStock })
export const ReleaseStock = Command.make("ReleaseStock", { payload: { product: Product, orderId: OrderId } })
