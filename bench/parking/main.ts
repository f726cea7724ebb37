/**
 * How long it takes to retry very many parked streams, and one stream with very many waiting events, and what a health check takes meanwhile. One process
 * with default options does all the work.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Fiber, Layer, Logger, Redacted, Schedule, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import * as Fs from "node:fs"
import { join } from "node:path"
import {
  EventStore,
  Health,
  Parking,
  Position,
  Projection,
  ProjectionStore,
  Projector,
  Subscription
} from "../../src/index.ts"
import { PgStores } from "../../src/pg/index.ts"
import * as PostgresServer from "../../test/support/PostgresServer.ts"

const whole = (name: string, otherwise: number): number => {
  const value = Number(process.env[name] ?? otherwise)
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${name} must be a whole number from 1`)
  return value
}
const streams = whole("BENCH_STREAMS", 20_000)
const sent = whole("BENCH_SENT", 2_000)
const waiting = whole("BENCH_WAITING", 100_000)
const checks = whole("BENCH_CHECKS", 20)

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
let isBroken = true
/** An event with the number 0 fails until the code is repaired. */
const projection = (name: string, streamPrefix: string) =>
  Projection.make(name, {
    partitionBy: "stream",
    events: Tick,
    where: { streamPrefix },
    document: Schema.Struct({ count: Schema.Int }),
    key: (_event, { stream }) => stream,
    evolve: {
      Ticked: (document, { n }) => {
        if (isBroken && n === 0) throw new Error("broken")
        return { count: (document?.count ?? 0) + 1 }
      }
    }
  })
const many = projection("many", "Many-")
const long = projection("long", "Long-")
const effects = Subscription.make("effects", {
  events: Tick,
  where: { streamPrefix: "Sent-" },
  // It parks at once.
  retry: Schedule.recurs(0),
  handle: { Ticked: ({ n }) => isBroken && n === 0 ? Effect.die(new Error("broken")) : Effect.void }
})
const consumers = [many, long, effects]

const append = (stream: string, numbers: ReadonlyArray<number>) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => store.append(Tick, stream, numbers.map((n) => Tick.cases.Ticked.make({ n })))
  )

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

const fill = Effect.gen(function*() {
  yield* Effect.forEach(upTo(streams), (n) => append(`Many-${n}`, [0, 1]), { concurrency: 200, discard: true })
  yield* Effect.forEach(upTo(sent), (n) => append(`Sent-${n}`, [0, 1]), { concurrency: 200, discard: true })
  yield* append("Long-1", [0])
  let last = Position.start
  for (let left = waiting; left > 0; left -= 1_000) {
    last = (yield* append("Long-1", upTo(Math.min(left, 1_000)).map(() => 1))).position
  }
  return last
})

const seconds = (since: number): number => Number(((performance.now() - since) / 1_000).toPrecision(3))
const percentile = (all: ReadonlyArray<number>, p: number): number =>
  all.toSorted((a, b) => a - b)[Math.min(all.length - 1, Math.floor(all.length * p))]!

const check = Effect.gen(function*() {
  const since = performance.now()
  yield* Health.of(consumers)
  return Number((performance.now() - since).toPrecision(3))
})

/** Returns how long an effect takes, and how long health checks take meanwhile. */
const timed = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>) {
  const health: Array<number> = []
  const checking = yield* Effect.forkScoped(
    Effect.forever(Effect.andThen(Effect.map(check, (took) => void health.push(took)), Effect.sleep("200 millis")))
  )
  const since = performance.now()
  const result = yield* effect
  const took = seconds(since)
  yield* Fiber.interrupt(checking)
  return { took, result, health: { p50: percentile(health, 0.5), max: Math.max(...health), checks: health.length } }
})

const began = performance.now()

const measure = Effect.gen(function*() {
  const sql = yield* SqlClient
  const settings = yield* sql<{ readonly setting: string }>`
    select setting from pg_settings where name in ('fsync', 'synchronous_commit')`
  if (settings.some(({ setting }) => setting !== "on")) {
    throw new Error("A benchmark needs fsync and synchronous_commit")
  }
  const last = yield* fill
  return yield* Effect.gen(function*() {
    const store = yield* ProjectionStore.ProjectionStore
    for (const consumer of [many, long]) yield* store.awaitPosition(consumer, last, "10 minutes")
    yield* Parking.count(effects).pipe(
      Effect.repeat({ until: ({ parked }) => parked === sent, schedule: Schedule.spaced("200 millis") })
    )
    const parked = yield* Effect.forEach(upTo(checks), () => check)
    isBroken = false
    const timeout = { timeout: "10 minutes" } as const
    const ofMany = yield* timed(Parking.retryAll(many, timeout))
    const ofEffects = yield* timed(Parking.retryAll(effects, timeout))
    const ofLong = yield* timed(Parking.retry(long, "Long-1", timeout))
    for (const [count, { result }] of [[streams, ofMany], [sent, ofEffects]] as const) {
      if (result.retried !== count || result.failed > 0) throw new Error(JSON.stringify(result))
    }
    const document = yield* store.get(long, "Long-1")
    if (JSON.stringify(document).includes(`"count":${waiting + 1}`) === false) throw new Error("Events are missing")
    return {
      streams,
      waiting,
      healthWhileParked: { p50: percentile(parked, 0.5), max: Math.max(...parked), checks },
      retries: [
        { name: `${streams} parked streams of a projection`, seconds: ofMany.took, health: ofMany.health },
        { name: `${sent} parked streams of a subscription`, seconds: ofEffects.took, health: ofEffects.health },
        { name: `a parked stream with ${waiting} waiting events`, seconds: ofLong.took, health: ofLong.health }
      ]
    }
  }).pipe(Effect.provide(Layer.merge(Projector.layer([many, long]), Subscription.layer([effects]))))
})

const onServer = Layer.unwrap(
  Effect.map(
    PostgresServer.make(),
    ({ url }) =>
      PgStores.layer.pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 10 })))
  )
)

const measured = await Effect.runPromise(
  Effect.scoped(measure).pipe(Effect.provide(onServer), Effect.provide(Logger.layer([])))
)
Fs.writeFileSync(join(import.meta.dirname, "../parking-results.json"), `${JSON.stringify(measured, undefined, 2)}\n`)
const { healthWhileParked, retries } = measured
process.stdout.write(`health while all are parked: p50 ${healthWhileParked.p50} ms, max ${healthWhileParked.max} ms\n`)
for (const { health, name, seconds } of retries) {
  process.stdout.write(`${name}: ${seconds} s; health meanwhile: p50 ${health.p50} ms, max ${health.max} ms\n`)
}
process.stdout.write(`${Math.round(seconds(began))} s; bench/parking-results.json is written\n`)
