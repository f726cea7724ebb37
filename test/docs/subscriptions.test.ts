/** Executes the code of docs/subscriptions.md. */
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Option, Schedule, Stream } from "effect"
import { EventBus, Health, Subscription } from "evsrc"
import { append, mail, Mails, memory, OrderEvent, OrderMail, OrderShipped, place, sent, TestMailer } from "./orders.ts"

const OrderMail2 = Subscription.make("order-mail", {
  events: OrderEvent,
  version: 2,
  from: { version: 1, otherwise: "now" },
  partitions: 4,
  parks: ["MailRefused"],
  handle: ({ customer, orderId }, { id }) => mail(customer, `news of ${orderId}`, id)
})

// Other test files of the same worker use the module too.
sent.clear()

layer(Layer.merge(Mails, EventBus.layer()).pipe(Layer.provideMerge(memory)), { excludeTestServices: true })(
  "subscriptions",
  (it) => {
    it.effect("send mail once for each event", () =>
      Effect.gen(function*() {
        yield* place("1", "ann")
        yield* append(OrderShipped.make({ orderId: "1", customer: "ann" }))
        yield* Effect.sync(() => sent.size).pipe(
          Effect.repeat({ until: (size) => size === 2, schedule: Schedule.spaced("10 millis") }),
          Effect.timeout("30 seconds")
        )
        assert.sameMembers(Array.from(sent.values()), ["ann: 1 is placed", "ann: 1 is on its way"])
      }))

    it.effect("a new version continues where the earlier one stands", () =>
      Effect.gen(function*() {
        yield* Layer.build(Subscription.layer([OrderMail2]).pipe(Layer.provide(TestMailer)))
        yield* Effect.map(Health.of([OrderMail]), ({ reasons }) => reasons.join()).pipe(
          Effect.repeat({
            until: (reasons) => reasons.includes("subscription:order-mail@2 has continued"),
            schedule: Schedule.spaced("10 millis")
          }),
          Effect.timeout("30 seconds")
        )
        yield* place("3", "gus")
        yield* Effect.sync(() => Array.from(sent.values())).pipe(
          Effect.repeat({ until: (mails) => mails.length === 3, schedule: Schedule.spaced("10 millis") }),
          Effect.timeout("30 seconds")
        )
        assert.include(Array.from(sent.values()), "gus: news of 3")
      }).pipe(Effect.scoped))

    it.effect("an event bus delivers new events", () =>
      Effect.gen(function*() {
        const events = yield* EventBus.listen(OrderEvent)
        yield* place("2", "fay")
        const next = yield* Stream.runHead(Stream.filter(events, ({ event }) => event.customer === "fay"))
        assert.strictEqual(Option.getOrThrow(next).event._tag, "OrderPlaced")
      }).pipe(Effect.scoped))
  }
)
