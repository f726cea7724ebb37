import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { CommandBus, EventStore, ProcessManager, ProjectionStore } from "evsrc"
import { typesOf } from "./Probe.ts"
import { fulfilment, orderStream, PayOrder, PlaceOrder, run } from "./Shop.ts"

const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

/** Lets time pass in steps until the order has so many events. The consumers poll by the same clock. */
const pass = (orderId: string, seconds: number, events: number) =>
  TestClock.adjust(`${seconds} seconds`).pipe(
    Effect.andThen(typesOf(orderStream(orderId))),
    Effect.repeat({ until: (types) => types.length >= events, times: 1_000 })
  )

describe("process managers on a virtual clock", () => {
  it.effect("cancel an order that is not paid within 15 minutes, and ship one that is", () => {
    const process = fulfilment("fulfilment")
    return Effect.gen(function*() {
      yield* CommandBus.dispatch(PlaceOrder, { orderId: "late", isInStock: true })
      yield* CommandBus.dispatch(PlaceOrder, { orderId: "paid", isInStock: true })
      const deadlines = Effect.map(
        ProcessManager.inspect(process, "paid"),
        (found) => Option.match(found, { onNone: () => [], onSome: ({ state }) => Object.keys(state.deadlines) })
      )
      yield* Effect.andThen(TestClock.adjust("1 second"), deadlines).pipe(
        Effect.repeat({ until: (names) => names.length > 0, times: 100 })
      )
      yield* CommandBus.dispatch(PayOrder, { orderId: "paid" })
      assert.deepStrictEqual(yield* pass("paid", 1, 3), ["OrderPlaced", "OrderPaid", "OrderShipped"])
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(yield* typesOf(orderStream("late")), ["OrderPlaced"])
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(yield* pass("late", 1, 2), ["OrderPlaced", "OrderCancelled"])
      assert.deepStrictEqual(yield* typesOf(orderStream("paid")), ["OrderPlaced", "OrderPaid", "OrderShipped"])
    }).pipe(Effect.provide(run(process).pipe(Layer.provideMerge(stores))))
  })
})
