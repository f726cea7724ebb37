/**
 * Appends that do not take part in group commit: within a transaction, on a condition, or closing a stream.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SqlClient } from "effect/sql/SqlClient"
import type { EventStoreError } from "../../core/errors.ts"
import { encodedEventsOf } from "../../eventStore/AppendCodec.ts"
import type { AppendRequest, AppendResult } from "../../eventStore/EventStoreDriver.ts"
import { fromAppendError, fromTransactionalAppendError, sqlErrorOf } from "../PgErrors.ts"
import type { PgAppend } from "./PgAppend.ts"

/**
 * Returns a function that appends in the caller's transaction; or in one of its own, if the request has an effect to run in it. It wakes
 * the readers after the commit.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (sql: SqlClient, statements: PgAppend, wakeReaders: Effect.Effect<void>) => {
  const appendWith = (request: AppendRequest): Effect.Effect<AppendResult, EventStoreError> => {
    const { inTransaction, stream } = request
    const append = Effect.flatMap(statements.single(request), (row) => statements.resolve(request, row))
    if (inTransaction === undefined) {
      return Effect.catchTag(
        append,
        "SqlError",
        (error) =>
          Effect.flatMap(Effect.serviceOption(sql.transactionService), (transaction) =>
            Effect.fail(
              // The caller's transaction was not committed, so a lost connection has written nothing.
              Option.isSome(transaction)
                ? fromTransactionalAppendError(error, stream)
                : fromAppendError(error, stream)
            ))
      )
    }
    return append.pipe(
      Effect.tap((result) =>
        result._tag === "Appended" ? inTransaction(encodedEventsOf(request, result)) : Effect.void
      ),
      sql.withTransaction,
      Effect.catchCause((cause) => {
        const sqlError = sqlErrorOf(cause)
        return sqlError === undefined ? Effect.failCause(cause) : Effect.fail(fromAppendError(sqlError, stream))
      }),
      Effect.catchTag("SqlError", (error) => Effect.fail(fromAppendError(error, stream)))
    )
  }
  return (request: AppendRequest): Effect.Effect<AppendResult, EventStoreError> =>
    Effect.tap(
      appendWith(request),
      (result) => result._tag === "Appended" ? sql.afterCommit(wakeReaders) : Effect.void
    )
}
