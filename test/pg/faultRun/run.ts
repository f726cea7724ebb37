/** Runs the program while faults come and go, and returns what it did wrong. */
import { PgClient } from "@effect/sql-pg"
import {
  Cause,
  Clock,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Option,
  Queue,
  Random,
  Redacted,
  Schedule,
  Scope
} from "effect"
import { Reactivity } from "effect/reactivity"
import { EventStore, Health, Parking } from "evsrc"
import { PgMigrations } from "evsrc/pg"
import { freshDatabase } from "../../support/Database.ts"
import * as Proxy from "../../support/Proxy.ts"
import * as Script from "../../support/Script.ts"
import * as Checks from "./checks.ts"
import { type FaultName, faults, type Stage } from "./faults.ts"
import {
  type Call,
  consumers,
  Effects,
  layerStores,
  randomCall,
  randomRead,
  Sums,
  switches,
  tagOf,
  Tick,
  tick
} from "./program.ts"

export interface Options {
  readonly seed: number
  /** The number of worker processes. */
  readonly workers: number
  /** The number of streams that are parked from the beginning. */
  readonly parked: number
  /** The faults in their order. */
  readonly faults: ReadonlyArray<FaultName>
  /** No fault begins later, in milliseconds. */
  readonly millis?: number
  /** Leaves one deadline out: that of a caller's query, or those of the workers' statements. */
  readonly planted?: "caller" | "worker"
  /**
   * How long a caller, a reason of health or the way back to green may take, in milliseconds. It is generous, because other load slows the machine
   * down: a statement without a deadline never ends.
   */
  readonly bound?: number
}

export interface Report {
  /** What went wrong. */
  readonly problems: ReadonlyArray<string>
  /** What happened, for the reader of a failure. */
  readonly story: ReadonlyArray<string>
  /** The number of appends and commands. */
  readonly calls: number
}

/** Limits at which health names a stall within seconds. */
const limits: Health.HealthOptions = { maxWait: "2 seconds", heartbeatTimeout: "3 seconds", stallTimeout: "5 seconds" }

/** What an attempt may fail with: by the faults, by a lost race or by a rule. */
const expected = new Set([
  "StoreUnavailable",
  "OutcomeUnknown",
  "Rejected",
  "ConcurrencyConflict",
  "AppendConditionFailed",
  "StillParked",
  "NotParked"
])

/** A run, as its parts see it. */
interface Run extends Required<Pick<Options, "bound">> {
  readonly options: Options
  readonly outcomes: Array<Checks.Outcome>
  readonly story: Array<string>
  readonly problems: Array<string>
  readonly tell: (text: string) => Effect.Effect<void>
  readonly problem: (text: string) => Effect.Effect<void>
  isOver: boolean
}

const makeRun = Effect.fnUntraced(function*(options: Options) {
  const start = yield* Clock.currentTimeMillis
  const [story, problems] = [new Array<string>(), new Array<string>()]
  const tell = (text: string) =>
    Effect.map(Clock.currentTimeMillis, (now) => void story.push(`${((now - start) / 1000).toFixed(1)} s: ${text}`))
  const problem = (text: string) => {
    problems.push(text)
    return tell(`PROBLEM: ${text}`)
  }
  const run: Run = { options, bound: 120_000, ...options, outcomes: [], story, problems, tell, problem, isOver: false }
  return run
})

/** Runs a call. Returns its error's tag, or its value. The caller waits for the bound, and no longer for what does not end. */
const answer = Effect.fnUntraced(
  function*<A, E, R>({ bound, problem }: Run, name: string, call: Effect.Effect<A, E, R>) {
    const fiber = yield* Effect.forkScoped(call)
    const exit = yield* Effect.timeoutOption(Fiber.await(fiber), bound)
    if (Option.isNone(exit)) {
      yield* Effect.sync(() => fiber.interruptUnsafe())
      yield* problem(`${name}: not answered within ${Duration.format(Duration.millis(bound))}`)
      return { tag: "none" }
    }
    if (Exit.isSuccess(exit.value)) return { value: exit.value.value }
    const { cause } = exit.value
    const tag = Option.match(Cause.findErrorOption(cause), { onNone: () => Cause.pretty(cause), onSome: tagOf })
    if (!expected.has(tag)) yield* problem(`${name}: ${tag}`)
    return { tag }
  }
)

/** Appends and dispatches until the run is over. What may succeed later is repeated under its id. */
const appender = (run: Run, name: string) =>
  Effect.gen(function*() {
    for (let round = 0; !run.isOver; round++) {
      run.outcomes.push(yield* attempts(run, yield* randomCall(`${name}-${round}`)))
      yield* pause
    }
  }).pipe(Random.withSeed(`${run.options.seed} ${name}`))

const pause = Effect.flatMap(Random.nextIntBetween(100, 400), Effect.sleep)

const attempts = Effect.fnUntraced(function*(run: Run, { id, run: call, size }: Call) {
  let isUnknown = false
  for (let attempt = 0; attempt < 3; attempt++) {
    const { tag, value } = { tag: "", value: undefined, ...yield* answer(run, `append ${id}`, call) }
    if (value !== undefined) return { id, size, position: value.position, isUnknown: false }
    if (tag === "OutcomeUnknown" || tag === "none") isUnknown = true
    else if (tag !== "StoreUnavailable") return { id, size, isUnknown }
    yield* pause
  }
  return { id, size, isUnknown }
})

/** Reads documents, the head and the health until the run is over. */
const reader = (run: Run) =>
  Effect.gen(function*() {
    while (!run.isOver) {
      yield* answer(run, "read", randomRead)
      yield* answer(run, "health", Health.of(consumers, limits))
      yield* pause
    }
  }).pipe(Random.withSeed(`${run.options.seed} reader`))

/** Asks for retries, which fail while the events are broken: of all keys once, and then of single ones. */
const retrier = (run: Run) =>
  Effect.gen(function*() {
    yield* answer(run, "retry of all", Parking.retryAll(Sums, { timeout: "20 seconds" }))
    while (!run.isOver) {
      const stream = `Broken-${yield* Random.nextIntBetween(1, Math.min(run.options.parked, 90))}`
      yield* answer(run, `retry of ${stream}`, Parking.retry(Sums, stream, { timeout: "5 seconds" }))
      yield* answer(run, "count of parked keys", Parking.count(Effects))
      yield* Effect.sleep("1 second")
    }
  }).pipe(Random.withSeed(`${run.options.seed} retrier`))

/** A program's own query on the client has no deadline. One is always in flight. */
const plantedReader = (run: Run) =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    while (!run.isOver) {
      yield* answer(run, "planted query", Effect.ignore(sql`select pg_sleep(0.3)`))
    }
  })

const callers = (run: Run) =>
  Effect.all([
    ...Array.from({ length: 5 }, (_, index) => appender(run, `caller ${index}`)),
    reader(run),
    retrier(run),
    ...run.options.planted === "caller" ? [plantedReader(run), plantedReader(run)] : []
  ], { concurrency: "unbounded", discard: true })

/** The worker processes and what they have printed. */
const startWorkers = Effect.fnUntraced(function*(run: Run, databaseUrl: string, directUrl: string) {
  const scope = yield* Effect.scope
  const all = new Set<Script.Script>()
  const lines: Array<string> = []
  const launch = Effect.gen(function*() {
    const worker = yield* Script.start(import.meta.resolve("./worker.ts"), {
      env: {
        DATABASE_URL: databaseUrl,
        DIRECT_URL: directUrl,
        FAULT_SEED: String(run.options.seed),
        BROKEN: String(switches.isBroken),
        PLANTED: String(run.options.planted === "worker")
      }
    })
    all.add(worker)
    const takes = Effect.map(Queue.take(worker.lines), (line) => void lines.push(line))
    yield* Effect.forkScoped(Effect.ignore(Effect.forever(takes)))
  }).pipe(Effect.provideService(Scope.Scope, scope))
  for (let index = 0; index < run.options.workers; index++) yield* launch
  return {
    lines,
    all: () => Array.from(all),
    tell: (line: string) => Effect.forEach(all, (worker) => worker.write(line), { discard: true }),
    replace: (worker: Script.Script) =>
      Effect.andThen(
        worker.signal("SIGKILL"),
        Effect.suspend(() => {
          all.delete(worker)
          return launch
        })
      )
  }
})

const withoutParked = (health: Health.Health): ReadonlyArray<string> =>
  health.reasons.filter((reason) => !/\d+ keys? (is|are) parked/.test(reason))

/** Until all have parked what is broken. */
const behind = (health: Health.Health): ReadonlyArray<string> => [
  ...withoutParked(health),
  ...health.consumers.flatMap(({ consumer, lag }) => lag.events === 0 ? [] : [`${consumer} is behind`])
]

/** Waits until the reasons of the health satisfy a condition. Returns the last reasons if that takes longer than the bound. */
const awaitReasons = Effect.fnUntraced(function*(
  { bound }: Run,
  reasonsOf: (health: Health.Health) => ReadonlyArray<string>,
  condition: (reasons: ReadonlyArray<string>) => boolean
) {
  let last: ReadonlyArray<string> = ["health has not answered"]
  const look = Effect.map(
    Effect.ignore(Effect.tap(Health.of(consumers, limits), (health) => {
      last = reasonsOf(health)
      return Effect.void
    })),
    () => condition(last)
  )
  const fiber = yield* Effect.forkScoped(
    Effect.repeat(look, { until: (is) => is, schedule: Schedule.spaced("100 millis") })
  )
  const found = yield* Effect.timeoutOption(Fiber.await(fiber), bound)
  if (Option.isSome(found)) return { found: last }
  yield* Effect.sync(() => fiber.interruptUnsafe())
  return { missing: last }
})

/** Lets a fault come and go. Health names a stall while it lasts, and is green soon after, but for parked keys. */
const suffer = (run: Run, stage: Stage, name: FaultName) =>
  Effect.scoped(Effect.gen(function*() {
    const { problem, tell } = run
    const since = yield* Clock.currentTimeMillis
    const seconds = Effect.map(Clock.currentTimeMillis, (now) => `${((now - since) / 1000).toFixed(1)} s`)
    const { end, reason } = yield* faults[name](stage)
    yield* tell(name)
    if (reason !== undefined) {
      const { found, missing } = yield* awaitReasons(run, withoutParked, (all) => all.some((one) => reason.test(one)))
      if (found === undefined) {
        yield* problem(`${name}: health did not name it, but said: ${missing?.join("; ") ?? ""}`)
      } else yield* tell(`named after ${yield* seconds}: ${found.find((one) => reason.test(one)) ?? ""}`)
    }
    yield* end
    const { missing } = yield* awaitReasons(run, withoutParked, (reasons) => reasons.length === 0)
    if (missing === undefined) yield* tell(`green after ${yield* seconds}`)
    else yield* problem(`${name}: health was not green again, but said: ${missing.join("; ")}`)
  }))

/** Repairs what fails, and retries until nothing is parked. */
const repair = Effect.fnUntraced(function*(run: Run) {
  const { bound, problem, tell } = run
  for (const consumer of [Sums, Effects]) {
    const retried = yield* Effect.exit(
      Parking.retryAll(consumer, { timeout: bound * 2 }).pipe(
        Effect.repeat({ until: ({ requested }) => requested === 0 }),
        Effect.timeout(bound * 2)
      )
    )
    if (Exit.isFailure(retried)) yield* problem(`${consumer.id}: not all were freed: ${Cause.pretty(retried.cause)}`)
  }
  yield* tell("nothing is parked")
  const { missing } = yield* awaitReasons(run, ({ reasons }) => reasons, (reasons) => reasons.length === 0)
  if (missing !== undefined) yield* problem(`health was not green in the end, but said: ${missing.join("; ")}`)
})

const park = (count: number) =>
  Effect.flatMap(EventStore.EventStore, (store) =>
    Effect.forEach(
      Array.from({ length: count }, (_, index) => index),
      // The subscription parks a few.
      (index) => store.append(Tick, `Broken-${index}`, [tick(index % 100 === 0 ? -2 : -1), tick(1), tick(2)]),
      { concurrency: 100, discard: true }
    ))

/** Runs the program with faults. */
export const run = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Report, unknown, Scope.Scope> {
  const run = yield* makeRun(options)
  const { problem, problems, story, tell } = run
  const { url } = yield* freshDatabase
  const proxy = yield* Proxy.make(url)
  switches.isBroken = true
  yield* Effect.gen(function*() {
    yield* PgMigrations.run({ hashChain: true })
    const sql = yield* PgClient.PgClient
    for (const table of ["handled", "effects"]) {
      yield* sql.unsafe(
        `create table ${table} (id bigint generated always as identity, stream text, version integer, position bigint)`
      )
    }
  }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url) })))
  // What looks on does not suffer from the faults.
  const monitor = yield* Layer.build(layerStores(url, "monitor"))
  const suffering = yield* Layer.build(layerStores(proxy.url, "caller"))
  const workers = yield* startWorkers(run, proxy.url, url)
  const session = PgClient.makeClient({ url: Redacted.make(url), applicationName: "culprit" }).pipe(
    Effect.provide(Reactivity.layer)
  )
  const stage: Stage = { proxy, session, workers: workers.all, replace: workers.replace }
  const asMonitor = Effect.provideContext(monitor)

  yield* asMonitor(park(options.parked))
  const started = yield* asMonitor(awaitReasons(run, behind, (reasons) => reasons.length === 0))
  if (started.missing !== undefined) yield* problem(`not green at the start: ${started.missing.join("; ")}`)
  yield* tell("all work")
  const calling = yield* Effect.forkScoped(Effect.provideContext(callers(run), suffering))
  // All have connections, and statements are in flight.
  yield* Effect.sync(() => run.outcomes.length).pipe(
    Effect.repeat({ until: (count) => count >= 20, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutOption(run.bound)
  )
  const start = yield* Clock.currentTimeMillis
  for (const name of options.faults) {
    if (problems.length > 0 || (yield* Clock.currentTimeMillis) - start > (options.millis ?? Infinity)) break
    yield* asMonitor(suffer(run, stage, name))
  }
  run.isOver = true
  const ended = yield* Effect.timeoutOption(Fiber.await(calling), run.bound * 4)
  if (Option.isNone(ended)) yield* problem("the callers have not ended")
  else if (Exit.isFailure(ended.value)) yield* problem(`the callers ended with ${Cause.pretty(ended.value.cause)}`)
  // What has failed once fails later too.
  if (problems.length === 0) {
    switches.isBroken = false
    yield* workers.tell("repaired")
    yield* workers.tell("stop")
    const stopped = Effect.sync(() => workers.lines.filter((line) => line === "stopped").length >= workers.all().length)
    const all = yield* Effect.timeoutOption(
      Effect.repeat(stopped, { until: (is) => is, schedule: Schedule.spaced("100 millis") }),
      run.bound * 2
    )
    if (Option.isNone(all)) yield* problem("the writers of the workers have not ended")
    yield* asMonitor(repair(run))
    const calls = Checks.ofWorkers(workers.lines, run.bound)
    for (const found of calls.problems) yield* problem(found)
    for (const found of yield* asMonitor(Checks.invariants([...run.outcomes, ...calls.outcomes]))) yield* problem(found)
    yield* tell("all is checked")
    run.outcomes.push(...calls.outcomes)
  }
  return { problems, story, calls: run.outcomes.length }
})
