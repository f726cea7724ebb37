/**
 * Runs SQL statements of the stores.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { isSqlError } from "effect/sql/SqlError"
import type { EventStoreError } from "../core/errors.ts"
import type { PgConnections, TransactionOptions } from "./connections/PgConnections.ts"
import { fromSqlError, mapSqlError } from "./PgErrors.ts"

/**
 * Runs a statement and returns its rows, with the column names of the database whatever the client's transforms.
 *
 * @since 0.1.0
 * @category models
 */
export interface PgStatement {
  <Row extends object>(
    text: string,
    params: ReadonlyArray<unknown>,
    options?: StatementOptions
  ): Effect.Effect<ReadonlyArray<Row>, EventStoreError>
}

/**
 * Options of a statement.
 *
 * @since 0.1.0
 * @category options
 */
export interface StatementOptions {
  /** Whether its work grows with the data, so that it may take until the `maintenanceTimeout`. `false` by default. */
  readonly isMaintenance?: boolean | undefined
  /** Whether it finds out for what another statement waits, so that it may take some seconds after a shorter `statementTimeout`. `false` by default. */
  readonly isDiagnosis?: boolean | undefined
}

/** How long a statement may take that finds out for what another one waits, in milliseconds, if the `statementTimeout` is not longer. */
const diagnosisTimeout = 2_000

/**
 * Returns a function that runs statements on connections.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make =
  ({ deadlines, sql, statement }: PgConnections): PgStatement =>
  <Row extends object>(text: string, params: ReadonlyArray<unknown>, options?: StatementOptions) =>
    mapSqlError(
      statement(
        sql.unsafe<Row>(text, params).withoutTransform,
        options?.isMaintenance === true
          ? deadlines.maintenanceTimeout
          : options?.isDiagnosis === true
          ? Math.max(deadlines.statementTimeout, diagnosisTimeout)
          : undefined
      )
    )

/**
 * Runs an effect in a transaction of its own, or in a savepoint of the caller's.
 *
 * @since 0.1.0
 * @category combinators
 */
export const transactional = <A, E, R>(
  connections: PgConnections,
  effect: Effect.Effect<A, E, R>,
  options?: TransactionOptions
): Effect.Effect<A, E | EventStoreError, R> =>
  Effect.matchCauseEffect(connections.transaction(effect, options), {
    onSuccess: Effect.succeed,
    onFailure: (cause): Effect.Effect<never, E | EventStoreError> => {
      // In the caller's transaction the client cannot roll back after a lost connection, and dies with that error beside the original one.
      const lost = cause.reasons.map((reason) => Cause.isDieReason(reason) ? reason.defect : undefined).find(isSqlError)
      return lost === undefined
        ? Effect.catchIf(Effect.failCause(cause), isSqlError, (error) => Effect.fail(fromSqlError(error)))
        : Effect.fail(fromSqlError(lost))
    }
  })
