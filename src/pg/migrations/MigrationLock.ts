/**
 * Bounds how long migrations, and the checks of a start, wait for a lock, and names the session that holds it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { type EventStoreError, storeError, StoreUnavailable } from "../../core/errors.ts"
import type { LockHolder } from "../../eventStore/driver/EventStoreDriver.ts"
import * as LockHolders from "../../eventStore/driver/LockHolders.ts"
import { isEmbedded } from "../connections/ClientPool.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import { isNoResponse } from "../connections/StatementDeadline.ts"
import * as PgLockHolders from "../locks/PgLockHolders.ts"
import { settingOf } from "../PgDeadlines.ts"
import * as PgStatement from "../PgStatement.ts"

/**
 * The session that runs migrations or checks them, once it is known. It is not the one for which a program waits.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnSession {
  pid: number | undefined
}

/**
 * Gives the server the deadlines of the transaction of migrations, whose statements may run for long, but do not wait for long for a lock.
 *
 * @since 0.1.0
 * @category combinators
 */
export const limit = ({ deadlines, sql }: PgConnections, own: OwnSession): Effect.Effect<void, SqlError> =>
  Effect.map(
    sql.unsafe<{ readonly pid: number }>(
      "select pg_backend_pid() as pid, set_config('idle_in_transaction_session_timeout', $1, true), set_config('lock_timeout', $2, true)",
      [deadlines.idleInTransactionTimeout, deadlines.lockTimeout].map((millis) => String(settingOf(millis)))
    ).withoutTransform,
    ([row]) => {
      own.pid = row?.pid
    }
  )

/** After this time in milliseconds, or after half of the shorter deadline, a wait is examined and logged. */
const logDelay = 1_000

/** Where a start waits: for other migrations, or for a table that it reads. */
const keepsOutReaders = (lock: string): boolean =>
  lock === PgLockHolders.lockOfMigrations || lock.endsWith("(AccessExclusiveLock)")

/** Returns a function that names the session for which this one waits or, after the wait, one for which it may have waited. */
const holderOf = (connections: PgConnections, schema: string, own: OwnSession) => {
  const query = PgStatement.make(connections)
  const { lockHolders } = PgLockHolders.make(query, `"${schema}"`)
  const now = "select clock_timestamp() as at, pg_blocking_pids($1) as blockers"
  return Effect.fnUntraced(function*(when: "waiting" | "after a lock timeout" | "after a timeout") {
    const [row] = yield* query<{ readonly at: Date; readonly blockers: ReadonlyArray<number> }>(
      now,
      [own.pid ?? 0],
      { isDiagnosis: true }
    )
    // A prepared transaction has the pid 0 there.
    const isBlocker = ({ pid = 0, waiting }: LockHolder) =>
      own.pid === undefined ? waiting > 0 : row!.blockers.includes(pid)
    const holders = (yield* lockHolders).filter((holder) =>
      (holder.pid === undefined || holder.pid !== own.pid) && (when === "waiting"
        ? isBlocker(holder)
        : when === "after a lock timeout" || holder.locks.some(keepsOutReaders))
    )
    const holder = holders.find(({ locks }) => locks.includes(PgLockHolders.lockOfMigrations))
      ?? holders.find(({ locks }) => locks.some(keepsOutReaders)) ?? holders[0]
    return holder && LockHolders.describe({ at: DateTime.makeUnsafe(row!.at) }, holder)
  })
}

/** Returns which deadline has ended a statement: the client's own one, or the server's, whichever came first. */
const deadlineOf = ({ reason: { cause } }: EventStoreError): "lockTimeout" | "statementTimeout" | undefined =>
  !isSqlError(cause)
    ? undefined
    : cause.reason._tag === "LockTimeoutError"
    ? "lockTimeout"
    : cause.reason._tag === "StatementTimeoutError" || isNoResponse(cause)
    ? "statementTimeout"
    : undefined

/**
 * Logs the session that holds a lock for which an effect waits, and adds it to the error of a lock timeout or a statement timeout, if the catalogs show
 * one: the session that holds the lock of migrations, or another lock of the schema.
 *
 * @since 0.1.0
 * @category combinators
 */
export const nameHolder = (connections: PgConnections, schema: string, own: OwnSession) => {
  const { deadlines: { lockTimeout, statementTimeout }, sql } = connections
  const find = holderOf(connections, schema, own)
  let seen: string | undefined
  const named = (error: EventStoreError, deadline: "lockTimeout" | "statementTimeout") =>
    Effect.map(
      seen === undefined
        ? find(deadline === "lockTimeout" ? "after a lock timeout" : "after a timeout")
        : Effect.succeed(seen),
      (holder) => {
        if (holder === undefined) return error
        const message =
          `${error.message}: a lock of schema "${schema}", which the start needs, was not free within the `
          + `${deadline}; ${holder}, or wait until it has ended, and then start again`
        return storeError(new StoreUnavailable({ message, cause: error.reason.cause }))
      }
    )
  const logWait = Effect.sleep(Math.min(logDelay, lockTimeout / 2, statementTimeout / 2)).pipe(
    Effect.andThen(find("waiting")),
    Effect.flatMap((holder) => {
      seen = holder
      return holder === undefined
        ? Effect.void
        : Effect.logWarning(`The start waits for a lock of schema "${schema}": ${holder}`)
    }),
    Effect.ignore
  )
  return <A, R>(effect: Effect.Effect<A, EventStoreError, R>): Effect.Effect<A, EventStoreError, R> =>
    Effect.catch(isEmbedded(sql) ? effect : beside(logWait, effect), (error) => {
      const deadline = deadlineOf(error)
      return Effect.flatMap(
        deadline === undefined ? Effect.succeed(error) : Effect.orElseSucceed(named(error, deadline), () => error),
        Effect.fail
      )
    })
}

/** Runs an effect with another one beside it, for whose end it does not wait. */
const beside = <A, E, R>(other: Effect.Effect<void>, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(
    Effect.forkDetach(other),
    (fiber) => Effect.ensuring(effect, Effect.sync(() => fiber.interruptUnsafe()))
  )
