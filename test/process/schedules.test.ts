import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Metric, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { CommandBus, EventStore, ProcessManager, ProjectionStore, Schedules } from "evsrc"
import * as Metrics from "../../src/core/telemetry/Metrics.ts"
import { Do, doneTo, targets, typesOf, Undo } from "./Probe.ts"

const later = Schedules.make("later", [Do, Undo])

/** A program that dispatches the scheduled commands; `isBroken` says whether their handler fails. */
const program = (isBroken = () => false) =>
  // Long intervals: each step of the virtual clock lets all of them pass.
  Schedules.layer(later, { lease: "10 minutes", deadlineInterval: "1 minute" }).pipe(
    Layer.fresh,
    Layer.provideMerge(targets({
      onDo: () => {
        if (isBroken()) throw new Error("no connection to the warehouse")
        return "done"
      }
    }))
  )

const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

/** Lets time pass in small steps, in which the consumers and the timer of a program work. */
const pass = (time: Duration.Input, step: Duration.Input = "5 seconds") =>
  Effect.repeat(TestClock.adjust(step), { times: Math.ceil(Duration.toMillis(time) / Duration.toMillis(step)) - 1 })

const until = <A, E, R>(what: string, self: Effect.Effect<A, E, R>, isExpected: (a: A) => boolean) =>
  Effect.andThen(TestClock.adjust("10 seconds"), self).pipe(
    Effect.repeat({ until: isExpected, schedule: Schedule.recurs(150) }),
    Effect.filterOrElse(isExpected, (a) => Effect.die(new Error(`${what}: ${JSON.stringify(a)}`)))
  )

const item = Effect.map(Schedules.list(later), ({ items }) => items[0]!)

describe("commands that are repeated by a cron expression", () => {
  for (const [missed, dispatched, skipped] of [["latest", 2, 4], ["all", 6, 0]] as const) {
    it.effect(`dispatch ${missed === "all" ? "each occurrence" : "the latest occurrence"} missed in an outage`, () =>
      Effect.gen(function*() {
        yield* Effect.scoped(Effect.gen(function*() {
          const services = yield* Layer.build(program())
          yield* CommandBus.schedule(Do, { id: "t", what: "again" }, { cron: "0 * * * *", missed, id: "s" }).pipe(
            Effect.provide(services)
          )
          yield* pass("1 hour", "1 minute")
          yield* until("the first occurrence", doneTo("t"), (done) => done.length === 1)
        }))
        yield* TestClock.adjust("320 minutes")
        yield* Effect.scoped(Effect.gen(function*() {
          yield* Layer.build(program())
          yield* until("what was missed", doneTo("t"), (done) => done.length === dispatched)
          const { dueAt, skipped: found } = yield* until(
            "the list",
            item,
            ({ dueAt }) => dueAt!.epochMilliseconds === 7 * 3_600_000
          )
          assert.deepStrictEqual([dueAt!.epochMilliseconds, found], [7 * 3_600_000, skipped])
          assert.strictEqual((yield* doneTo("t")).length, dispatched)
        }))
      }).pipe(Effect.provide(stores)))

    it.effect(`dispatch ${missed === "all" ? "each occurrence" : "the latest occurrence"} that failed`, () =>
      Effect.gen(function*() {
        let isBroken = true
        yield* Effect.gen(function*() {
          yield* CommandBus.schedule(Do, { id: "t", what: "again" }, { cron: "0 * * * *", missed, id: "s" })
          yield* pass("5 hours", "10 minutes")
          const sends = yield* until(
            "five occurrences",
            typesOf("later-s"),
            (types) => types.filter((type) => type === "later.send.Do").length === 5
          )
          assert.notInclude(sends, "later.skipped.Do")
          assert.deepStrictEqual(yield* doneTo("t"), [])
          isBroken = false
          const retried = yield* Effect.forkChild(ProcessManager.retry(later.process, "s"))
          const expected = missed === "all" ? 5 : 1
          yield* until("the dispatches", doneTo("t"), (done) => done.length >= expected)
          yield* until("the retry", Effect.sync(() => retried.pollUnsafe()), (exit) => exit !== undefined)
          yield* pass("1 minute")
          assert.strictEqual((yield* doneTo("t")).length, expected)
          assert.strictEqual((yield* item).skipped, 5 - expected)
        }).pipe(Effect.provide(program(() => isBroken)))
      }).pipe(Effect.scoped, Effect.provide(stores)))
  }

  it.effect("occur once a day, or every hour, in a time zone with daylight saving time", () =>
    Effect.gen(function*() {
      const dues = Effect.fnUntraced(function*(cron: string, from: string, occurrences: number) {
        yield* TestClock.setTime(Date.parse(from))
        const id = `${cron} ${from}`
        const found: Array<string> = []
        yield* CommandBus.schedule(Do, { id, what: "again" }, { cron, timeZone: "Europe/Berlin", id })
        for (let last = 0; found.length < occurrences;) {
          const { items } = yield* Schedules.list(later)
          const dueAt = items.find((one) => one.id === id)!.dueAt!
          if (dueAt.epochMilliseconds !== last) {
            last = dueAt.epochMilliseconds
            found.push(new Date(last).toISOString())
            yield* TestClock.setTime(last)
          }
          yield* TestClock.adjust("1 minute")
        }
        yield* Schedules.cancel(later, id)
        return found
      })
      // On this day, 02:30 is skipped.
      assert.deepStrictEqual(yield* dues("30 2 * * *", "2026-03-28T12:00:00Z", 2), [
        "2026-03-29T01:30:00.000Z",
        "2026-03-30T00:30:00.000Z"
      ])
      // On this day, 02:30 comes twice.
      assert.deepStrictEqual(yield* dues("30 2 * * *", "2026-10-24T12:00:00Z", 2), [
        "2026-10-25T00:30:00.000Z",
        "2026-10-26T01:30:00.000Z"
      ])
      assert.deepStrictEqual(yield* dues("0 * * * *", "2027-10-30T23:30:00Z", 3), [
        "2027-10-31T00:00:00.000Z",
        "2027-10-31T01:00:00.000Z",
        "2027-10-31T02:00:00.000Z"
      ])
    }).pipe(Effect.scoped, Effect.provide(program()), Effect.provide(stores)))

  it.effect("are loaded from a snapshot, however many occurrences there were", () =>
    Effect.gen(function*() {
      const used = Effect.map(
        Metric.value(Metric.withAttributes(Metrics.snapshotReads, { outcome: "hit" })),
        ({ count }) => Number(count)
      )
      yield* Effect.scoped(Effect.gen(function*() {
        const services = yield* Layer.build(program())
        yield* CommandBus.schedule(Do, { id: "t", what: "again" }, { cron: "* * * * *", id: "s" }).pipe(
          Effect.provide(services)
        )
        yield* pass("1 hour", "30 seconds")
        yield* until("the occurrences", typesOf("later-s"), (types) => types.length > 150)
      }))
      const before = yield* used
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Layer.build(program())
        const count = (yield* doneTo("t")).length
        yield* until("another occurrence", doneTo("t"), (done) => done.length > count)
      }))
      assert.isAbove(yield* used, before)
    }).pipe(Effect.provide(stores)))
})
