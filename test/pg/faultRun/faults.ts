/** The faults of the run. A stall lasts until health has named it; another fault lasts for a moment, and nothing needs to name it. */
import type { PgClient } from "@effect/sql-pg"
import { Effect, Random, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type * as Proxy from "../../support/Proxy.ts"
import type * as Script from "../../support/Script.ts"
import { heldStream, one } from "./program.ts"

/** What a fault acts on. */
export interface Stage {
  readonly proxy: Proxy.Proxy
  /** Opens a session of another program, without the proxy. */
  readonly session: Effect.Effect<PgClient.PgClient, SqlError, Scope.Scope>
  readonly workers: () => ReadonlyArray<Script.Script>
  /** Kills a worker with SIGKILL, and starts another in its place. */
  readonly replace: (worker: Script.Script) => Effect.Effect<void, unknown>
}

/** A fault that has begun. */
export interface Begun {
  /** What health says of it while it lasts. Undefined if it passes before a reader stalls. */
  readonly reason: RegExp | undefined
  readonly end: Effect.Effect<unknown, unknown>
}

export type Fault = (stage: Stage) => Effect.Effect<Begun, unknown, Scope.Scope>

const noWorker = /its worker [^ ]+ sent no heartbeat for \d+ s|no worker has owned it for \d+ s/

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

const lowWaterMark = "(select 'evsrc.positions'::regclass::oid::integer)"

const terminateSome = ({ session }: Stage) =>
  Effect.scoped(
    Effect.flatMap(session, (sql) =>
      sql`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name in ('caller', 'worker') and random() < 0.4`)
  )

export const faults = {
  "packets are lost": ({ proxy }) =>
    Effect.as(proxy.blackhole(true), { reason: noWorker, end: proxy.blackhole(false) }),

  "connections are cut": ({ proxy }) => Effect.as(proxy.cut(true), { reason: noWorker, end: proxy.cut(false) }),

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
    }),

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

  "a process freezes for a moment": Effect.fnUntraced(function*({ workers }) {
    const worker = yield* one(workers())
    yield* worker.signal("SIGSTOP")
    return { reason: undefined, end: Effect.andThen(moment(5_000), worker.signal("SIGCONT")) }
  }),

  "all processes freeze": Effect.fnUntraced(function*({ workers }) {
    const frozen = workers()
    yield* Effect.forEach(frozen, (worker) => worker.signal("SIGSTOP"))
    return { reason: noWorker, end: Effect.forEach(frozen, (worker) => worker.signal("SIGCONT")) }
  }),

  "a process is killed": Effect.fnUntraced(function*({ replace, workers }) {
    const worker = yield* one(workers())
    return { reason: undefined, end: Effect.andThen(replace(worker), moment(3_000)) }
  })
} satisfies Readonly<Record<string, Fault>>

export type FaultName = keyof typeof faults
