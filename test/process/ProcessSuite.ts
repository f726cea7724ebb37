/**
 * The runtime suite of process managers.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import type { Stores } from "../support/AccountFixtures.ts"
import { nameOf } from "./Probe.ts"
import { fulfilment, orderStream, PayOrder, PlaceOrder, run } from "./Shop.ts"

/** Returns the names of the events of a stream, when it has as many as expected. */
const eventsOf = (stream: string, count: number) =>
  EventStore.readStreamEncoded(stream).pipe(
    Stream.map(nameOf),
    Stream.runCollect,
    Effect.repeat({ until: (types) => types.length >= count, schedule: Schedule.spaced("10 millis") }),
    Effect.timeoutOrElse({
      duration: "1 minute",
      orElse: () =>
        EventStore.readStreamEncoded(stream).pipe(
          Stream.map(({ data, type }) => `${type} ${JSON.stringify(data)}`),
          Stream.runCollect,
          Effect.flatMap((found) => Effect.die(new Error(`"${stream}" has ${JSON.stringify(found)}`)))
        )
    })
  )

export const ordersOf = (orderId: string, count: number) => eventsOf(orderStream(orderId), count)

export const processes: ReadonlyArray<Case<Stores>> = [
  test("ships an order that is paid, and completes", function*() {
    const name = unique("fulfilment").replaceAll("-", "_")
    const orderId = unique("o")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(PlaceOrder, { orderId, isInStock: true })
      yield* CommandBus.dispatch(PayOrder, { orderId })
      equal(yield* ordersOf(orderId, 3), ["OrderPlaced", "OrderPaid", "OrderShipped"], "the order")
      equal(
        yield* eventsOf(`${name}-${orderId}`, 8),
        [
          `${name}.received`,
          `${name}.deadline.PaymentDue`,
          `${name}.received`,
          "PaymentTaken",
          `${name}.cancelled.PaymentDue`,
          `${name}.send.ShipOrder`,
          `${name}.received`,
          `${name}.completed`
        ],
        "the process"
      )
    }).pipe(Effect.provide(run(fulfilment(name))))
  }),

  test("reacts to a rejected command", function*() {
    const name = unique("fulfilment").replaceAll("-", "_")
    const orderId = unique("o")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(PlaceOrder, { orderId, isInStock: false })
      yield* CommandBus.dispatch(PayOrder, { orderId })
      equal(yield* ordersOf(orderId, 3), ["OrderPlaced", "OrderPaid", "OrderCancelled"], "the order")
    }).pipe(Effect.provide(run(fulfilment(name))))
  }),

  test("fires a deadline", function*() {
    const name = unique("fulfilment").replaceAll("-", "_")
    const orderId = unique("o")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(PlaceOrder, { orderId, isInStock: true })
      equal(yield* ordersOf(orderId, 2), ["OrderPlaced", "OrderCancelled"], "the order")
      equal(
        yield* eventsOf(`${name}-${orderId}`, 5),
        [
          `${name}.received`,
          `${name}.deadline.PaymentDue`,
          `${name}.fired.PaymentDue`,
          `${name}.send.CancelOrder`,
          `${name}.completed`
        ],
        "the process"
      )
    }).pipe(Effect.provide(run(fulfilment(name, { paidWithin: "100 millis" }))))
  })
]
