/** Runs the program while faults come and go, and returns what it did wrong. */
import { PgClient } from "@effect/sql-pg"
import {
  Cause,
  Clock,
  Context,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Option,
  Queue,
  Random,
  Redacted,
  Result,
  Schedule,
  Scope
} from "effect"
import { Reactivity } from "effect/reactivity"
import { EventStore, Health, Parking, type ProjectionStore } from "evsrc"
import { PgMigrations } from "evsrc/pg"
import { freshDatabase } from "../../support/Database.ts"
import * as Proxy from "../../support/Proxy.ts"
import * as Script from "../../support/Script.ts"
import * as Checks from "./checks.ts"
import { companions, type FaultName, faults, lasting, names, type Stage } from "./faults.ts"
import * as Monitor from "./monitor.ts"
import {
  allOf,
  type Call,
  consumersOf,
  firstRelease,
  layerStores,
  one,
  type ProfileName,
  profiles,
  randomCall,
  randomRead,
  type Release,
  type Switches,
  tagOf,
  Tick,
  tick
} from "./program.ts"

export interface Options {
  readonly seed: number
  readonly profile: ProfileName
  /** The number of worker processes. */
  readonly workers: number
  /** The number of streams that are parked from the beginning. */
  readonly parked: number
  /** The faults in their order. */
  readonly faults: ReadonlyArray<FaultName>
  /** No fault begins a second time later, in milliseconds. */
  readonly millis?: number
  /** Leaves out the deadline of statements of the callers' or of the workers' stores, or the look of the health check at events that no reader gets. */
  readonly planted?: "caller" | "worker" | "health"
  readonly bounds: Bounds
}

/** How long something may take, in milliseconds. They allow for other load on the machine: what has no deadline never ends. */
export interface Bounds {
  /** A call of the program, and the end of a process. */
  readonly answer: number
  /** Until health, a gauge and a log line name a stall. */
  readonly named: number
  /** From the end of a fault until health is green. */
  readonly green: number
}

export interface Report {
  /** What went wrong. */
  readonly problems: ReadonlyArray<string>
  /** What happened, for the reader of a failure. */
  readonly story: ReadonlyArray<string>
  /** The number of appends and commands. */
  readonly calls: number
}

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

type Stores = Layer.Success<ReturnType<typeof layerStores>>

/** A run, as its parts see it. */
interface Run {
  readonly options: Options
  readonly outcomes: Array<Checks.Outcome>
  readonly story: Array<string>
  readonly problems: Array<string>
  readonly tell: (text: string) => Effect.Effect<void>
  readonly problem: (text: string) => Effect.Effect<void>
  release: Release
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
  const run: Run = {
    options,
    outcomes: [],
    story,
    problems,
    tell,
    problem,
    release: firstRelease,
    isOver: false
  }
  return run
})

/** The stores of the callers. A deployment replaces them when the calls in hand have ended. */
const makeCallers = Effect.fnUntraced(function*(run: Run, url: string) {
  const { options: { planted, profile } } = run
  const scope = yield* Effect.scope
  const build = Effect.gen(function*() {
    const own = yield* Scope.fork(scope)
    const stores = layerStores(url, "caller", {
      release: run.release,
      profile,
      options: planted === "caller" ? { statementTimeout: "Infinity" } : {}
    })
    const context = yield* Layer.buildWithScope(stores, own)
    return { context, scope: own, consumers: consumersOf(run.release), calls: 0, isReplaced: false }
  })
  let current = yield* build
  const closeIfUnused = (stores: typeof current) =>
    stores.isReplaced && stores.calls === 0 ? Scope.close(stores.scope, Exit.void) : Effect.void
  return {
    /** Runs a call on the stores of the moment. */
    call: <A, E>(make: (consumers: typeof current.consumers) => Effect.Effect<A, E, Stores>): Effect.Effect<A, E> =>
      Effect.suspend(() => {
        const stores = current
        stores.calls++
        return Effect.ensuring(
          Effect.provideContext(Effect.scoped(make(stores.consumers)), stores.context),
          Effect.suspend(() => {
            stores.calls--
            return closeIfUnused(stores)
          })
        )
      }),
    /** A start that a fault prevents is tried again. */
    redeploy: Effect.gen(function*() {
      const before = current
      current = yield* Effect.retry(build, { schedule: Schedule.spaced("300 millis"), times: 60 })
      before.isReplaced = true
      yield* closeIfUnused(before)
    })
  }
})
type Callers = Effect.Success<ReturnType<typeof makeCallers>>

/** Runs a call. Returns its error's tag, or its value. The caller waits for the bound, and no longer for what does not end. */
const answer = Effect.fnUntraced(
  function*<A, E, R>({ options: { bounds }, problem }: Run, name: string, call: Effect.Effect<A, E, R>) {
    const fiber = yield* Effect.forkScoped(call)
    const exit = yield* Effect.timeoutOption(Fiber.await(fiber), bounds.answer)
    if (Option.isNone(exit)) {
      yield* Effect.sync(() => fiber.interruptUnsafe())
      yield* problem(`${name}: not answered within ${Duration.format(Duration.millis(bounds.answer))}`)
      return { tag: "none" }
    }
    if (Exit.isSuccess(exit.value)) return { value: exit.value.value }
    const { cause } = exit.value
    const tag = Option.match(Cause.findErrorOption(cause), { onNone: () => Cause.pretty(cause), onSome: tagOf })
    // A new inline projection lacks events while programs without it append.
    if (!expected.has(tag) && !(tag === "ProjectionIncomplete" && name === "read")) yield* problem(`${name}: ${tag}`)
    return { tag }
  }
)

/** Appends and dispatches until the run is over. What may succeed later is repeated under its id. */
const appender = (run: Run, callers: Callers, name: string) =>
  Effect.gen(function*() {
    for (let round = 0; !run.isOver; round++) {
      run.outcomes.push(yield* attempts(run, callers, yield* randomCall(`${name}-${round}`)))
      yield* pause
    }
  }).pipe(Random.withSeed(`${run.options.seed} ${name}`))

const pause = Effect.flatMap(Random.nextIntBetween(200, 600), Effect.sleep)

const attempts = Effect.fnUntraced(function*(run: Run, callers: Callers, { id, run: call, size }: Call) {
  let isUnknown = false
  for (let attempt = 0; attempt < 3; attempt++) {
    const answered = yield* answer(run, `append ${id}`, callers.call(() => call))
    const { tag, value } = { tag: "", value: undefined, ...answered }
    if (value !== undefined) return { id, size, position: value.position, isUnknown: false }
    if (tag === "OutcomeUnknown" || tag === "none") isUnknown = true
    else if (tag !== "StoreUnavailable") return { id, size, isUnknown }
    yield* pause
  }
  return { id, size, isUnknown }
})

/** Reads documents, the head and the health until the run is over. */
const reader = (run: Run, callers: Callers) =>
  Effect.gen(function*() {
    const { health } = profiles[run.options.profile]
    while (!run.isOver) {
      yield* answer(run, "read", callers.call(randomRead))
      yield* answer(run, "health", callers.call((consumers) => Health.of(allOf(consumers), health)))
      yield* pause
    }
  }).pipe(Random.withSeed(`${run.options.seed} reader`))

/** Asks for retries, which fail while the events are broken: of all keys once, and then of single ones. */
const retrier = (run: Run, callers: Callers) =>
  Effect.gen(function*() {
    yield* answer(run, "retry of all", callers.call(({ sums }) => Parking.retryAll(sums, { timeout: "20 seconds" })))
    while (!run.isOver) {
      const stream = `Broken-${yield* Random.nextIntBetween(1, Math.min(run.options.parked, 90))}`
      const retry = callers.call(({ sums }) => Parking.retry(sums, stream, { timeout: "5 seconds" }))
      yield* answer(run, `retry of ${stream}`, retry)
      yield* answer(run, "count of parked keys", callers.call(({ effects }) => Parking.count(effects)))
      yield* Effect.sleep("1 second")
    }
  }).pipe(Random.withSeed(`${run.options.seed} retrier`))

const runCallers = (run: Run, callers: Callers) =>
  Effect.all([
    ...Array.from({ length: 3 }, (_, index) => appender(run, callers, `caller ${index}`)),
    reader(run, callers),
    retrier(run, callers)
  ], { concurrency: "unbounded", discard: true })

/** The worker processes and what they have printed. */
const makeWorkers = Effect.fnUntraced(function*(run: Run, url: string, direct: string) {
  const { options: { bounds, planted, profile, seed }, problem } = run
  const scope = yield* Effect.scope
  const all = new Set<Script.Script>()
  const lines: Array<string> = []
  const launch = Effect.gen(function*() {
    const settings = { url, direct, seed, release: run.release, profile }
    const worker = yield* Script.start(import.meta.resolve("./worker.ts"), {
      env: { FAULT_SETTINGS: JSON.stringify({ ...settings, isPlanted: planted === "worker" }) }
    })
    all.add(worker)
    const takes = Effect.map(Queue.take(worker.lines), (line) => void lines.push(line))
    yield* Effect.forkScoped(Effect.ignore(Effect.forever(takes)))
    const diesAlone = Effect.flatMap(worker.exited, ({ code, signal }) =>
      all.has(worker)
        ? Effect.flatMap(worker.stderr, (text) => problem(`a worker has ended by itself: ${signal ?? code}\n${text}`))
        : Effect.void)
    yield* Effect.forkScoped(diesAlone)
  }).pipe(Effect.provideService(Scope.Scope, scope))
  const end = Effect.fnUntraced(function*(worker: Script.Script, signal: NodeJS.Signals) {
    all.delete(worker)
    yield* worker.signal(signal)
    const ended = yield* Effect.timeoutOption(worker.exited, bounds.answer)
    if (Option.isNone(ended)) yield* problem(`a worker has not ended within its time after ${signal}`)
  })
  const write = (line: string) => Effect.forEach(all, (worker) => worker.write(line), { discard: true })
  return {
    lines,
    all: () => Array.from(all),
    launch,
    kill: (worker: Script.Script) => end(worker, "SIGKILL"),
    stop: (worker: Script.Script) => end(worker, "SIGTERM"),
    write,
    set: (switches: Partial<Switches>) => write(JSON.stringify(switches))
  }
})

/** Waits until a line of the workers matches. */
const awaitLine = (lines: ReadonlyArray<string>, first: number, line: RegExp, bound: number) =>
  Effect.sync(() => lines.slice(first).some((one) => line.test(one))).pipe(
    Effect.repeat({ until: (is) => is, schedule: Schedule.spaced("100 millis") }),
    Effect.timeoutOption(bound),
    Effect.map(Option.isSome)
  )

/** Lets a fault come and go. Health names a stall while it lasts, and is green soon after, but for parked keys. */
const suffer = (run: Run, stage: Stage, monitor: Monitor.Monitor, lines: ReadonlyArray<string>, name: FaultName) =>
  Effect.scoped(Effect.gen(function*() {
    const { options: { bounds, planted, profile }, problem, tell } = run
    const since = yield* Clock.currentTimeMillis
    const after = (from: number) =>
      Effect.map(Clock.currentTimeMillis, (now) => `${((now - from) / 1000).toFixed(1)} s`)
    const first = lines.length
    const begun = yield* faults[name](stage)
    // A killed back end answers a caller whose deadline is missing.
    const company = planted === undefined && lasting.has(name) && (yield* Random.nextBoolean)
      ? yield* one(companions)
      : undefined
    yield* tell(company === undefined ? name : `${name}, and ${company}`)
    const disturbing = yield* Effect.forkScoped(
      company === undefined
        ? Effect.void
        : Effect.flatMap(faults[company](stage), ({ end }) => end).pipe(
          Random.withSeed(`${run.options.seed} ${run.story.length}`)
        )
    )
    if (begun.reason !== undefined) {
      const seen = yield* Effect.result(monitor.awaitNamed(begun.reason, bounds.named))
      if (Result.isFailure(seen)) yield* problem(`${name}: ${seen.failure}`)
      else {
        const { allAfter, reason, reasonAfter } = seen.success
        yield* tell(`named after ${reasonAfter} ms, by gauge and log after ${allAfter} ms: ${reason}`)
      }
      if (begun.line !== undefined && !(yield* awaitLine(lines, first, begun.line, bounds.named))) {
        yield* problem(
          `${name}: no worker has logged ${begun.line}, but: ${
            lines.slice(first).filter((one) => one.startsWith("log ")).join("\n")
          }`
        )
      }
      const lasted = (yield* Clock.currentTimeMillis) - since
      yield* Effect.sleep(Math.max(0, profiles[profile].stall - lasted))
    }
    yield* begun.end
    yield* Fiber.join(disturbing)
    const ended = yield* Clock.currentTimeMillis
    const green = yield* Effect.result(monitor.awaitGreen(bounds.green))
    if (Result.isSuccess(green)) {
      yield* tell(`green ${yield* after(ended)} after its end, ${yield* after(since)} in all`)
    } else yield* problem(`${name}: health was not green again, but said: ${green.failure}`)
  }))

/** Repairs what fails, and retries until nothing is parked. */
const repair = Effect.fnUntraced(function*(run: Run, monitor: Monitor.Monitor) {
  const { options: { bounds }, problem, tell } = run
  const consumers = consumersOf(run.release)
  const { effects, sums } = consumers
  for (const consumer of [sums, effects]) {
    const retried = yield* Effect.exit(
      Parking.retryAll(consumer, { timeout: "1 minute" }).pipe(
        Effect.repeat({ until: ({ requested }) => requested === 0 }),
        Effect.timeout("1 minute")
      )
    )
    if (Exit.isFailure(retried)) yield* problem(`${consumer.id}: not all were freed: ${Cause.pretty(retried.cause)}`)
  }
  yield* tell("nothing is parked")
  const green = yield* Effect.result(monitor.awaitGreen(bounds.green, { parked: "none", isUpToDate: true }))
  if (Result.isFailure(green)) yield* problem(`health was not green in the end, but said: ${green.failure}`)
  // The watch logs that a part is green at its next check.
  yield* Effect.sleep(profiles[run.options.profile].interval * 2)
  const unfinished = Checks.unfinished(monitor.lines(), allOf(consumers).map(({ id }) => id))
  for (const line of unfinished) yield* problem(`the log ends with ${line}`)
})

/** The projection with documents parks the streams, and the subscription a few others. */
const park = (count: number) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const append = (stream: string, n: number) => store.append(Tick, stream, [tick(n), tick(1), tick(2)])
    const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)
    yield* Effect.forEach(upTo(count), (index) => append(`Broken-${index}`, -1), { concurrency: 100, discard: true })
    yield* Effect.forEach(upTo(10), (index) => append(`Tick-broken-${index}`, -2), { discard: true })
  })

const prepare = (url: string) =>
  Effect.gen(function*() {
    yield* PgMigrations.run({ hashChain: true })
    const sql = yield* PgClient.PgClient
    for (const table of ["handled", "effects"]) {
      yield* sql.unsafe(
        `create table ${table} (id bigint generated always as identity, stream text, version integer, position bigint)`
      )
    }
  }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url) })))

/** What looks on does not suffer from the faults. */
const makeMonitor = Effect.fnUntraced(function*({ options: { planted, profile }, release }: Run, url: string) {
  const stores = layerStores(url, "monitor", { release, profile })
  const context = yield* Layer.build(stores)
  const seen = planted === "health"
    ? Context.merge(context, yield* Effect.provideContext(Layer.build(Monitor.blind), context))
    : context
  return { context, monitor: yield* Effect.provideContext(Monitor.make(profiles[profile]), seen) }
})

/** Ends the callers and the writers of the workers, repairs what is broken, and checks what must hold. */
const finish = Effect.fnUntraced(
  function*(
    run: Run,
    workers: Effect.Success<ReturnType<typeof makeWorkers>>,
    monitor: Monitor.Monitor
  ): Effect.fn.Return<void, unknown, EventStore.EventStore | ProjectionStore.ProjectionStore | PgClient.PgClient> {
    const { options: { bounds }, problem, tell } = run
    yield* workers.set({ isBroken: false })
    yield* workers.write("stop")
    const stopped = Effect.sync(() => workers.lines.filter((line) => line === "stopped").length >= workers.all().length)
    const all = yield* Effect.timeoutOption(
      Effect.repeat(stopped, { until: (is) => is, schedule: Schedule.spaced("100 millis") }),
      bounds.answer * 2
    )
    if (Option.isNone(all)) yield* problem("the writers of the workers have not ended")
    yield* repair(run, monitor)
    const calls = Checks.ofWorkers(workers.lines, bounds.answer)
    for (const found of calls.problems) yield* problem(found)
    run.outcomes.push(...calls.outcomes)
    for (const found of yield* Checks.invariants(run.outcomes, run.release)) yield* problem(found)
    yield* tell("all is checked")
  }
)

/** Runs the program with faults. */
export const run = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Report, unknown, Scope.Scope> {
  const run = yield* makeRun(options)
  const { problem, problems, story, tell } = run
  const { url } = yield* freshDatabase
  const proxy = yield* Proxy.make(url)
  yield* prepare(url)
  const { context, monitor } = yield* makeMonitor(run, url)
  const asMonitor = Effect.provideContext(context)
  const callers = yield* makeCallers(run, proxy.url)
  const workers = yield* makeWorkers(run, proxy.url, url)
  const stage: Stage = {
    proxy,
    session: PgClient.makeClient({ url: Redacted.make(url), applicationName: "culprit" }).pipe(
      Effect.provide(Reactivity.layer)
    ),
    ...workers,
    workers: workers.all,
    release: () => run.release,
    change: (release) =>
      Effect.suspend(() => {
        run.release = release
        return monitor.watch(consumersOf(release))
      }),
    redeployCallers: callers.redeploy
  }

  yield* monitor.watch(consumersOf(run.release))
  for (let index = 0; index < options.workers; index++) yield* workers.launch
  yield* asMonitor(park(options.parked))
  const started = yield* Effect.result(monitor.awaitGreen(120_000, { isUpToDate: true }))
  if (Result.isFailure(started)) yield* problem(`not green at the start: ${started.failure}`)
  yield* tell("all work")
  const calling = yield* Effect.forkScoped(runCallers(run, callers))
  // All have connections, and statements are in flight.
  yield* Effect.sync(() => run.outcomes.length).pipe(
    Effect.repeat({ until: (count) => count >= 20, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutOption(options.bounds.answer)
  )
  const start = yield* Clock.currentTimeMillis
  for (const [index, name] of options.faults.entries()) {
    const isLate = index >= names.length && (yield* Clock.currentTimeMillis) - start > (options.millis ?? Infinity)
    if (problems.length > 0 || isLate) break
    yield* asMonitor(suffer(run, stage, monitor, workers.lines, name))
  }
  run.isOver = true
  const ended = yield* Effect.timeoutOption(Fiber.await(calling), options.bounds.answer * 4)
  if (Option.isNone(ended)) yield* problem("the callers have not ended")
  else if (Exit.isFailure(ended.value)) yield* problem(`the callers ended with ${Cause.pretty(ended.value.cause)}`)
  // What has failed once fails later too.
  if (problems.length === 0) yield* asMonitor(finish(run, workers, monitor))
  return { problems, story, calls: run.outcomes.length }
})
