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
import type { PgConnections } from "../PgConnections.ts"
import { settingOf } from "../PgDeadlines.ts"
import * as PgStatement from "../PgStatement.ts"

/**
 * Gives the server the deadlines of the transaction of migrations, whose statements may run for long, but do not wait for long for a lock.
 *
 * @since 0.1.0
 * @category combinators
 */
export const limit = ({ deadlines, sql }: PgConnections): Effect.Effect<unknown, SqlError> =>
  sql.unsafe(
    "select set_config('idle_in_transaction_session_timeout', $1, true), set_config('lock_timeout', $2, true)",
    [deadlines.idleInTransactionTimeout, deadlines.lockTimeout].map((millis) => String(settingOf(millis)))
  ).withoutTransform

/**
 * Adds to the error of a lock timeout the session that held the lock, if the catalogs show one: the one that holds the lock of migrations, or
 * another lock of the schema.
 *
 * @since 0.1.0
 * @category combinators
 */
export const nameHolder = (connections: PgConnections, schema: string) => {
  const query = PgStatement.make(connections)
  const named = Effect.fnUntraced(function*(error: EventStoreError) {
    const { lockHolders } = PgLockHolders.make(query, `"${schema}"`)
    const holders = yield* lockHolders
    const [row] = yield* query<{ readonly at: Date }>("select clock_timestamp() as at", [])
    const holder = holders.find(({ locks }) => locks.includes(PgLockHolders.lockOfMigrations)) ?? holders[0]
    if (holder === undefined) return error
    const words = LockHolders.describe({ at: DateTime.makeUnsafe(row!.at) }, holder)
    const message = `${error.message}: a lock for the migrations of schema "${schema}" was not free within the `
      + `lockTimeout; ${words}, or wait until it has ended, and then start again`
    return storeError(new StoreUnavailable({ message, cause: error.reason.cause }))
  })
  return <A, R>(effect: Effect.Effect<A, EventStoreError, R>): Effect.Effect<A, EventStoreError, R> =>
    Effect.catchIf(
      effect,
      ({ reason: { cause } }) => isSqlError(cause) && cause.reason._tag === "LockTimeoutError",
      (error) => Effect.flatMap(Effect.orElseSucceed(named(error), () => error), Effect.fail)
    )
}
