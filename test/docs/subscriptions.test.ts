/** Executes the code of docs/subscriptions.md. */
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Option, Schedule, Stream } from "effect"
import { EventBus } from "evsrc"
import { append, Mails, memory, OrderEvent, OrderShipped, place, sent } from "./orders.ts"

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

    it.effect("an event bus delivers new events", () =>
      Effect.gen(function*() {
        const events = yield* EventBus.listen(OrderEvent)
        yield* place("2", "fay")
        const next = yield* Stream.runHead(Stream.filter(events, ({ event }) => event.customer === "fay"))
        assert.strictEqual(Option.getOrThrow(next).event._tag, "OrderPlaced")
      }).pipe(Effect.scoped))
  }
)
