/** `npm run bench:soak`: minutes of mixed load on one process, with samples of what must not grow. bench/README.md says what it shows. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Metric, Redacted, Stream } from "effect"
import { writeFileSync } from "node:fs"
import { loadavg } from "node:os"
import { join } from "node:path"
import {
  Aggregate,
  CommandBus,
  EventStore,
  ProjectionStore,
  Projector,
  QueryBus,
  Subscription
} from "../../src/index.ts"
import { install } from "../install.ts"
import { text } from "../report.ts"
import { start } from "../server.ts"
import { type Growth, growthOf, type Name, type Sample, slack } from "./growth.ts"
import {
  capacity,
  Customers,
  Enrol,
  GetOrder,
  handled,
  NoteOrder,
  Notified,
  Order,
  OrderEvent,
  Orders,
  Program
} from "./program.ts"

const number = (name: string, otherwise: number): number => {
  const value = Number(process.env[name] ?? otherwise)
  if (!(value > 0)) throw new Error(`${name} must be a number above 0`)
  return value
}

const minutes = number("SOAK_MINUTES", 3)
const workers = number("SOAK_WORKERS", 16)
/** Between two operations of a worker, in milliseconds. */
const pause = number("SOAK_PAUSE", 10)
const seconds = minutes * 60
const samplesWanted = 120
const say = (line: string) => process.stderr.write(`${line}\n`)

const acknowledged = { commands: 0, amount: 0, decisions: 0, full: 0, queries: 0, loads: 0, reads: 0 }
const failures: Array<string> = []

/** Few are very popular. */
const someone = (count: number) => Math.floor(count ** Math.random()) - 1
let lastId = 0

const command = (orderId: string) =>
  Effect.suspend(() => {
    const amount = 1 + Math.floor(Math.random() * 100)
    return Effect.tap(
      CommandBus.dispatch(NoteOrder, { orderId, customer: `customer-${someone(20)}`, amount }),
      () =>
        Effect.sync(() => {
          acknowledged.commands++
          acknowledged.amount += amount
        })
    )
  })

const queryAfter = Effect.gen(function*() {
  const orderId = `order-${someone(500)}`
  const receipt = yield* command(orderId)
  const found = yield* QueryBus.ask(GetOrder, { orderId }, { after: receipt, timeout: "30 seconds" })
  if (found.events < receipt.version) {
    failures.push(`a query after version ${receipt.version} of ${orderId} has seen ${found.events} events`)
  }
  acknowledged.queries++
})

const decide = Effect.suspend(() => {
  const number = ++lastId
  // Some decisions compete for the last place of a course.
  const courseId = `course-${Math.floor((acknowledged.decisions + acknowledged.full) / (capacity + 3))}`
  return CommandBus.dispatch(Enrol, { courseId, studentId: `student-${number}` }).pipe(
    Effect.tap(() => Effect.sync(() => void acknowledged.decisions++)),
    Effect.catchTag("Full", () => Effect.sync(() => void acknowledged.full++))
  )
})

const readStream = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  yield* Stream.runDrain(Stream.take(store.readStream(OrderEvent, `Order-order-${someone(500)}`), 100))
  acknowledged.reads++
})

const operation = Effect.gen(function*() {
  const dice = Math.random()
  if (dice < 0.35) yield* command(`order-${someone(500)}`)
  else if (dice < 0.45) yield* command(`new-${++lastId}`)
  else if (dice < 0.6) yield* decide
  else if (dice < 0.85) yield* queryAfter
  else if (dice < 0.95) {
    yield* Aggregate.load(Order, `order-${someone(500)}`)
    acknowledged.loads++
  } else yield* readStream
})

const sample = Effect.fnUntraced(function*(second: number): Effect.fn.Return<
  Sample,
  unknown,
  PgClient.PgClient | Projector.Projector | Subscription.Subscriptions
> {
  globalThis.gc?.()
  const { heapUsed, rss } = process.memoryUsage()
  const sql = yield* PgClient.PgClient
  const [row] = yield* sql<{ readonly connections: number; readonly locks: number; readonly prepared: number }>`
    select (select count(*)::integer from pg_stat_activity where datname = current_database()) as connections,
      (select count(*)::integer from pg_locks where database = (select oid from pg_database where datname = current_database())) as locks,
      (select count(*)::integer from pg_prepared_statements) as prepared`
  const [orders] = yield* (yield* Projector.Projector).status
  const [notified] = yield* (yield* Subscription.Subscriptions).status
  const active = process.getActiveResourcesInfo()
  const timers = active.filter((name) => name === "Timeout").length
  return {
    second,
    "heap MB": heapUsed / 2 ** 20,
    "resident MB": rss / 2 ** 20,
    connections: row!.connections,
    locks: row!.locks,
    "prepared statements of a connection": row!.prepared,
    timers,
    "other handles": active.length - timers,
    "events behind, documents": Number(orders!.lag),
    "events behind, subscription": Number(notified!.lag),
    "metric series": (yield* Metric.snapshot).length
  }
})

/** Compares what the store has with what was acknowledged. */
const verify = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const documents = yield* ProjectionStore.ProjectionStore
  const head = yield* store.head
  yield* documents.awaitPosition(Orders, head, "2 minutes")
  const expect = (what: string, found: number, expected: number) => {
    if (found !== expected) failures.push(`${what}: ${found} instead of ${expected}`)
  }
  const sql = yield* PgClient.PgClient
  const [row] = yield* sql<{ readonly orders: number; readonly students: number; readonly most: number }>`
    select count(*) filter (where type = 'OrderNoted')::integer as orders, count(*) filter (where type = 'StudentEnrolled')::integer as students,
      (select coalesce(max(n), 0)::integer from (
        select count(*) as n from evsrc.events where type = 'StudentEnrolled' group by data->>'courseId') courses) as most
      from evsrc.events`
  expect("events of orders", row!.orders, acknowledged.commands)
  expect("enrolled students", row!.students, acknowledged.decisions)
  if (row!.most > capacity) failures.push(`a course has ${row!.most} students instead of at most ${capacity}`)
  for (const projection of [Orders, Customers]) {
    const [sum] = yield* sql<{ readonly events: number; readonly total: number }>`
      select coalesce(sum((document->>'events')::integer), 0)::integer as events, coalesce(sum((document->>'total')::integer), 0)::integer as total
        from evsrc.documents where generation = ${projection.id}`
    expect(`events in the documents of ${projection.id}`, sum!.events, acknowledged.commands)
    expect(`total of the documents of ${projection.id}`, sum!.total, acknowledged.amount)
  }
  for (let tries = 0; tries < 600 && handled.events < acknowledged.commands; tries++) yield* Effect.sleep("100 millis")
  expect(`events that ${Notified.id} has handled`, handled.events, acknowledged.commands)
  expect(`total that ${Notified.id} has handled`, handled.total, acknowledged.amount)
})

const soak = Effect.gen(function*() {
  const samples: Array<Sample> = []
  const began = performance.now()
  const elapsed = () => (performance.now() - began) / 1000
  const worker = Effect.gen(function*() {
    while (elapsed() < seconds) {
      const exit = yield* Effect.exit(operation)
      if (exit._tag === "Failure") failures.push(String(exit.cause).slice(0, 300))
      yield* Effect.sleep(pause)
    }
  })
  const sampler = Effect.gen(function*() {
    while (elapsed() < seconds) {
      yield* Effect.sleep(Math.max(500, seconds * 1000 / samplesWanted))
      samples.push(yield* sample(elapsed()))
      if (samples.length % 20 === 0) say(`${Math.round(elapsed())} s: ${JSON.stringify(acknowledged)}`)
    }
  })
  yield* Effect.all([sampler, ...Array.from({ length: workers }, () => worker)], {
    concurrency: "unbounded",
    discard: true
  })
  yield* verify
  return samples
})

install()
const server = await start(process.env["BENCH_DATABASE_URL"])
let samples: ReadonlyArray<Sample> = []
const load = loadavg()[0]
try {
  const client = PgClient.layer({ url: Redacted.make(await server.database("soak")), maxConnections: 16 })
  samples = await Effect.runPromise(Effect.provide(soak, Program.pipe(Layer.provideMerge(client))))
} finally {
  await server.stop()
}
const growths = (Object.keys(slack) as ReadonlyArray<Name>).map((name) => growthOf(name, samples))
for (const { allowed, growth, grows, name } of growths) {
  if (grows) {
    failures.push(`${name} grows: by ${growth.toFixed(1)} over the second half; ${allowed.toFixed(1)} are allowed`)
  }
}
const round = (value: number) => value.toLocaleString("en-US", { maximumFractionDigits: 1 })
const row = ({ allowed, first, growth, grows, last, median, name }: Growth) => [
  name,
  ...[first, median, last, growth, allowed].map(round),
  grows ? "grows" : "flat"
]
process.stdout.write(
  `${text([["", "first", "median", "last", "growth, 2nd half", "allowed", ""], ...growths.map(row)])}\n\n`
)
process.stdout.write(`${JSON.stringify({ minutes, workers, ...acknowledged })}\n`)
writeFileSync(
  join(import.meta.dirname, "../soak-results.json"),
  `${
    JSON.stringify(
      { date: new Date().toISOString(), minutes, workers, pause, load, acknowledged, growths, failures, samples },
      undefined,
      1
    )
  }\n`
)
if (failures.length > 0) {
  say(`${failures.length} failures:\n${failures.slice(0, 20).join("\n")}`)
  process.exitCode = 1
}
process.exit()
