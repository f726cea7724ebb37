/**
 * The runtime suite of scheduled commands.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import * as ProcessManager from "../../src/process/ProcessManager.ts"
import * as Schedules from "../../src/process/Schedules.ts"
import type { Stores } from "../support/AccountFixtures.ts"
import { ordersOf } from "./ProcessSuite.ts"
import { CancelOrder, orders, PlaceOrder, ShipOrder } from "./Shop.ts"

/** Returns schedules of their own, and the layer that runs them. */
const shop = () => {
  const schedules = Schedules.make(unique("schedules").replaceAll("-", "_"), [CancelOrder, ShipOrder])
  return { schedules, layer: Schedules.layer(schedules).pipe(Layer.fresh, Layer.provideMerge(orders())) }
}

/** Returns the statuses of all schedules. */
const statusesOf = (schedules: ReturnType<typeof shop>["schedules"]) =>
  Effect.map(Schedules.list(schedules, {}), ({ items }) => items.map(({ status }) => status))

export const schedules: ReadonlyArray<Case<Stores>> = [
  test("dispatches a scheduled command once", function*() {
    const { layer, schedules } = shop()
    const orderId = unique("o")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(PlaceOrder, { orderId, isInStock: true })
      const id = unique("schedule")
      const scheduled = CommandBus.schedule(CancelOrder, { orderId, reason: "late" }, { after: "20 millis", id })
      equal([yield* scheduled, yield* scheduled], [id, id], "the ids")
      equal(yield* ordersOf(orderId, 2), ["OrderPlaced", "OrderCancelled"], "the order")
      equal((yield* Schedules.list(schedules)).items.length, 0, "pending schedules")
      equal(yield* Schedules.cancel(schedules, id), false, "a cancellation that is too late")
      equal(yield* statusesOf(schedules), ["completed"], "the status")
    }).pipe(Effect.provide(layer))
  }),

  test("cancels a scheduled command", function*() {
    const { layer, schedules } = shop()
    const orderId = unique("o")
    yield* Effect.gen(function*() {
      const id = yield* CommandBus.schedule(CancelOrder, { orderId, reason: "late" }, { after: "1 hour" })
      const { items } = yield* Schedules.list(schedules)
      equal(
        items.map(({ command, status }) => ({ command, status })),
        [{ command: "CancelOrder", status: "running" }],
        "pending"
      )
      equal(yield* Schedules.cancel(schedules, id), true, "the cancellation")
      equal(yield* Schedules.cancel(schedules, id), false, "another one")
      equal((yield* Schedules.list(schedules)).items.length, 0, "pending schedules")
      equal(yield* statusesOf(schedules), ["cancelled"], "the status")
      yield* CommandBus.schedule(CancelOrder, { orderId, reason: "late" }, { after: "1 hour" })
      const { items: ended } = yield* Schedules.list(schedules, { where: { status: "completed" } })
      equal(ended.map((one) => one.id), [id], "those that have ended")
    }).pipe(Effect.provide(layer))
  }),

  test("dispatches a repeated command at each occurrence", function*() {
    const { layer, schedules } = shop()
    const orderId = unique("o")
    yield* Effect.gen(function*() {
      const id = yield* CommandBus.schedule(CancelOrder, { orderId, reason: "again" }, { cron: "* * * * * *" })
      equal(yield* ordersOf(orderId, 2), ["OrderCancelled", "OrderCancelled"], "the order")
      const healthy = Effect.map(ProcessManager.health(schedules.process), ({ reasons }) => reasons)
      yield* Effect.repeat(healthy, {
        until: (reasons) => reasons.length === 0,
        schedule: Schedule.spaced("10 millis"),
        times: 1_000
      })
      equal(yield* healthy, [], "the reasons of its health")
      equal(yield* Schedules.cancel(schedules, id), true, "the cancellation")
    }).pipe(Effect.provide(layer))
  }),

  test("records that a scheduled command was rejected", function*() {
    const { layer, schedules } = shop()
    const orderId = unique("o")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(PlaceOrder, { orderId, isInStock: false })
      const id = yield* CommandBus.schedule(ShipOrder, { orderId }, { at: new Date(0) })
      yield* Effect.repeat(ProcessManager.inspect(schedules.process, id), {
        until: (found) => found._tag === "Some" && found.value.instance.status === "completed"
      })
      const found = yield* Effect.repeat(ProcessManager.inspect(schedules.process, id), {
        until: (found) => Option.exists(found, ({ history }) => history.length === 6)
      })
      equal(
        Option.getOrThrow(found).history.at(-1)?.type,
        `${schedules.name}.rejected`,
        "what the stream says of the rejection"
      )
      equal(yield* ordersOf(orderId, 1), ["OrderPlaced"], "the order")
    }).pipe(Effect.provide(layer))
  }),

  test("rejects an invalid payload, time and cron expression", function*() {
    const { layer } = shop()
    yield* Effect.gen(function*() {
      const orderId = unique("o")
      const invalid = yield* Effect.flip(CommandBus.schedule(ShipOrder, { orderId: 1 as never }, { after: "1 hour" }))
      equal(invalid._tag, "InvalidCommand", "the error of the payload")
      const cron = yield* Effect.flip(CommandBus.schedule(ShipOrder, { orderId }, { cron: "every day" }))
      includes(cron.message, "every day", "the error of the expression")
      const never = yield* Effect.flip(CommandBus.schedule(ShipOrder, { orderId }, { cron: "0 0 30 2 *" }))
      includes(never.message, "no occurrence", "the error of an expression without an occurrence")
      const zone = yield* Effect.flip(
        CommandBus.schedule(ShipOrder, { orderId }, { cron: "0 8 * * *", timeZone: "Mars/Olympus" })
      )
      includes(zone.message, "Mars/Olympus", "the error of the time zone")
      const time = yield* Effect.flip(CommandBus.schedule(ShipOrder, { orderId }, { at: new Date(Number.NaN) }))
      includes(time.message, "invalid", "the error of the time")
      for (
        const when of [{ at: new Date(Date.UTC(10_000, 0, 1)) }, { at: new Date(-1e14) }, {
          after: "3000000 days"
        }] as const
      ) {
        const outside = yield* Effect.flip(CommandBus.schedule(ShipOrder, { orderId }, when))
        includes(outside.message, "years 1 to 9999", `the error of ${JSON.stringify(when)}`)
      }
    }).pipe(Effect.provide(layer))
  })
]
