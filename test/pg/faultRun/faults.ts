/**
 * The faults of the run. A stall lasts until health has named it; a disturbance lasts for a moment, and nothing needs to name it; a deployment replaces
 * all processes by those of another release.
 */
import type { PgClient } from "@effect/sql-pg"
import { Effect, Random, Schedule, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { type EventStore, type ProjectionStore, Projector } from "evsrc"
import type * as Proxy from "../../support/Proxy.ts"
import type * as Script from "../../support/Script.ts"
import { heldStream, one, places, type Release, type Switches } from "./program.ts"

/** What a fault acts on. */
export interface Stage {
  readonly proxy: Proxy.Proxy
  /** Opens a session of another program, without the proxy. */
  readonly session: Effect.Effect<PgClient.PgClient, SqlError, Scope.Scope>
  readonly workers: () => ReadonlyArray<Script.Script>
  /** Starts a worker of the current release, and waits until it works if the network does. */
  readonly launch: Effect.Effect<void>
  readonly kill: (worker: Script.Script) => Effect.Effect<void>
  /** Ends a worker by SIGTERM, and waits until it has ended. */
  readonly stop: (worker: Script.Script) => Effect.Effect<void>
  /** Changes the workers that run. */
  readonly set: (switches: Partial<Switches>) => Effect.Effect<void>
  readonly release: () => Release
  /** Makes another release the current one: for workers that start later, and for what looks on. */
  readonly change: (release: Release) => Effect.Effect<void>
  /** Replaces the stores of the callers by those of the current release. */
  readonly redeployCallers: Effect.Effect<void, unknown>
}

/** A fault that has begun. */
export interface Begun {
  /** What health, a gauge and a log line say of it while it lasts, after the name of the consumer. Undefined if it passes before a reader stalls. */
  readonly reason: RegExp | undefined
  /** A line in the log of a worker. */
  readonly line?: RegExp
  readonly end: Effect.Effect<unknown, unknown, EventStore.EventStore | ProjectionStore.ProjectionStore>
}

export type Fault = (stage: Stage) => Effect.Effect<Begun, unknown, Scope.Scope>

const noWorker = /its worker [^ ]+ sent no heartbeat for \d+ s|no worker has owned it for \d+ s/
const noEvent = /effects@\d+: .*no event was applied for \d+ s, while \d+ events? waits?/

/** Ends after at most so many milliseconds. */
const moment = (maxMillis: number) => Effect.flatMap(Random.nextIntBetween(100, maxMillis), Effect.sleep)

/** A session of another program that holds a lock until it ends its transaction, or until an operator ends it as health says. */
const holder = (...statements: ReadonlyArray<string>): Fault =>
  Effect.fnUntraced(function*({ session }: Stage) {
    const sql = yield* session
    const [row] = yield* sql<{ readonly pid: number }>`select pg_backend_pid() as pid`
    for (const statement of ["begin", ...statements]) yield* sql.unsafe(statement)
    const { pid } = row!
    const operator = Effect.scoped(
      Effect.flatMap(session, (sql) => sql`select pg_terminate_backend(${pid})`)
    )
    return {
      reason: new RegExp(
        `the session ${pid} \\(role "[^"]+", application "culprit", idle in transaction\\) holds .*SELECT pg_terminate_backend\\(${pid}\\)`
      ),
      end: (yield* Random.nextBoolean) ? operator : sql.unsafe("rollback")
    }
  })

/** The handlers of the subscription do something wrong. */
const handlers = (name: "isSlow" | "isFlaky", line: RegExp): Fault => ({ set }) =>
  Effect.as(set({ [name]: true }), { reason: noEvent, line, end: set({ [name]: false }) })

const lowWaterMark = "(select 'evsrc.positions'::regclass::oid::integer)"

const terminateSome = ({ session }: Stage) =>
  Effect.scoped(
    Effect.flatMap(session, (sql) =>
      sql`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name in ('caller', 'worker') and random() < 0.4`)
  )

/** Faults of the network that last for a moment. They also come in the company of another fault. */
const disturbances = {
  "responses are late": Effect.fnUntraced(function*({ proxy }) {
    yield* proxy.delay(yield* Random.nextIntBetween(50, 400))
    return { reason: undefined, end: Effect.andThen(moment(3_000), proxy.delay(0)) }
  }),

  "single connections and responses are lost": ({ proxy }) =>
    Effect.succeed({
      reason: undefined,
      end: Effect.forEach([1, 2, 3, 4, 5, 6], () =>
        Effect.gen(function*() {
          yield* (yield* Random.nextBoolean) ? proxy.loseNextConnection : proxy.loseNextAnswer
          yield* moment(500)
        }))
    }),

  "back ends are killed": (stage) =>
    Effect.succeed({
      reason: undefined,
      end: Effect.forEach([1, 2, 3, 4], () => Effect.andThen(terminateSome(stage), moment(700)))
    })
} satisfies Readonly<Record<string, Fault>>

const stalls = {
  "packets are lost": ({ proxy }) =>
    Effect.as(proxy.blackhole(true), { reason: noWorker, end: proxy.blackhole(false) }),

  "connections are cut": ({ proxy }) => Effect.as(proxy.cut(true), { reason: noWorker, end: proxy.cut(false) }),

  "a client is idle in the transaction of an append": holder(
    `select 1 from evsrc.append_one(true, '${heldStream}', null, null, gen_random_uuid(), 'Ticked', 1, '{"n":0}', '{}')`
  ),

  "a session holds the lock of the low-water mark, shared": holder(
    `select pg_advisory_xact_lock_shared(${lowWaterMark}, 1)`
  ),

  "a session holds the lock of the low-water mark, exclusively": holder(
    `select pg_advisory_xact_lock(${lowWaterMark}, 1)`
  ),

  "a session holds the lock of a stream": holder(
    `select pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext('${heldStream}'))`
  ),

  "a session holds the rows of checkpoints": holder(`select 1 from evsrc.checkpoints for update`),

  "a session holds the table of documents": holder(`lock table evsrc.documents in share mode`),

  "a session holds the table of a handler": holder(`lock table handled in share mode`),

  "a handler does not return": handlers(
    "isSlow",
    /waits: the handler has had event \d+ \(Ticked\) of partition \d+ in hand/
  ),

  "a handler fails again and again": handlers(
    "isFlaky",
    /attempt \d+ at event \d+ \(Ticked\) failed; the next follows in/
  ),

  "all processes freeze": Effect.fnUntraced(function*({ workers }) {
    const frozen = workers()
    yield* Effect.forEach(frozen, (worker) => worker.signal("SIGSTOP"))
    return { reason: noWorker, end: Effect.forEach(frozen, (worker) => worker.signal("SIGCONT")) }
  })
} satisfies Readonly<Record<string, Fault>>

const crashes = {
  "a process freezes for a moment": Effect.fnUntraced(function*({ workers }) {
    const worker = yield* one(workers())
    yield* worker.signal("SIGSTOP")
    return { reason: undefined, end: Effect.andThen(moment(5_000), worker.signal("SIGCONT")) }
  }),

  "a process is killed": Effect.fnUntraced(function*({ kill, launch, workers }) {
    yield* kill(yield* one(workers()))
    return { reason: undefined, end: Effect.andThen(launch, moment(3_000)) }
  })
} satisfies Readonly<Record<string, Fault>>

/** Starts a worker of another release. In the end, the other workers and the callers are replaced too, one by one. */
const deploy = Effect.fnUntraced(function*(
  stage: Stage,
  release: Release,
  { reason, end = Effect.void }: { readonly reason: RegExp; readonly end?: Begun["end"] }
) {
  const old = stage.workers()
  const areCallersFirst = yield* Random.nextBoolean
  yield* stage.change(release)
  if (areCallersFirst) yield* stage.redeployCallers
  yield* stage.launch
  const replace = Effect.gen(function*() {
    for (const [index, worker] of old.entries()) {
      yield* (yield* Random.nextBoolean) ? stage.stop(worker) : stage.kill(worker)
      if (index > 0) yield* stage.launch
    }
    if (!areCallersFirst) yield* stage.redeployCallers
    yield* end
  })
  return { reason, end: replace }
})

const deployments = {
  "a release has another number of partitions": Effect.fnUntraced(function*(stage) {
    const release = stage.release()
    const before = release.partitions
    const partitions = yield* one([2, 3, 4, 5].filter((number) => number !== before))
    return yield* deploy(stage, { ...release, partitions }, {
      reason: new RegExp(`it works with ${before} partitions, while this definition has ${partitions}`)
    })
  }),

  "a release has another version of a subscription, whose handler is slow": Effect.fnUntraced(function*(stage) {
    const release = stage.release()
    const version = release.effects + 1
    yield* stage.set({ isSlow: true })
    const begun = yield* deploy(stage, { ...release, effects: version }, {
      reason: new RegExp(`effects@${version}: .*waits until .*effects@${release.effects} has given back`)
    })
    return { ...begun, end: Effect.andThen(stage.set({ isSlow: false }), begun.end) }
  }),

  "a release has a new inline projection": Effect.fnUntraced(function*(stage) {
    const release = stage.release()
    const version = release.places + 1
    const { id } = places(version)
    return yield* deploy(stage, { ...release, places: version }, {
      reason: new RegExp(`inline projection "${id}" (may lack|lack|are being made)`),
      // No program runs the former one any more.
      end: release.places === 0 ? Effect.void : Effect.retry(Projector.retireInline(places(release.places).id), {
        times: 5,
        schedule: Schedule.spaced("200 millis")
      })
    })
  })
} satisfies Readonly<Record<string, Fault>>

const all = { ...disturbances, ...stalls, ...crashes, ...deployments }
export type FaultName = keyof typeof all
export const faults: Readonly<Record<FaultName, Fault>> = all

const namesOf = (some: Readonly<Partial<Record<FaultName, Fault>>>) => Object.keys(some) as ReadonlyArray<FaultName>
export const names = namesOf(all)
/** Disturbances of the network, which also come in the company of another fault. */
export const companions = namesOf(disturbances)
/** Faults that last until health has named them. */
export const lasting: ReadonlySet<FaultName> = new Set(namesOf({ ...stalls, ...deployments }))
