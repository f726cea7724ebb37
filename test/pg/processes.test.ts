import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Fiber, Layer, Random, Schedule, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, Position, ProcessManager, Projector } from "evsrc"
import { nameOf } from "../process/Probe.ts"
import { fulfilment, OrderEvent, orderStream, run as runShop } from "../process/Shop.ts"
import { freshDatabase } from "../support/Database.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import { isLong, scale } from "../support/scale.ts"
import * as Script from "../support/Script.ts"
import { Job, Jobs, StepEvent, stores, worker } from "./processes.ts"

const path = import.meta.resolve("./processWorker.ts")
const start = (url: string, clock = 0) => Script.start(path, { env: { DATABASE_URL: url, CLOCK: String(clock) } })

const order = (id: string, steps: number) =>
  EventStore.append(Job, `Job-${id}`, [Job.cases.Ordered.make({ id, steps })])

/** Returns how many events of a type the log has, and in how many streams. */
const countOf = Effect.fnUntraced(function*(type: string) {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ readonly events: number; readonly streams: number }>`
    select count(*)::int as events, count(distinct stream)::int as streams from evsrc.events where type = ${type}`
  return row!
})

const completed = Effect.map(countOf("jobs.completed"), ({ events }) => events)

/** Waits until so many jobs are complete. */
const untilCompleted = (jobs: number, duration: "2 minutes" | "9 minutes" = "2 minutes") =>
  completed.pipe(
    Effect.retry(Schedule.spaced("200 millis")),
    Effect.repeat({ until: (completed) => completed >= jobs, schedule: Schedule.spaced("100 millis") }),
    Effect.timeoutOrElse({
      duration,
      orElse: () =>
        Effect.gen(function*() {
          const { reasons } = yield* ProcessManager.health(Jobs, { overdueTimeout: "1 second" })
          const found = yield* completed
          return yield* Effect.die(new Error(`${found} of ${jobs} jobs are complete: ${reasons.join("; ")}`))
        })
    })
  )

/** Requires that each step of a job happened once and in order, and that its deadline fired once. */
const requireOnce = Effect.fnUntraced(function*(id: string, steps: number) {
  const done = yield* Stream.runCollect(EventStore.readStream(StepEvent, `Steps-${id}`))
  assert.deepStrictEqual(done.map(({ event }) => event.n), Array.from({ length: steps }, (_, i) => i + 1), id)
  const history = yield* Stream.runCollect(EventStore.readStreamEncoded(`jobs-${id}`))
  const types = history.map((event) => nameOf(event).replace("jobs.", ""))
  const counts: Record<string, number> = {}
  for (const type of types) counts[type] = (counts[type] ?? 0) + 1
  assert.deepStrictEqual(counts, {
    received: 1 + steps,
    JobStarted: 1,
    "deadline.Expired": 1,
    "deadline.Last": 1,
    "fired.Last": 1,
    "send.Step": steps,
    completed: 1
  }, id)
})

const run = Effect.fnUntraced(function*(url: string, options: {
  readonly jobs: number
  readonly kills: number
  /** Runs between the kills. */
  readonly restart?: Effect.Effect<void, unknown>
}) {
  const { jobs, kills } = options
  const ids = Array.from({ length: jobs }, (_, i) => `${i}`)
  const stepsOf = (id: string) => 1 + Number(id) % 4
  yield* Effect.gen(function*() {
    let workers = [yield* start(url), yield* start(url)]
    for (const worker of workers) yield* worker.waitFor(/^running$/)
    yield* Effect.forkChild(
      Effect.forEach(ids, (id) =>
        Effect.retry(order(id, stepsOf(id)), Schedule.spaced("200 millis")).pipe(
          Effect.andThen(Effect.sleep("20 millis"))
        ), { discard: true })
    )
    for (let kill = 0; kill < kills; kill++) {
      // The delay lets a step more or less happen; the assertions do not depend on it.
      yield* Effect.sleep(yield* Random.nextIntBetween(100, 1500))
      const [victim, other] = workers
      yield* victim!.signal("SIGKILL")
      yield* victim!.exited
      if (options.restart !== undefined && kill === Math.floor(kills / 2)) yield* options.restart
      const next = yield* start(url)
      yield* next.waitFor(/^running$/)
      workers = [other!, next]
    }
    yield* untilCompleted(jobs, isLong ? "9 minutes" : "2 minutes")
    for (const id of ids) yield* requireOnce(id, stepsOf(id))
  }).pipe(Effect.provide(stores(url, 4)))
})

describe("process managers in several processes", () => {
  it.live("take effect once under kill -9", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.scoped(Effect.provide(Effect.void, stores(url, 2)))
      yield* run(url, { jobs: scale(8, 60), kills: scale(2, 8) })
    }), scale(180_000, 900_000))

  it.live("take effect once through a crash of the server", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      yield* Effect.scoped(Effect.provide(Effect.void, stores(server.url, 2)))
      const restart = Effect.andThen(server.kill, server.start)
      yield* run(server.url, { jobs: scale(8, 30), kills: scale(1, 3), restart })
    }), scale(180_000, 900_000))

  it.live("work on a pool of two connections", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const ids = Array.from({ length: 20 }, (_, i) => `${i}`)
      yield* Effect.gen(function*() {
        yield* Layer.build(worker(url, 2))
        yield* Effect.forEach(ids, (id) => order(id, 1 + Number(id) % 4), { concurrency: 4, discard: true })
        yield* untilCompleted(ids.length)
        for (const id of ids) yield* requireOnce(id, 1 + Number(id) % 4)
      }).pipe(Effect.scoped, Effect.provide(stores(url, 4)))
    }), 180_000)

  it.live("fire deadlines by the clock of the database, with clocks ten minutes apart", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.gen(function*() {
        for (const [round, minutes] of [-10, 10].entries()) {
          const script = yield* start(url, minutes * 60_000)
          yield* script.waitFor(/^running$/)
          const id = `${minutes}`
          yield* order(id, 1)
          yield* untilCompleted(round + 1)
          yield* requireOnce(id, 1)
          const [set, fired] = (yield* Stream.runCollect(EventStore.readStreamEncoded(`jobs-${id}`)))
            .filter((event) => /^jobs\.(deadline|fired)\.Last$/.test(nameOf(event)))
          // It is fired after it is due, however long that takes, and by the database's clock.
          const due = Date.parse(String(Reflect.get(Object(set!.data), "dueAt")))
          const firedAt = Date.parse(String(Reflect.get(Object(fired!.data), "firedAt")))
          const recordedAt = DateTime.toEpochMillis(fired!.recordedAt)
          assert.isTrue(
            due <= firedAt && firedAt <= recordedAt + 1,
            `due ${due}, fired ${firedAt}, recorded ${recordedAt}`
          )
          yield* script.signal("SIGKILL")
          yield* script.exited
        }
      }).pipe(Effect.provide(stores(url, 4)))
    }), 180_000)

  it.live("fire a deadline after an input in flight that was recorded before it was due", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const process = fulfilment("fulfilment", { paidWithin: "2 seconds" })
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* SqlClient.SqlClient
        yield* Layer.build(runShop(process, { deadlineInterval: "20 millis" }))
        const until = (orderId: string, name: string) =>
          Effect.map(Stream.runCollect(store.readStreamEncoded(`fulfilment-${orderId}`)), (all) => all.map(nameOf))
            .pipe(
              Effect.repeat({ until: (names) => names.includes(name), schedule: Schedule.spaced("20 millis") }),
              Effect.timeout("30 seconds")
            )
        const isDue = (orderId: string) =>
          Effect.map(
            sql<{ readonly is_due: boolean }>`
              select (data ->> 'dueAt')::timestamptz <= clock_timestamp() as is_due from evsrc.events
              where stream = ${`fulfilment-${orderId}`} and type = 'fulfilment.deadline'`,
            ([row]) => row!.is_due
          )
        /** Returns false on a machine on which the payment came too late. */
        const paidInTime = Effect.fnUntraced(function*(orderId: string) {
          const placed = { _tag: "OrderPlaced", orderId, isInStock: true } as const
          yield* store.append(OrderEvent, orderStream(orderId), [placed])
          yield* until(orderId, "fulfilment.deadline.PaymentDue")
          return yield* sql.withTransaction(Effect.gen(function*() {
            yield* store.append(OrderEvent, orderStream(orderId), [{ _tag: "OrderPaid", orderId }])
            const isInTime = !(yield* isDue(orderId))
            yield* Effect.repeat(isDue(orderId), { until: (is) => is, schedule: Schedule.spaced("20 millis") })
            // The timer looks again and again.
            yield* Effect.sleep("1 second")
            return isInTime
          }))
        })
        let attempts = 0
        while (!(yield* paidInTime(`${++attempts}`))) assert.isBelow(attempts, 10)
        const names = yield* until(`${attempts}`, "fulfilment.completed")
        assert.includeMembers(names.slice(), ["PaymentTaken", "fulfilment.cancelled.PaymentDue"])
        assert.notInclude(names, "fulfilment.fired.PaymentDue")
      }).pipe(Effect.scoped, Effect.provide(stores(url, 6)))
    }), 120_000)

  it.live("fire many deadlines that are due at once, each once, while others append", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const jobs = scale(150, 2_000)
      const { toEvent } = Jobs.processEvents
      const dueAt = DateTime.makeUnsafe("2020-01-01T00:00:00Z")
      /** Appends what an instance with a pending deadline has. */
      const waiting = (n: number) =>
        EventStore.append(Jobs.processEvents.all, `jobs-${n}`, [
          toEvent({
            kind: "received",
            input: "Ordered",
            eventId: `${n}`,
            position: Position.Position.make(1n),
            recordedAt: dueAt,
            starts: true
          }),
          { _tag: "JobStarted", steps: 1 },
          toEvent({ kind: "deadline", name: "Expired", id: "0", dueAt, payload: { id: `${n}` } })
        ] as never)
      yield* Effect.gen(function*() {
        const instances = Projector.layerInline([ProcessManager.consumers(Jobs).instances])
        const numbers = Array.from({ length: jobs }, (_, i) => i)
        const others = numbers.slice(0, scale(8, 20))
        yield* Effect.forEach(numbers, waiting, { concurrency: 100, discard: true }).pipe(Effect.provide(instances))
        const began = performance.now()
        yield* Layer.build(worker(url, 4))
        yield* Layer.build(worker(url, 4))
        const appends = yield* Effect.forkChild(
          Effect.forEach(others, (n) => order(`other-${n}`, 1), { discard: true })
        )
        yield* Fiber.join(appends)
        yield* untilCompleted(jobs + others.length, isLong ? "9 minutes" : "2 minutes")
        const seconds = (performance.now() - began) / 1_000
        if (isLong) {
          console.log(
            `${jobs} deadlines in ${Math.round(seconds)} s, ${process.memoryUsage.rss() >> 20} MiB`
          )
        }
        assert.deepStrictEqual(yield* countOf("jobs.fired"), {
          events: jobs + others.length,
          streams: jobs + others.length
        })
        assert.deepStrictEqual(yield* countOf("jobs.completed"), {
          events: jobs + others.length,
          streams: jobs + others.length
        })
        for (const n of others) yield* requireOnce(`other-${n}`, 1)
      }).pipe(Effect.scoped, Effect.provide(stores(url, 6)))
    }), scale(180_000, 900_000))
})
