/**
 * Process managers: the time from an event to the command that follows it, the rate of reactions, and the rate at which deadlines fire that are due at once.
 * The programs have default options, on one PostgreSQL with its default durability.
 */
import { DateTime, Duration, Effect, Layer, Logger } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import { join } from "node:path"
import { ProcessManager, Projector } from "../../src/index.ts"
import * as PostgresServer from "../../test/support/PostgresServer.ts"
import { median } from "../measure.ts"
import { microsOf, postmasterOf } from "../processor.ts"
import { Bench, program, running, signal, stores, waiting } from "./processes.ts"

const whole = (name: string, otherwise: number): number => {
  const value = Number(process.env[name] ?? otherwise)
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${name} must be a whole number from 1`)
  return value
}
const quick = process.env["BENCH_QUICK"] === "1"
const rounds = whole("BENCH_ROUNDS", quick ? 1 : 3)
const signals = whole("BENCH_SIGNALS", quick ? 500 : 10_000)
const deadlines = whole("BENCH_DEADLINES", quick ? 1_000 : 100_000)
const probes = whole("BENCH_PROBES", quick ? 50 : 300)

const rounded = (value: number): number => Number(value.toPrecision(3))
const percentile = (all: ReadonlyArray<number>, p: number): number =>
  rounded(all.toSorted((a, b) => a - b)[Math.min(all.length - 1, Math.floor(all.length * p))]!)
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

let made = 0
const fresh = () => `${process.pid}-${++made}`

/** Waits until a condition holds. It looks seldom enough that the look itself does not count, even if it has to read a long log. */
const until = <E, R>(what: string, condition: Effect.Effect<boolean, E, R>, interval: Duration.Input) =>
  Effect.gen(function*() {
    for (;;) {
      const [took, holds] = yield* Effect.timed(condition)
      if (holds) return
      yield* Effect.sleep(Duration.max(Duration.fromInputUnsafe(interval), Duration.times(took, 30)))
    }
  }).pipe(Effect.timeoutOrElse({ duration: "10 minutes", orElse: () => Effect.die(new Error(`no end of ${what}`)) }))

/** How long after the answer to an append, its commit therefore, a program decides the command that follows, on an idle system. */
const latency = (url: string, from: "the same program" | "another program") => {
  const decidedAt = new Map<string, number>()
  const decided = (id: string) => void decidedAt.set(id, performance.now())
  return Effect.gen(function*() {
    const times: Array<number> = []
    for (const n of upTo(probes + 20)) {
      const id = fresh()
      yield* signal(id)
      const answered = performance.now()
      yield* until("a reaction", Effect.sync(() => decidedAt.has(id)), "2 millis")
      // The first ones warm up.
      if (n >= 20) times.push(Math.max(0, decidedAt.get(id)! - answered))
      yield* Effect.sleep(10 + n % 11)
    }
    return { from, p50: percentile(times, 0.5), p95: percentile(times, 0.95), p99: percentile(times, 0.99) }
  }).pipe(
    Effect.provide(from === "the same program" ? running(decided) : program(url, decided)),
    Effect.provide(Layer.fresh(stores(url)))
  )
}

/** Starts a number of programs that run the process manager. */
const programs = (url: string, count: number) =>
  Effect.forEach(upTo(count), () =>
    Effect.acquireRelease(
      Effect.callback<{ readonly pid: number; readonly end: Effect.Effect<void> }>((resume) => {
        const child = spawn(process.execPath, ["--conditions=@evsrc/source", join(import.meta.dirname, "worker.ts")], {
          env: { ...process.env, DATABASE_URL: url },
          stdio: ["ignore", "pipe", "inherit"]
        })
        const end = Effect.callback<void>((resume) => {
          child.once("exit", () => resume(Effect.void))
          child.kill()
        })
        child.stdout.once("data", () => resume(Effect.succeed({ pid: child.pid!, end })))
      }),
      ({ end }) => end
    ), { concurrency: "unbounded" })

/** Measures how long programs need for a number of operations, and the processor time of each. */
const timed = <E, R>(
  url: string,
  count: number,
  operations: number,
  isDone: Effect.Effect<boolean, E, R>
) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    const [backEnd] = yield* sql<{ readonly pid: number }>`select pg_backend_pid() as pid`
    const server = postmasterOf(backEnd!.pid)
    const serverBefore = microsOf(server)
    const began = performance.now()
    const running = yield* programs(url, count)
    yield* until("the operations", isDone, "200 millis")
    const seconds = (performance.now() - began) / 1000
    const micros = running.reduce((sum, { pid }) => sum + (microsOf(pid) ?? 0), 0)
    const ofServer = microsOf(server)
    return {
      programs: count,
      rate: operations / seconds,
      client: micros / operations,
      server: ofServer === undefined || serverBefore === undefined ? 0 : (ofServer - serverBefore) / operations
    }
  }).pipe(Effect.scoped)

const countOf = (type: string) =>
  Effect.flatMap(
    SqlClient,
    (sql) =>
      Effect.map(
        sql<{ readonly count: number }>`select count(*)::int as count from evsrc.events where type = ${type}`,
        ([row]) => row!.count
      )
  )

const ofStore = <A, E, R>(url: string, effect: Effect.Effect<A, E, R>) =>
  Effect.provide(effect, Layer.fresh(stores(url)))

/** Events that wait when the programs start: each becomes a reaction and a command. The time includes the start of the programs. */
const reactions = (url: string, count: number) =>
  Effect.gen(function*() {
    const before = yield* countOf("Done")
    yield* Effect.forEach(upTo(signals), () => signal(fresh()), { concurrency: 200, discard: true })
    const done = Effect.map(countOf("Done"), (found) => found - before === signals)
    return yield* timed(url, count, signals, done)
  }).pipe((effect) => ofStore(url, effect))

/** Deadlines that are all due when the programs start. */
const firings = (url: string, count: number) =>
  Effect.gen(function*() {
    const dueAt = DateTime.makeUnsafe("2020-01-01T00:00:00Z")
    const { instances } = ProcessManager.consumers(Bench)
    yield* Effect.forEach(upTo(deadlines), () => waiting(fresh(), dueAt), { concurrency: 200, discard: true }).pipe(
      Effect.provide(Projector.layerInline([instances]))
    )
    const before = yield* countOf("bench.fired")
    return yield* timed(
      url,
      count,
      deadlines,
      Effect.map(countOf("bench.fired"), (found) => found - before === deadlines)
    )
  }).pipe((effect) => ofStore(url, effect))

type Rate = Effect.Success<ReturnType<typeof reactions>>

const summary = (all: ReadonlyArray<Rate>) => ({
  programs: all[0]!.programs,
  rate: Math.round(median(all.map(({ rate }) => rate))),
  clientMicros: Math.round(median(all.map(({ client }) => client))),
  serverMicros: Math.round(median(all.map(({ server }) => server)))
})

const print = (line: string): void => void process.stdout.write(`${line}\n`)

/** Prints each figure as soon as it is measured: a run that is ended early has shown those before. */
const printed = (what: string, rate: ReturnType<typeof summary>): ReturnType<typeof summary> => {
  const { clientMicros, programs, rate: perSecond, serverMicros } = rate
  print(`${what}, ${programs} program(s): ${perSecond}/s, processor time ${clientMicros} + ${serverMicros} µs each`)
  return rate
}

const measure = Effect.gen(function*() {
  const { url } = yield* PostgresServer.make()
  yield* ofStore(
    url,
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const found = yield* sql<{ readonly setting: string }>`
        select setting from pg_settings where name in ('fsync', 'synchronous_commit')`
      if (found.some(({ setting }) => setting !== "on")) {
        throw new Error("A benchmark needs fsync and synchronous_commit")
      }
    })
  )
  const latencies = []
  for (const from of ["the same program", "another program"] as const) {
    const all = yield* Effect.forEach(upTo(rounds), () => Effect.scoped(latency(url, from)))
    const of = (which: "p50" | "p95" | "p99") => rounded(median(all.map((one) => one[which])))
    latencies.push({ from, p50: of("p50"), p95: of("p95"), p99: of("p99") })
    print(`event by ${from} to command: p50 ${of("p50")} ms, p95 ${of("p95")} ms`)
  }
  const reacting = []
  for (const count of [1, 2]) {
    reacting.push(printed("reactions", summary(yield* Effect.forEach(upTo(rounds), () => reactions(url, count)))))
  }
  const firing = []
  // One round each: it is long.
  for (const count of [1, 2]) firing.push(printed("deadlines", summary([yield* firings(url, count)])))
  return { rounds, probes, signals, deadlines, latencies, reactions: reacting, firings: firing }
})

const began = performance.now()
const measured = await Effect.runPromise(Effect.scoped(measure).pipe(Effect.provide(Logger.layer([]))))
if (!quick) {
  Fs.writeFileSync(
    join(import.meta.dirname, "../processes-results.json"),
    `${JSON.stringify(measured, undefined, 2)}\n`
  )
}
print(`${Math.round((performance.now() - began) / 1000)} s`)
