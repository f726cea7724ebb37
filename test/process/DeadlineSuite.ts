/**
 * The runtime suite of deadlines: past, replaced, cancelled, racing with their cancellation, and many at once.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import { monotonicMillis } from "../../src/core/monotonic.ts"
import * as Position from "../../src/core/Position.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as ProcessManager from "../../src/process/ProcessManager.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import {
  begun,
  Do,
  doneTo,
  due,
  instance,
  type Probe,
  probe,
  run,
  signal,
  took,
  typesOf,
  uniqueName,
  until,
  untilLast,
  untilState,
  went
} from "./Probe.ts"

const running = (process: Probe) => ProcessManager.list(process, { where: { status: "running" }, limit: 1 })

/** Waits until no instance has a deadline that is due. */
const untilFired = (process: Probe) =>
  until(
    "the deadlines",
    ProcessManager.list(process, { where: { nextDueAt: { gt: DateTime.makeUnsafe(0) } }, limit: 1 }),
    ({ items }) => items.length === 0
  )

export const deadlines: ReadonlyArray<Case<Stores>> = [
  test("fires a deadline in the past at once", function*() {
    const id = unique("i")
    const process = probe(uniqueName(), {
      Begun: () => [ProcessManager.deadline("Due", { what: "past" }, { at: new Date("1999-01-01T00:00:00Z") })]
    })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id)])
      yield* untilState(process, id, (state) => state.includes("past"))
      equal(yield* typesOf(instance(process, id)), ["received", "deadline.Due", "fired.Due", "Took"], "the instance")
    }).pipe(Effect.provide(run([process], { deadlineInterval: "1 hour" })))
  }),

  test("fires a deadline also if the log is set back while it waits for the inputs before", function*() {
    const id = unique("i")
    const process = probe(uniqueName(), { Begun: () => [due("50 millis", "late")] })
    const { [internals]: { driver } } = yield* EventStore.EventStore
    let lostAt = Infinity
    // The log has more events until half a second after the timer has begun to look at its end.
    const last = Effect.map(
      Effect.zip(driver.last, monotonicMillis),
      ([last, now]) => now < lostAt ? Position.make(last + 1_000_000n) : last
    )
    const highWaterMarkOf: typeof driver.highWaterMarkOf = (request) =>
      Effect.flatMap(monotonicMillis, (now) => {
        if (request.waiter.startsWith("The timer")) lostAt = Math.min(lostAt, now + 500)
        return driver.highWaterMarkOf(request)
      })
    const setBack = yield* EventStore.make({ ...driver, highWaterMarkOf, last })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id)])
      yield* untilState(process, id, (state) => state.includes("late"))
    }).pipe(
      Effect.provide(run([process], { deadlineInterval: "20 millis" })),
      Effect.provideService(EventStore.EventStore, setBack)
    )
  }),

  test("fires the deadline that replaces another, and no cancelled one", function*() {
    const [replaced, cancelled] = [unique("i"), unique("i")]
    const process = probe(uniqueName(), {
      Begun: () => [due("1 hour", "first"), ProcessManager.deadline("Late", { what: "late" }, { after: "2 hours" })],
      Went: (_, { n }) => n === 1 ? [due("50 millis", "second")] : [ProcessManager.cancelDeadline("Due")]
    })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(replaced), went(replaced, 1)])
      yield* signal(process, [begun(cancelled), went(cancelled, 2), went(cancelled, 3)])
      equal(yield* untilState(process, replaced, (state) => state.length > 0), ["second"], "the replaced one")
      equal(
        yield* until("the cancellation", typesOf(instance(process, cancelled)), (types) => types.length === 6),
        ["received", "deadline.Due", "deadline.Late", "received", "cancelled.Due", "received"],
        "the cancelled one"
      )
      for (const id of [replaced, cancelled]) {
        const found = Option.getOrThrow(yield* ProcessManager.inspect(process, id))
        equal(Object.keys(found.state.deadlines), ["Late"], "what is pending in the state")
        equal(Object.keys(found.instance.deadlines), ["Late"], "what is pending in the read model")
      }
    }).pipe(Effect.provide(run([process], { deadlineInterval: "1 hour" })))
  }),

  test("completion drops deadlines", function*() {
    const id = unique("i")
    const process = probe(uniqueName(), { Begun: () => [due("50 millis", "due"), ProcessManager.complete] })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id)])
      yield* untilLast(instance(process, id), "completed")
      equal((yield* untilFired(process)).items, [], "the deadlines")
      equal((yield* running(process)).items, [], "the running instances")
    }).pipe(Effect.provide(run([process])))
  }),

  test("a deadline that races with its cancellation is either fired or cancelled", function*() {
    const ids = upTo(20).map(() => unique("i"))
    const process = probe(uniqueName(), {
      Begun: () => [due("50 millis", "due")],
      Went: () => [ProcessManager.cancelDeadline("Due"), took("went")]
    })
    yield* Effect.gen(function*() {
      yield* Effect.forEach(
        ids,
        (id) => Effect.andThen(signal(process, [begun(id)]), Effect.delay(signal(process, [went(id, 1)]), "40 millis")),
        { concurrency: "unbounded" }
      )
      for (const id of ids) {
        yield* untilState(process, id, (state) => state.includes("went"))
        const types = (yield* typesOf(instance(process, id))).filter((type) => /^(fired|cancelled)/.test(type))
        equal(types.length, 1, `the end of the deadline of ${id}: ${types}`)
      }
    }).pipe(Effect.provide(run([process])))
  }),

  test("two programs fire each of many deadlines once", function*() {
    const ids = upTo(40).map((n) => unique(`i${n}`))
    const process = probe(uniqueName(), {
      options: { partitions: 4 },
      Begun: (_, { id }) => [ProcessManager.deadline("Due", { what: id.slice(0, 30) }, { after: "1 second" })],
      Due: (_, { what }) => [took(what), ProcessManager.send(Do, { id: what, what })]
    })
    yield* Effect.gen(function*() {
      yield* Layer.build(run([process]))
      yield* Layer.build(run([process]))
      yield* Effect.forEach(ids, (id) => signal(process, [begun(id)]), { concurrency: 20, discard: true })
      for (const id of ids) {
        yield* untilState(process, id, (state) => state.length > 0)
        yield* until(`the command of ${id}`, doneTo(id.slice(0, 30)), (done) => done.length > 0)
      }
      for (const id of ids) {
        const types = yield* typesOf(instance(process, id))
        equal(types, ["received", "deadline.Due", "fired.Due", "Took", "send.Do"], `the events of ${id}`)
        equal((yield* doneTo(id.slice(0, 30))).length, 1, `the effects of ${id}`)
      }
    })
  }),

  test("a deadline is not due a year before its time", function*() {
    const [id, other] = [unique("i"), unique("i")]
    const process = probe(uniqueName(), { Begun: (_, { n }) => [due(n === 1 ? "365 days" : "50 millis")] })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id)])
      yield* signal(process, [begun(other, 2)])
      yield* untilState(process, other, (state) => state.length > 0)
      const [, set, ...rest] = Option.getOrThrow(yield* ProcessManager.inspect(process, id)).history
      const { instance: found } = Option.getOrThrow(yield* ProcessManager.inspect(process, id))
      equal(rest, [], "what follows")
      const days = (DateTime.toEpochMillis(found.nextDueAt!) - DateTime.toEpochMillis(set!.recordedAt)) / 86_400_000
      ok(Math.abs(days - 365) < 0.01, `it is due in ${days} days`)
    }).pipe(Effect.provide(run([process])))
  })
]
