/** A shop with one process manager: an order is paid in time and shipped, or cancelled. */
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import type { EventStoreError } from "../../src/core/errors.ts"
import type { EventStore } from "../../src/eventStore/EventStore.ts"
import * as ProcessManager from "../../src/process/ProcessManager.ts"
import type { ProjectionStore } from "../../src/projection/ProjectionStore.ts"

export const OrderEvent = Schema.TaggedUnion({
  OrderPlaced: { orderId: Schema.String, isInStock: Schema.Boolean },
  OrderPaid: { orderId: Schema.String },
  OrderShipped: { orderId: Schema.String },
  OrderCancelled: { orderId: Schema.String, reason: Schema.String }
})

export class OutOfStock extends Schema.TaggedError<OutOfStock>()("OutOfStock", { orderId: Schema.String }) {}

export const PlaceOrder = Command.make("PlaceOrder", {
  payload: { orderId: Schema.String, isInStock: Schema.Boolean }
})
export const PayOrder = Command.make("PayOrder", { payload: { orderId: Schema.String } })
export const ShipOrder = Command.make("ShipOrder", { payload: { orderId: Schema.String }, error: OutOfStock })
export const CancelOrder = Command.make("CancelOrder", {
  payload: { orderId: Schema.String, reason: Schema.String }
})

const Order = Aggregate.make("Order", {
  id: "orderId",
  state: Schema.Struct({ status: Schema.String, isInStock: Schema.Boolean }),
  events: OrderEvent,
  commands: [PlaceOrder, PayOrder, ShipOrder, CancelOrder]
})

const OrderDecider = Order.decider({
  initial: { status: "new", isInStock: false },
  evolve: {
    OrderPlaced: (_, { isInStock }) => ({ status: "placed", isInStock }),
    OrderPaid: (state) => ({ ...state, status: "paid" }),
    OrderShipped: (state) => ({ ...state, status: "shipped" }),
    OrderCancelled: (state) => ({ ...state, status: "cancelled" })
  },
  decide: {
    PlaceOrder: (_, command) => [{ _tag: "OrderPlaced", ...command }],
    PayOrder: (_, command) => [{ _tag: "OrderPaid", ...command }],
    ShipOrder: ({ isInStock }, { orderId }) =>
      isInStock ? [{ _tag: "OrderShipped", orderId }] : Result.fail(new OutOfStock({ orderId })),
    CancelOrder: (_, command) => [{ _tag: "OrderCancelled", ...command }]
  }
})

/** Returns the handlers of the commands, of its own in each test. */
export const orders = () => Layer.fresh(Aggregate.layer(OrderDecider))

export const orderStream = (orderId: string) => Order.streamOf(orderId)

export const FulfilmentEvent = Schema.TaggedUnion({ PaymentTaken: {} })

/** Returns the process manager under a name of its own, which takes what is appended from now on. */
export const fulfilment = (
  name: string,
  { paidWithin = "15 minutes" }: { readonly paidWithin?: "15 minutes" | "2 seconds" | "100 millis" } = {}
) =>
  ProcessManager.make(name, {
    inputs: OrderEvent,
    correlate: {
      OrderPlaced: ({ orderId }) => ProcessManager.start(orderId),
      OrderPaid: ({ orderId }) => ProcessManager.continue(orderId),
      OrderShipped: ({ orderId }) => ProcessManager.continue(orderId),
      OrderCancelled: ProcessManager.ignore
    },
    state: Schema.Literals(["placed", "paid"]),
    events: FulfilmentEvent,
    commands: [ShipOrder, CancelOrder],
    deadlines: { PaymentDue: { orderId: Schema.String } },
    from: "now"
  }).behaviour({
    initial: "placed",
    evolve: { PaymentTaken: () => "paid" },
    react: {
      OrderPlaced: (_, { orderId }) => [ProcessManager.deadline("PaymentDue", { orderId }, { after: paidWithin })],
      OrderPaid: (_, { orderId }) => [
        { _tag: "PaymentTaken" },
        ProcessManager.cancelDeadline("PaymentDue"),
        ProcessManager.send(ShipOrder, { orderId })
      ],
      OrderShipped: () => [ProcessManager.complete],
      PaymentDue: (_, { orderId }) => [
        ProcessManager.send(CancelOrder, { orderId, reason: "not paid" }),
        ProcessManager.complete
      ]
    },
    refused: {
      ShipOrder: (_, error, { orderId }) => [
        ProcessManager.send(CancelOrder, { orderId, reason: error._tag }),
        ProcessManager.complete
      ]
    }
  })

export type Fulfilment = ReturnType<typeof fulfilment>

/** Returns the layer that runs a process manager with its own handlers. */
export const run = (
  process: Fulfilment,
  options?: ProcessManager.ProcessOptions
): Layer.Layer<
  ProcessManager.ProcessManagers | Command.HandlerOf<typeof PlaceOrder | typeof PayOrder>,
  EventStoreError,
  EventStore | ProjectionStore
> => ProcessManager.layer([process], options).pipe(Layer.fresh, Layer.provideMerge(orders()))
