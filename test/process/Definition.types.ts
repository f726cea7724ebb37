import { Schema } from "effect"
import { Command, Event, ProcessManager } from "evsrc"

const OrderId = Schema.String.pipe(Schema.brand("OrderId"))
const OrderEvent = Schema.TaggedUnion({ OrderPlaced: { orderId: OrderId, total: Schema.Int } })
const PaymentEvent = Schema.TaggedUnion({
  PaymentReceived: { orderId: OrderId },
  PaymentRefunded: { orderId: OrderId }
})
class NotInStock extends Schema.TaggedError<NotInStock>()("NotInStock", { orderId: OrderId }) {}
const Ship = Command.make("Ship", { payload: { orderId: OrderId }, error: NotInStock })
const Cancel = Command.make("Cancel", { payload: { orderId: OrderId, reason: Schema.String } })
const Other = Command.make("Other", { payload: { orderId: OrderId } })
const FulfilmentEvent = Schema.TaggedUnion({ Paid: {}, NotPaid: {} })

const contract = ProcessManager.make("fulfilment", {
  inputs: Event.merge(OrderEvent, PaymentEvent),
  correlate: {
    OrderPlaced: ({ orderId }) => ProcessManager.start(orderId),
    PaymentReceived: ({ orderId }) => ProcessManager.continue(orderId),
    PaymentRefunded: ProcessManager.ignore
  },
  state: Schema.Literals(["new", "paid"]),
  events: FulfilmentEvent,
  commands: [Ship, Cancel],
  deadlines: { PaymentDue: { orderId: OrderId } }
})

const evolve = { Paid: () => "paid" as const, NotPaid: () => "new" as const }

export const Fulfilment = contract.behaviour({
  initial: "new",
  evolve,
  react: {
    OrderPlaced: (_, { orderId }) => [
      ProcessManager.deadline("PaymentDue", { orderId }, { after: "15 minutes" })
    ],
    PaymentReceived: (_, { orderId }) => [
      ProcessManager.cancelDeadline("PaymentDue"),
      FulfilmentEvent.cases.Paid.make({}),
      ProcessManager.send(Ship, { orderId })
    ],
    PaymentDue: (state, { orderId }) =>
      state === "paid" ? [] : [ProcessManager.send(Cancel, { orderId, reason: "not paid" }), ProcessManager.complete]
  },
  refused: { Ship: (_, error, { orderId }) => [ProcessManager.send(Cancel, { orderId, reason: error._tag })] }
})

contract.behaviour({
  initial: "new",
  evolve,
  react: {
    OrderPlaced: () => [],
    PaymentReceived: () => [],
    // @ts-expect-error a command that is not declared
    PaymentDue: (_, { orderId }) => [ProcessManager.send(Other, { orderId })]
  },
  refused: { Ship: ProcessManager.ignore }
})
contract.behaviour({
  initial: "new",
  evolve,
  react: {
    OrderPlaced: () => [],
    PaymentReceived: () => [],
    // @ts-expect-error a deadline that is not declared
    PaymentDue: (_, { orderId }) => [ProcessManager.deadline("Other", { orderId }, { after: "1 day" })]
  },
  refused: { Ship: ProcessManager.ignore }
})
contract.behaviour({
  initial: "new",
  evolve,
  // @ts-expect-error an input without a reaction
  react: { OrderPlaced: () => [], PaymentDue: () => [] },
  refused: { Ship: ProcessManager.ignore }
})
// @ts-expect-error a command with errors, without `refused`
contract.behaviour({
  initial: "new",
  evolve,
  react: { OrderPlaced: () => [], PaymentReceived: () => [], PaymentDue: () => [] }
})
