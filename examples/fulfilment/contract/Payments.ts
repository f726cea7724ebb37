/**
 * Payments: one account for each order. Their events, commands and errors.
 */
import * as Schema from "effect/Schema"
import { Command } from "evsrc"
import { Amount, OrderId } from "./Orders.ts"

const payment = { orderId: OrderId, amount: Amount }

export const PaymentEvent = Schema.TaggedUnion({ PaymentReceived: payment, PaymentRefunded: payment })

export class AlreadyPaid extends Schema.TaggedError<AlreadyPaid>()(
  "AlreadyPaid",
  { orderId: OrderId },
  { description: "The order is paid." }
) {
  override get message(): string {
    return `Order "${this.orderId}" is paid already`
  }
}

export const ReceivePayment = Command.make("ReceivePayment", { payload: payment, error: AlreadyPaid })
export const RefundPayment = Command.make("RefundPayment", { payload: { orderId: OrderId } })
