/**
 * Payments: one account for each order.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Aggregate, Command } from "evsrc"
import { Amount, OrderId } from "./Orders.ts"

export const PaymentEvent = Schema.TaggedUnion({
  PaymentReceived: { orderId: OrderId, amount: Amount },
  PaymentRefunded: { orderId: OrderId, amount: Amount }
})

export class AlreadyPaid extends Schema.TaggedError<AlreadyPaid>()("AlreadyPaid", { orderId: OrderId }) {}

export const ReceivePayment = Command.make("ReceivePayment", {
  payload: { orderId: OrderId, amount: Amount },
  error: AlreadyPaid
})
export const RefundPayment = Command.make("RefundPayment", { payload: { orderId: OrderId } })

const Payment = Aggregate.make("Payment", {
  id: "orderId",
  state: Schema.Struct({ received: Schema.Int, refunded: Schema.Int }),
  events: PaymentEvent,
  commands: [ReceivePayment, RefundPayment]
})

export const PaymentDecider = Payment.decider({
  initial: { received: 0, refunded: 0 },
  evolve: {
    PaymentReceived: (state, { amount }) => ({ ...state, received: state.received + amount }),
    PaymentRefunded: (state, { amount }) => ({ ...state, refunded: state.refunded + amount })
  },
  decide: {
    ReceivePayment: ({ received }, payment) =>
      received === 0
        ? [PaymentEvent.cases.PaymentReceived.make(payment)]
        : Result.fail(new AlreadyPaid({ orderId: payment.orderId })),
    RefundPayment: ({ received, refunded }, { orderId }) =>
      received > refunded ? [PaymentEvent.cases.PaymentRefunded.make({ orderId, amount: received - refunded })] : []
  }
})
