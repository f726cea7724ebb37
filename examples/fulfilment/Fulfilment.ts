/**
 * Fulfilment: an order is paid within 15 minutes and shipped, or it is cancelled. Stock is reserved meanwhile, and a payment that comes too late, or for an
 * order that cannot be delivered, is refunded.
 */
import * as Schema from "effect/Schema"
import { Event, ProcessManager } from "evsrc"
import { CancelOrder, CancelReason, OrderEvent, OrderId, Product, ShipOrder } from "./Orders.ts"
import { PaymentEvent, RefundPayment } from "./Payments.ts"
import { ReleaseStock, ReserveStock, StockEvent } from "./Stock.ts"

const State = Schema.Struct({
  product: Schema.optionalKey(Product),
  isPaid: Schema.Boolean,
  isReserved: Schema.Boolean,
  isCancelled: Schema.Boolean
})
type State = typeof State.Type

const FulfilmentEvent = Schema.TaggedUnion({
  FulfilmentBegun: { product: Product },
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
    FulfilmentBegun: (state, { product }) => ({ ...state, product }),
    FulfilmentPaid: (state) => ({ ...state, isPaid: true }),
    FulfilmentReserved: (state) => ({ ...state, isReserved: true }),
    FulfilmentCancelled: (state) => ({ ...state, isCancelled: true })
  },
  react: {
    OrderPlaced: (_, { orderId, product, quantity }) => [
      FulfilmentBegun.make({ product }),
      send(ReserveStock, { product, orderId, quantity }),
      deadline("PaymentDue", { orderId }, { after: "15 minutes" })
    ],
    StockReserved: ({ isCancelled, isPaid, product }, { orderId }) =>
      isCancelled && product !== undefined
        ? [send(ReleaseStock, { product, orderId })]
        : [FulfilmentReserved.make({}), ...(isPaid ? [send(ShipOrder, { orderId })] : [])],
    PaymentReceived: ({ isCancelled, isReserved }, { orderId }) =>
      isCancelled
        ? [send(RefundPayment, { orderId })]
        : [
          FulfilmentPaid.make({}),
          cancelDeadline("PaymentDue"),
          ...(isReserved ? [send(ShipOrder, { orderId })] : [])
        ],
    OrderShipped: () => [complete],
    PaymentDue: (state, { orderId }) => cancel(state, orderId, "not paid in time"),
    Forgotten: () => [complete]
  },
  refused: {
    ReserveStock: (state, _, { orderId }) => cancel(state, orderId, "out of stock"),
    ShipOrder: (state, _, { orderId }) => cancel(state, orderId, "not deliverable")
  }
})
