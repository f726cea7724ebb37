/**
 * Fulfilment: an order is paid in time and shipped, or it is cancelled. Stock is reserved meanwhile, and a payment that comes too late, or for an order that
 * cannot be delivered, is refunded.
 */
import * as Schema from "effect/Schema"
import { Event, ProcessManager } from "evsrc"
import { Amount, CancelOrder, CancelReason, OrderEvent, OrderId, Product, ShipOrder } from "./contract/Orders.ts"
import { PaymentEvent, RefundPayment } from "./contract/Payments.ts"
import { ReleaseStock, ReserveStock, StockEvent } from "./contract/Stock.ts"

const State = Schema.Struct({
  product: Schema.optionalKey(Product),
  amount: Schema.optionalKey(Amount),
  isPaid: Schema.Boolean,
  isReserved: Schema.Boolean,
  isCancelled: Schema.Boolean
})
type State = typeof State.Type

const FulfilmentEvent = Schema.TaggedUnion({
  FulfilmentBegun: { product: Product, amount: Amount },
  FulfilmentPaid: {},
  FulfilmentReserved: {},
  FulfilmentCancelled: { reason: CancelReason }
})
const { FulfilmentBegun, FulfilmentCancelled, FulfilmentPaid, FulfilmentReserved } = FulfilmentEvent.cases

const { cancelDeadline, complete, deadline, send } = ProcessManager
const continues = ({ orderId }: { readonly orderId: OrderId }) => ProcessManager.continue(orderId)

/** Cancels the order, and gives back what the process has for it. A payment that comes later is refunded then, for 30 days. */
const cancel = ({ isPaid, product }: State, orderId: OrderId, reason: typeof CancelReason.Type) => [
  FulfilmentCancelled.make({ reason }),
  send(CancelOrder, { orderId, reason }),
  ...(product === undefined ? [] : [send(ReleaseStock, { product, orderId })]),
  ...(isPaid ? [send(RefundPayment, { orderId })] : []),
  cancelDeadline("PaymentDue"),
  deadline("Forgotten", {}, { after: "30 days" })
]

export const Fulfilment = ProcessManager.make("fulfilment", {
  inputs: Event.merge(OrderEvent, PaymentEvent, StockEvent),
  correlate: {
    OrderPlaced: ({ orderId }) => ProcessManager.start(orderId),
    ShipmentRequested: ProcessManager.ignore,
    ShipmentFailed: continues,
    OrderShipped: continues,
    OrderCancelled: ProcessManager.ignore,
    PaymentReceived: continues,
    PaymentRefunded: ProcessManager.ignore,
    StockDelivered: ProcessManager.ignore,
    StockReserved: continues,
    StockReleased: ProcessManager.ignore
  },
  state: State,
  events: FulfilmentEvent,
  commands: [ReserveStock, ReleaseStock, ShipOrder, CancelOrder, RefundPayment],
  deadlines: { PaymentDue: { orderId: OrderId }, Forgotten: {} }
}).behaviour({
  initial: { isPaid: false, isReserved: false, isCancelled: false },
  evolve: {
    FulfilmentBegun: (state, { amount, product }) => ({ ...state, product, amount }),
    FulfilmentPaid: (state) => ({ ...state, isPaid: true }),
    FulfilmentReserved: (state) => ({ ...state, isReserved: true }),
    FulfilmentCancelled: (state) => ({ ...state, isCancelled: true })
  },
  react: {
    OrderPlaced: (_, { amount, orderId, payWithin = 15 * 60, product, quantity }) => [
      FulfilmentBegun.make({ product, amount }),
      send(ReserveStock, { product, orderId, quantity }),
      deadline("PaymentDue", { orderId }, { after: `${payWithin} seconds` })
    ],
    StockReserved: ({ isCancelled, isPaid, product }, { orderId }) =>
      isCancelled && product !== undefined
        ? [send(ReleaseStock, { product, orderId })]
        : [FulfilmentReserved.make({}), ...(isPaid ? [send(ShipOrder, { orderId })] : [])],
    PaymentReceived: (state, { amount, orderId }) =>
      state.isCancelled
        ? [send(RefundPayment, { orderId })]
        : amount !== state.amount
        ? cancel({ ...state, isPaid: true }, orderId, "wrong amount")
        : [
          FulfilmentPaid.make({}),
          cancelDeadline("PaymentDue"),
          ...(state.isReserved ? [send(ShipOrder, { orderId })] : [])
        ],
    ShipmentFailed: (state, { orderId }) => cancel(state, orderId, "not deliverable"),
    OrderShipped: () => [complete],
    PaymentDue: (state, { orderId }) => cancel(state, orderId, "not paid in time"),
    Forgotten: () => [complete]
  },
  refused: {
    ReserveStock: (state, _, { orderId }) => cancel(state, orderId, "out of stock"),
    ShipOrder: (state, _, { orderId }) => cancel(state, orderId, "not deliverable")
  }
})
