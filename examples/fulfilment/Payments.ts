/**
 * Payments: one account for each order.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Aggregate } from "evsrc"
import { AlreadyPaid, PaymentEvent, ReceivePayment, RefundPayment } from "./contract/Payments.ts"

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
