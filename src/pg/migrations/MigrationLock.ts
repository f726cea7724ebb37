/**
 * Bounds how long migrations wait for a lock, and names the session that holds it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { type EventStoreError, storeError, StoreUnavailable } from "../../core/errors.ts"
import * as LockHolders from "../../eventStore/LockHolders.ts"
import * as PgLockHolders from "../locks/PgLockHolders.ts"
import { isEmbedded, type PgConnections } from "../PgConnections.ts"
import { settingOf } from "../PgDeadlines.ts"
import * as PgStatement from "../PgStatement.ts"

/**
 * The session that runs migrations, once it is known. It is not the one for which a program waits.
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

/** A wait that has lasted for so long is logged. */
const logDelay = "1 second"

/**
 * Logs the session that holds a lock for which an effect waits, and adds it to the error of a lock timeout, if the catalogs show one: the session that
 * holds the lock of migrations, or another lock of the schema.
 *
 * @since 0.1.0
 * @category combinators
 */
export const nameHolder = (connections: PgConnections, schema: string, own: OwnSession = { pid: undefined }) => {
  const query = PgStatement.make(connections)
  const describeHolder = Effect.fnUntraced(function*(isWaitedFor: boolean) {
    const { lockHolders } = PgLockHolders.make(query, `"${schema}"`)
    const holders = (yield* lockHolders).filter(({ pid, waiting }) =>
      (pid === undefined || pid !== own.pid) && (!isWaitedFor || waiting > 0)
    )
    const [row] = yield* query<{ readonly at: Date }>("select clock_timestamp() as at", [])
    const holder = holders.find(({ locks }) => locks.includes(PgLockHolders.lockOfMigrations)) ?? holders[0]
    return holder && LockHolders.describe({ at: DateTime.makeUnsafe(row!.at) }, holder)
  })
  const named = Effect.fnUntraced(function*(error: EventStoreError) {
    const holder = yield* describeHolder(false)
    if (holder === undefined) return error
    const message = `${error.message}: a lock for the migrations of schema "${schema}" was not free within the `
      + `lockTimeout; ${holder}, or wait until it has ended, and then start again`
    return storeError(new StoreUnavailable({ message, cause: error.reason.cause }))
  })
  const logWait = Effect.sleep(logDelay).pipe(
    Effect.andThen(describeHolder(true)),
    Effect.flatMap((holder) =>
      holder === undefined
        ? Effect.void
        : Effect.logWarning(`The start waits for a lock for the migrations of schema "${schema}": ${holder}`)
    ),
    Effect.ignore
  )
  return <A, R>(effect: Effect.Effect<A, EventStoreError, R>): Effect.Effect<A, EventStoreError, R> =>
    Effect.catchIf(
      isEmbedded(connections.sql) ? effect : beside(logWait, effect),
      ({ reason: { cause } }) => isSqlError(cause) && cause.reason._tag === "LockTimeoutError",
      (error) => Effect.flatMap(Effect.orElseSucceed(named(error), () => error), Effect.fail)
    )
}

/** Runs an effect with another one beside it, for whose end it does not wait. */
const beside = <A, E, R>(other: Effect.Effect<void>, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(
    Effect.forkDetach(other),
    (fiber) => Effect.ensuring(effect, Effect.sync(() => fiber.interruptUnsafe()))
  )
