/**
 * Runs SQL statements of the stores.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import { isSqlError } from "effect/sql/SqlError"
import type { EventStoreError } from "../core/errors.ts"
import { fromSqlError, mapSqlError } from "./PgErrors.ts"

/**
 * Runs a statement and returns its rows, with the column names of the database whatever the client's transforms.
 *
 * @since 0.1.0
 * @category models
 */
export type PgStatement = <Row extends object>(
  text: string,
  params: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<Row>, EventStoreError>

/**
 * Returns a function that runs statements with a client.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make =
  (sql: SqlClient): PgStatement => <Row extends object>(text: string, params: ReadonlyArray<unknown>) =>
    mapSqlError(sql.unsafe<Row>(text, params).withoutTransform)

/**
 * Runs an effect in a transaction of the client, or of the caller.
 *
 * @since 0.1.0
 * @category combinators
 */
export const transactional = <A, E, R>(
  sql: SqlClient,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | EventStoreError, R> =>
  Effect.matchCauseEffect(sql.withTransaction(effect), {
    onSuccess: Effect.succeed,
    onFailure: (cause): Effect.Effect<never, E | EventStoreError> => {
      // After a lost connection the client cannot roll back, and dies with that error beside the original one.
      const lost = cause.reasons.map((reason) => Cause.isDieReason(reason) ? reason.defect : undefined).find(isSqlError)
      return lost === undefined
        ? Effect.catchIf(Effect.failCause(cause), isSqlError, (error) => Effect.fail(fromSqlError(error)))
        : Effect.fail(fromSqlError(lost))
    }
  })
