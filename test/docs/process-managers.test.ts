/** Executes the code of docs/process-managers.md. */
import { assert, it, layer } from "@effect/vitest"
import { Effect, Layer, Option, Schedule, Schema } from "effect"
import { Aggregate, Command, EventStore, ProjectionStore } from "evsrc"
import { CommandBus, Event, ProcessManager, Schedules } from "evsrc"
import { ProcessProperties, ProcessSpec } from "evsrc/testing"
import { OrderEvent, OrderId, Product } from "../../examples/fulfilment/contract/Orders.ts"
import { PaymentEvent } from "../../examples/fulfilment/contract/Payments.ts"
import { OrderOverview } from "../../examples/fulfilment/OrderOverview.ts"

const SentEvent = Schema.TaggedUnion({ ReminderSent: { orderId: OrderId } })
class Unsubscribed extends Schema.TaggedError<Unsubscribed>()("Unsubscribed", {}) {}
const SendReminder = Command.make("SendReminder", { payload: { orderId: OrderId }, error: Unsubscribed })
const ReminderEvent = Schema.TaggedUnion({ CustomerReminded: {} })

const Mailbox = Aggregate.layer(
  Aggregate.make("Mailbox", { id: "orderId", state: Schema.Null, events: SentEvent, commands: [SendReminder] })
    .decider({
      initial: null,
      evolve: { ReminderSent: () => null },
      decide: { SendReminder: (_, { orderId }) => [SentEvent.cases.ReminderSent.make({ orderId })] }
    })
)

const Reminder = ProcessManager.make("reminder", {
  inputs: Event.merge(OrderEvent, PaymentEvent),
  correlate: {
    OrderPlaced: ({ orderId }) => ProcessManager.start(orderId),
    ShipmentRequested: ProcessManager.ignore,
    ShipmentFailed: ProcessManager.ignore,
    OrderShipped: ProcessManager.ignore,
    OrderCancelled: ({ orderId }) => ProcessManager.continue(orderId),
    PaymentReceived: ({ orderId }) => ProcessManager.continue(orderId),
    PaymentRefunded: ProcessManager.ignore
  },
  state: Schema.Struct({ reminders: Schema.Int }),
  events: ReminderEvent,
  commands: [SendReminder],
  deadlines: { PaymentDue: { orderId: OrderId } }
}).behaviour({
  initial: { reminders: 0 },
  evolve: { CustomerReminded: ({ reminders }) => ({ reminders: reminders + 1 }) },
  react: {
    OrderPlaced: (_, { orderId }) => [ProcessManager.deadline("PaymentDue", { orderId }, { after: "1 day" })],
    OrderCancelled: () => [ProcessManager.complete],
    PaymentReceived: () => [ProcessManager.complete],
    PaymentDue: ({ reminders }, { orderId }) =>
      reminders === 2 ? [ProcessManager.complete] : [
        ReminderEvent.cases.CustomerReminded.make({}),
        ProcessManager.send(SendReminder, { orderId }),
        ProcessManager.deadline("PaymentDue", { orderId }, { after: "1 day" })
      ]
  },
  refused: { SendReminder: () => [ProcessManager.complete] }
})

const Reminders = ProcessManager.layer([Reminder]).pipe(Layer.provideMerge(Mailbox))

const Later = Schedules.make("later", [SendReminder])
const Scheduling = Schedules.layer(Later).pipe(Layer.provideMerge(Mailbox))

const orderId = OrderId.make("o-1")
const placed = OrderEvent.cases.OrderPlaced.make({
  orderId,
  product: Product.make("lamp"),
  quantity: 1,
  amount: 900,
  address: "Main Street 1"
})
const paid = PaymentEvent.cases.PaymentReceived.make({ orderId, amount: 900 })

for (const { name, test } of ProcessProperties.all(Reminder)) it.effect(name, () => test)

it("a specification lets time pass", () => {
  ProcessSpec.given(Reminder, [placed])
    .thenDeadlines({ PaymentDue: "1 day" })
    .after("1 day")
    .thenEvents([ReminderEvent.cases.CustomerReminded.make({})])
    .thenSends([ProcessManager.send(SendReminder, { orderId })])
    .thenDeadlines({ PaymentDue: "1 day" })
    .when(paid)
    .thenStatus("completed")
})

const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

layer(Reminders.pipe(Layer.provideMerge(stores)), { excludeTestServices: true })("a process manager", (it) => {
  it.effect("is listed, inspected and abandoned", () =>
    Effect.gen(function*() {
      const overdue = ProcessManager.list(Reminder, { where: { status: "running" }, orderBy: { field: "nextDueAt" } })
      const one = ProcessManager.inspect(Reminder, orderId)
      const abandoned = ProcessManager.abandon(Reminder, orderId, "the customer has called")
      const health = ProcessManager.health(Reminder)
      const watch = ProcessManager.watch([Reminder], { consumers: [OrderOverview] })
      yield* Effect.scoped(watch)
      yield* EventStore.append(OrderEvent, "Order-o-1", [placed])
      yield* Effect.repeat(overdue, {
        until: ({ items }) => items.length === 1,
        schedule: Schedule.spaced("10 millis")
      }).pipe(Effect.timeout("30 seconds"))
      assert.isTrue(yield* abandoned)
      const { history, instance } = Option.getOrThrow(yield* one)
      assert.strictEqual(instance.reason, "the customer has called")
      assert.strictEqual(history.at(-1)?.type, "reminder.abandoned")
      assert.strictEqual((yield* health).overdue, undefined)
    }))
})

layer(Scheduling.pipe(Layer.provideMerge(stores)), { excludeTestServices: true })("scheduled commands", (it) => {
  it.effect("are listed and cancelled", () =>
    Effect.gen(function*() {
      const id = yield* CommandBus.schedule(SendReminder, { orderId }, { after: "3 days" })
      yield* CommandBus.schedule(SendReminder, { orderId }, { cron: "0 8 * * MON-FRI", timeZone: "Europe/Berlin" })
      const { items } = yield* Schedules.list(Later)
      const cancelled = yield* Schedules.cancel(Later, id)
      assert.strictEqual(items.length, 2)
      assert.isTrue(cancelled)
      yield* CommandBus.schedule(SendReminder, { orderId }, { cron: "0 * * * *", missed: "all" })
      assert.deepStrictEqual((yield* Schedules.list(Later)).items.map(({ skipped }) => skipped), [0, 0])
    }))
})
