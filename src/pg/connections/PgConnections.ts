/**
 * Connections of a client's pool, on which every statement has a deadline. A connection that does not respond is closed, so that it does
 * not occupy the pool.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Semaphore from "effect/Semaphore"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { type PgDeadlines, settingOf } from "../PgDeadlines.ts"
import { bound, BoundedConnection, type LockObserver, type TransactionState } from "./BoundedConnection.ts"
import { isEmbedded, occupationsOf, sizeOf } from "./ClientPool.ts"
import { alone, reserveWithin } from "./Reservation.ts"

/**
 * Runs statements and transactions on the connections of a client.
 *
 * @since 0.1.0
 * @category models
 */
export interface PgConnections {
  readonly sql: SqlClient
  readonly deadlines: PgDeadlines
  /** The number of connections in the client's pool. */
  readonly size: number
  /**
   * Permits for what may occupy a connection for long: waits of appends for locks, appends with inline projections, handlers of projections. All stores
   * on the client share them. Two connections remain for leases, reads and health, if the pool has three or more.
   */
  readonly occupations: Semaphore.Semaphore
  /** Runs a statement of the client, in the transaction of the caller if there is one. */
  readonly statement: <A>(statement: Effect.Effect<A, SqlError>, timeout?: number) => Effect.Effect<A, SqlError>
  /** Runs an effect in a transaction of its own, or in a savepoint of the caller's transaction. */
  readonly transaction: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: TransactionOptions
  ) => Effect.Effect<A, E | SqlError, R>
  /** Runs an effect whose statements and transactions of the client all use one connection. */
  readonly session: <A, E, R>(effect: Effect.Effect<A, E, R>, timeout: number) => Effect.Effect<A, E | SqlError, R>
}

/**
 * Options of a transaction.
 *
 * @since 0.1.0
 * @category options
 */
export interface TransactionOptions {
  /** Shows whether the transaction has sent its COMMIT. */
  readonly state?: TransactionState | undefined
  /** Whether the server gets the deadlines too, by the first statement. `true` by default. */
  readonly isLimited?: boolean | undefined
  /** A table that the transaction locks for reading from its beginning, so that health recognizes the session as one of the store. */
  readonly reads?: string | undefined
  /** Gets the pid of the session after BEGIN, if the server gets the deadlines. */
  readonly began?: ((pid: number) => void) | undefined
  /** Looks, from another connection, for which lock a session waits, given by its pid. Runs during a statement that takes long. */
  readonly observe?: LockObserver | undefined
}

/**
 * Returns the connections of a client.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (sql: SqlClient, clientDeadlines: PgDeadlines): PgConnections => {
  const deadlines = isEmbedded(sql) ? embedded(clientDeadlines) : clientDeadlines
  const reserve = reserveWithin(sql, deadlines.connectionTimeout)
  const { statementTimeout } = deadlines
  const session = <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    timeout: number,
    transaction?: TransactionState
  ): Effect.Effect<A, E | SqlError, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(restore(reserve), ({ connection, scope }) => {
        const bounded = bound(connection, timeout, transaction)
        // At depth -1 the client begins a transaction, instead of a savepoint, on this connection.
        return Effect.onExit(
          restore(Effect.provideService(effect, sql.transactionService, [bounded, -1])),
          () => bounded.release(scope)
        )
      })
    )

  return {
    sql,
    deadlines,
    size: sizeOf(sql),
    occupations: occupationsOf(sql),
    statement: (statement, timeout = statementTimeout) =>
      Effect.withFiber((fiber) => {
        const level = Context.getOrUndefined(fiber.context, sql.transactionService)
        if (level === undefined) return alone(sql, statement, deadlines.connectionTimeout, timeout)
        const [connection, depth] = level
        return Effect.provideService(statement, sql.transactionService, [
          connection instanceof BoundedConnection
            ? connection.withTimeout(timeout)
            : bound(connection, timeout),
          depth
        ])
      }),
    transaction: <A, E, R>(
      effect: Effect.Effect<A, E, R>,
      { began, isLimited = true, observe, reads, state }: TransactionOptions = {}
    ) =>
      Effect.withFiber((fiber) => {
        if (Context.getOrUndefined(fiber.context, sql.transactionService) !== undefined) {
          return sql.withTransaction(effect)
        }
        const limited: Effect.Effect<A, E | SqlError, R> = isLimited && !isEmbedded(sql)
          ? Effect.andThen(limitTransaction(sql, deadlines, { began, observe, reads }), effect)
          : effect
        return session(sql.withTransaction(limited), statementTimeout, state)
      }),
    session
  }
}

/** Gives the server the deadlines of a transaction, for a program that vanishes in it. Those of the role or the session take precedence. */
const limitTransaction = (
  sql: SqlClient,
  deadlines: PgDeadlines,
  { began, observe, reads }: Pick<TransactionOptions, "began" | "observe" | "reads">
): Effect.Effect<void, SqlError> =>
  Effect.withFiber((fiber) =>
    Effect.map(
      sql.unsafe<{ readonly pid: number }>(
        `select pg_backend_pid() as pid, count(set_config(name, value, true)) from (values ('lock_timeout', $1), ('statement_timeout', $2), `
          + `('idle_in_transaction_session_timeout', $3)) as setting(name, value) where current_setting(name) = '0'`
          + (reads === undefined ? "" : ` and not exists (select from ${reads} where false)`),
        [deadlines.lockTimeout, deadlines.statementTimeout, deadlines.idleInTransactionTimeout].map((millis) =>
          String(settingOf(millis))
        )
      ).withoutTransform,
      ([row]) => {
        began?.(row!.pid)
        const level = Context.getOrUndefined(fiber.context, sql.transactionService)
        if (observe !== undefined && level?.[0] instanceof BoundedConnection) level[0].observeBy(observe(row!.pid))
      }
    )
  )

/** PGlite runs statements on this thread, where no timer can end them. Its one connection serves all transactions of the process. */
const embedded = (deadlines: PgDeadlines): PgDeadlines => ({
  ...deadlines,
  connectionTimeout: deadlines.maintenanceTimeout,
  statementTimeout: Infinity,
  maintenanceTimeout: Infinity
})
