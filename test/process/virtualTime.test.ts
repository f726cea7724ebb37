import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option, References, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  CommandBus,
  EventStore,
  Health,
  Parking,
  ProcessManager,
  Projection,
  ProjectionStore,
  Projector,
  Schedules,
  Subscription
} from "evsrc"
import { countWakeUps, provideClock } from "../support/VirtualTime.ts"
import { begun, Do, doneTo, due, probe, signal, TargetEvent, targets, took, Undo, went } from "./Probe.ts"

const remindAfter = (name: string, after: "7 days" | "365 days") =>
  probe(name, {
    Begun: (_, { id }) => [due(after, id)],
    Due: (_, { what: id }) => [took("due"), ProcessManager.send(Do, { id, what: "reminded" }), ProcessManager.complete]
  })

/** A program with two process managers, schedules, a projector and a subscription. */
const program = (after: "7 days" | "365 days") => {
  const [reminders, others] = [remindAfter("reminders", after), probe("others")]
  const schedules = Schedules.make("schedules", [Do, Undo])
  const totals = Projection.make("totals", {
    events: TargetEvent,
    document: Schema.Int,
    key: ({ id }) => id,
    evolve: { Done: (n) => (n ?? 0) + 1, Undone: Projection.ignore }
  })
  const mails: Array<string> = []
  const mail = Subscription.make("mail", {
    events: TargetEvent,
    handle: { Done: ({ id }) => Effect.sync(() => mails.push(id)), Undone: Subscription.ignore }
  })
  const layer = Layer.mergeAll(
    ProcessManager.layer([reminders, others]),
    Schedules.layer(schedules),
    Projector.layer([totals]),
    Subscription.layer([mail])
  ).pipe(
    Layer.provideMerge(targets()),
    Layer.provideMerge(Layer.fresh(Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)))
  )
  return { reminders, totals, mail, mails, layer }
}

const times = (count: number, what: string) => Array.from({ length: count }, () => what)

const test = (name: string, body: () => Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(name, () => Effect.suspend(body).pipe(Effect.scoped, provideClock))

describe("virtual time on memory stores", () => {
  test("adjusts by 14 days with few wake-ups", () => {
    const { layer, mail, mails, reminders, totals } = program("7 days")
    return Effect.gen(function*() {
      const wakeUps = yield* countWakeUps(1_000)
      yield* Effect.gen(function*() {
        yield* signal(reminders, [begun("customer")])
        yield* CommandBus.schedule(Do, { id: "report", what: "sent" }, { cron: "0 8 * * *", id: "daily" })
        yield* TestClock.adjust("14 days")
        assert.isAtMost(wakeUps(), 1_000)
        assert.deepStrictEqual(yield* doneTo("customer"), ["reminded"])
        assert.deepStrictEqual(yield* doneTo("report"), times(14, "sent"))
        assert.deepStrictEqual(mails.toSorted(), ["customer", ...times(14, "report")])
        assert.deepStrictEqual(yield* ProjectionStore.get(totals, "report"), Option.some(14))
        const { reasons, status } = yield* Health.of([totals, mail])
        assert.deepStrictEqual([status, reasons], ["green", []])
      }).pipe(Effect.provide(layer))
    })
  })

  test("sets the time a year ahead after the layers are built", () => {
    const { layer, reminders } = program("365 days")
    return Effect.gen(function*() {
      const wakeUps = yield* countWakeUps(4_000)
      yield* Effect.gen(function*() {
        yield* signal(reminders, [begun("customer")])
        yield* CommandBus.schedule(Do, { id: "report", what: "sent" }, { cron: "0 8 * * MON", id: "weekly" })
        yield* TestClock.setTime(Date.UTC(1971, 0, 2))
        assert.isAtMost(wakeUps(), 4_000)
        assert.deepStrictEqual(yield* doneTo("customer"), ["reminded"])
        assert.deepStrictEqual(yield* doneTo("report"), times(52, "sent"))
      }).pipe(Effect.provide(layer))
    })
  })

  test("sets the time to a later century while nothing is due", () => {
    const { layer } = program("7 days")
    return Effect.gen(function*() {
      const wakeUps = yield* countWakeUps(100)
      yield* Effect.gen(function*() {
        yield* TestClock.setTime(Date.UTC(2100, 0))
        assert.isAtMost(wakeUps(), 100)
        yield* CommandBus.dispatch(Do, { id: "report", what: "sent" })
        assert.deepStrictEqual(yield* doneTo("report"), ["sent"])
      }).pipe(Effect.provide(layer))
    })
  })

  test("fires a deadline at once that waited for a parked input", () => {
    const reminders = probe("reminders", {
      Begun: (_, { id }) => [due("7 days", id)],
      Went: () => {
        throw new Error("a test")
      },
      Due: (_, { what: id }) => [ProcessManager.send(Do, { id, what: "reminded" }), ProcessManager.complete]
    })
    const { inputs } = ProcessManager.consumers(reminders)
    return Effect.gen(function*() {
      const wakeUps = yield* countWakeUps(1_000)
      yield* signal(reminders, [begun("customer"), went("customer", 1)])
      yield* TestClock.adjust("14 days")
      assert.isAtMost(wakeUps(), 1_000)
      assert.deepStrictEqual(yield* doneTo("customer"), [])
      yield* Effect.forkScoped(Parking.skip(inputs, "customer", { reason: "a test" }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* doneTo("customer"), ["reminded"])
    }).pipe(
      Effect.provide(
        ProcessManager.layer([reminders]).pipe(
          Layer.fresh,
          Layer.provideMerge(targets()),
          Layer.provideMerge(Layer.fresh(Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)))
        )
      ),
      Effect.provideService(References.MinimumLogLevel, "None")
    )
  })

  test("fires a deadline that an ended program has set", () => {
    const reminders = remindAfter("reminders", "7 days")
    const build = Layer.build(
      ProcessManager.layer([reminders]).pipe(Layer.fresh, Layer.provideMerge(targets()))
    )
    return Effect.gen(function*() {
      const wakeUps = yield* countWakeUps(1_000)
      const first = yield* Scope.make()
      yield* Scope.provide(build, first)
      yield* TestClock.adjust("1 minute")
      yield* build
      yield* TestClock.adjust("1 day")
      yield* signal(reminders, [begun("customer")])
      yield* TestClock.adjust("1 second")
      yield* Scope.close(first, Exit.void)
      yield* TestClock.adjust("7 days")
      assert.isAtMost(wakeUps(), 1_000)
      assert.deepStrictEqual(yield* doneTo("customer"), ["reminded"])
    }).pipe(Effect.provide(Layer.fresh(Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory))))
  })
})
