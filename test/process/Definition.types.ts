import { type Context, Layer, Schema } from "effect"
import { Command, Event, type EventStore, ProcessManager, type ProjectionStore } from "evsrc"
import * as Reaction from "../../src/process/Reaction.ts"

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

contract.behaviour({
  initial: "new",
  evolve,
  react: {
    OrderPlaced: () => [],
    PaymentReceived: () => [],
    // @ts-expect-error a deadline with another payload
    PaymentDue: () => [ProcessManager.deadline("PaymentDue", { orderId: 1 }, { after: "1 day" })]
  },
  refused: { Ship: ProcessManager.ignore }
})
contract.behaviour({
  initial: "new",
  evolve,
  react: {
    OrderPlaced: () => [],
    PaymentReceived: () => [],
    // @ts-expect-error the cancellation of a deadline that is not declared
    PaymentDue: () => [ProcessManager.cancelDeadline("Other")]
  },
  refused: { Ship: ProcessManager.ignore }
})
contract.behaviour({
  initial: "new",
  evolve,
  react: {
    OrderPlaced: () => [],
    PaymentReceived: () => [],
    // @ts-expect-error an event that is not its own
    PaymentDue: (_, { orderId }) => [OrderEvent.cases.OrderPlaced.make({ orderId, total: 1 })]
  },
  refused: { Ship: ProcessManager.ignore }
})
contract.behaviour({
  initial: "new",
  evolve,
  react: {
    OrderPlaced: () => [],
    PaymentReceived: () => [],
    PaymentDue: () => [],
    // @ts-expect-error a reaction to an input that is ignored
    PaymentRefunded: () => []
  },
  refused: { Ship: ProcessManager.ignore }
})
contract.behaviour({
  initial: "new",
  // @ts-expect-error an own event without `evolve`
  evolve: { Paid: () => "paid" as const },
  react: { OrderPlaced: () => [], PaymentReceived: () => [], PaymentDue: () => [] },
  refused: { Ship: ProcessManager.ignore }
})
contract.behaviour({
  initial: "new",
  evolve,
  react: { OrderPlaced: () => [], PaymentReceived: () => [], PaymentDue: () => [] },
  // @ts-expect-error a rejection that is neither handled nor ignored
  refused: {}
})
contract.behaviour({
  initial: "new",
  evolve,
  // @ts-expect-error a deadline without a reaction
  react: { OrderPlaced: () => [], PaymentReceived: () => [] },
  refused: { Ship: ProcessManager.ignore }
})
// @ts-expect-error a payload that the command does not take
ProcessManager.send(Ship, { order: "o" })

const common = { state: Schema.Int, events: FulfilmentEvent } as const
ProcessManager.make("incomplete", {
  ...common,
  inputs: PaymentEvent,
  // @ts-expect-error an input that is neither handled nor ignored
  correlate: { PaymentReceived: ({ orderId }: { readonly orderId: string }) => ProcessManager.start(orderId) }
})
ProcessManager.make("unknown", {
  ...common,
  inputs: PaymentEvent,
  correlate: {
    PaymentReceived: ProcessManager.ignore,
    PaymentRefunded: ProcessManager.ignore,
    // @ts-expect-error an input that is not in the set
    PaymentLost: ProcessManager.ignore
  }
})

const bare = ProcessManager.make("bare", {
  ...common,
  inputs: PaymentEvent,
  correlate: { PaymentReceived: ({ orderId }) => ProcessManager.start(orderId), PaymentRefunded: ProcessManager.ignore }
})
const counts = { initial: 0, evolve: { Paid: () => 1, NotPaid: () => 0 } } as const
bare.behaviour({
  ...counts,
  // @ts-expect-error the cancellation of a deadline, where none is declared
  react: { PaymentReceived: () => [ProcessManager.cancelDeadline("PaymentDue")] }
})
bare.behaviour({
  ...counts,
  // @ts-expect-error an action that only schedules have
  react: { PaymentReceived: () => [Reaction.skip("Ship", 1, false)] }
})
type OfBare = ReturnType<Parameters<typeof bare.behaviour>[0]["react"]["PaymentReceived"]>[number]
type Says<Message extends string> = Extract<OfBare, { readonly name: { readonly [M in Message]: never } }>
type Message = "this process manager has no deadlines; declare them as `deadlines` of ProcessManager.make"
export const saysWhatToDo: [Says<Message>] extends [never] ? never : "the compiler's message says what to do" =
  "the compiler's message says what to do"

type Stores = EventStore.EventStore | ProjectionStore.ProjectionStore
const layer = ProcessManager.layer([Fulfilment])
const handlers = Layer.succeedContext({} as Context.Context<Command.HandlerOf<typeof Ship>>)
export const running: Layer.Layer<
  ProcessManager.ProcessManagers,
  unknown,
  Stores | Command.HandlerOf<typeof Ship | typeof Cancel>
> = layer
// @ts-expect-error the handler of Cancel is missing
export const incomplete: Layer.Layer<ProcessManager.ProcessManagers, unknown, Stores> = Layer.provide(layer, handlers)
