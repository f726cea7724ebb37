/**
 * Payments: one account for each order. Their events, commands and errors.
 */
import * as Schema from "effect/Schema"
import { Command } from "evsrc"
import { Amount, OrderId } from "./Orders.ts"

export const PaymentEvent = Schema.TaggedUnion({
  PaymentReceived: { orderId: OrderId, amount: Amount },
  PaymentRefunded: { orderId: OrderId, amount: Amount }
})

export class AlreadyPaid extends Schema.TaggedError<AlreadyPaid>()("AlreadyPaid", { orderId: OrderId }) {
  override get message(): string {
    return `Order "${this.orderId}" is paid already`
  }
}

export const ReceivePayment = Command.make("ReceivePayment", {
  payload: { orderId: OrderId, amount: Amount },
  error: AlreadyPaid
})
export const RefundPayment = Command.make("RefundPayment", { payload: { orderId: OrderId } })
