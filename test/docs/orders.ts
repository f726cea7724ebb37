/** The orders of docs/read-models.md, docs/subscriptions.md and docs/operations.md. */
import { Context, Effect, Layer, Schedule, Schema } from "effect"
import { Event, EventStore, Projection, ProjectionStore, Subscription } from "evsrc"

export const order = { orderId: Schema.NonEmptyString, customer: Schema.NonEmptyString }
export const line = Schema.Struct({ sku: Schema.NonEmptyString, quantity: Schema.Int })

export const OrderEvent = Schema.TaggedUnion({
  OrderPlaced: { ...order, lines: Schema.Array(line) },
  OrderShipped: order,
  OrderCancelled: order
}).pipe(Event.tags({ customer: "customer" }))

export const Sold = Projection.make("sold", {
  events: OrderEvent,
  document: Schema.Int,
  partitions: 4,
  key: (event) => event._tag === "OrderPlaced" ? event.lines.map(({ sku }) => sku) : [],
  evolve: {
    OrderPlaced: (sold = 0, { lines }, _recorded, sku) =>
      lines.reduce((sum, line) => line.sku === sku ? sum + line.quantity : sum, sold),
    OrderShipped: Projection.ignore,
    OrderCancelled: Projection.ignore
  }
})

export const { OrderCancelled, OrderPlaced, OrderShipped } = OrderEvent.cases

/** Appends an event, as a command would, and returns the receipt. */
export const append = (event: typeof OrderEvent.Type) =>
  EventStore.append(OrderEvent, `Order-${event.orderId}`, [event])

export const place = (orderId: string, customer: string, lines: ReadonlyArray<typeof line.Type> = []) =>
  append(OrderPlaced.make({ orderId, customer, lines }))

export class MailRefused extends Schema.TaggedError<MailRefused>()("MailRefused", { to: Schema.String }) {
  override get message() {
    return `no mail can be sent to ${this.to}`
  }
}

export class Mailer extends Context.Service<Mailer, {
  readonly send: (to: string, text: string, messageId: string) => Effect.Effect<void, MailRefused>
}>()("Mailer") {}

export const mail = (to: string, text: string, messageId: string) =>
  Effect.flatMap(Mailer, (mailer) => mailer.send(to, text, messageId))

/** The messages that the test mailer sent, and the customers whom it cannot reach. */
export const sent = new Map<string, string>()
export const unreachable = new Set(["bob", "cem"])
export const TestMailer = Layer.succeed(Mailer, {
  send: (to, text, messageId) =>
    Effect.suspend(() => {
      if (unreachable.has(to)) return Effect.fail(new MailRefused({ to }))
      sent.set(messageId, `${to}: ${text}`)
      return Effect.void
    })
})

export const OrderMail = Subscription.make("order-mail", {
  events: OrderEvent,
  from: "now",
  retry: Schedule.recurs(1),
  parks: ["MailRefused"],
  handle: {
    OrderPlaced: ({ customer, orderId }, { id }) => mail(customer, `${orderId} is placed`, id),
    OrderShipped: ({ customer, orderId }, { id }) => mail(customer, `${orderId} is on its way`, id),
    OrderCancelled: Subscription.ignore
  }
})

export const Mails = Subscription.layer([OrderMail]).pipe(Layer.provide(TestMailer))

export const memory = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)
