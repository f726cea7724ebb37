/**
 * Maps database errors to errors of the store.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { SqlError } from "effect/sql/SqlError"
import {
  type EventStoreError,
  OutcomeUnknown,
  storeError,
  StoreFailure,
  StoreMisconfigured,
  StoreUnavailable
} from "../core/errors.ts"
import { isTransient, sqlState } from "../core/sqlState.ts"

/** A read-only transaction or standby, a prepared statement that a pooler has lost, a check of the store itself (EV001). */
const misconfigured = /^(25006|26000|EV001|3D000|3F000|0A000)$/

const describe = (error: SqlError): string => {
  const state = sqlState(error)
  const { cause } = error.reason
  const detail = Predicate.hasProperty(cause, "message") && Predicate.isString(cause.message)
    ? cause.message
    : error.message
  return state === undefined ? detail : `${detail} (SQLSTATE ${state})`
}

/**
 * Returns the store's error for a statement that reads, or that certainly did not write.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromSqlError = (error: SqlError): EventStoreError => {
  const message = describe(error)
  const cause = error
  switch (error.reason._tag) {
    case "ConnectionError":
    case "DeadlockError":
    case "SerializationError":
    case "LockTimeoutError":
    case "StatementTimeoutError":
      return storeError(new StoreUnavailable({ message: `The database is unavailable: ${message}`, cause }))
    case "AuthenticationError":
    case "AuthorizationError":
      return storeError(new StoreMisconfigured({ message: `The database rejects this role: ${message}`, cause }))
    case "SqlSyntaxError":
      return storeError(
        new StoreMisconfigured({
          message: `The database does not have what this version of evsrc expects; have its migrations run? ${message}`,
          cause
        })
      )
    default:
      return isTransient(error)
        ? storeError(new StoreUnavailable({ message: `The database is unavailable: ${message}`, cause }))
        : misconfigured.test(sqlState(error) ?? "")
        ? storeError(new StoreMisconfigured({ message, cause }))
        : storeError(new StoreFailure({ message: `The database failed: ${message}`, cause }))
  }
}

/**
 * Returns whether the session ended while a statement was in flight, so that its outcome is unknown.
 *
 * @since 0.1.0
 * @category guards
 */
export const isConnectionLost = (error: SqlError): boolean =>
  (error.reason._tag === "ConnectionError" && error.reason.operation !== "connect")
  // A server that shuts down (57P01 to 57P03) ends the session at any point, also between the commit and its response.
  || (sqlState(error) ?? "").startsWith("57P")

/** An invalid value (22), a constraint (23), a limit of the server (54), a deadlock, a lock timeout. */
const ofOneAppend = /^(22|23|54|40P01|55P03)/

/**
 * Returns whether a statement of several appends may have failed because of one of them.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfOneAppend = (error: SqlError): boolean => ofOneAppend.test(sqlState(error) ?? "")

/**
 * Returns the store's error for an append. If the connection was lost after the statement was sent, that is `OutcomeUnknown`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromAppendError = (error: SqlError, stream: string): EventStoreError =>
  isConnectionLost(error)
    ? storeError(
      new OutcomeUnknown({
        stream,
        message: `The connection was lost during an append, which may or may not have been written: ${describe(error)}`,
        cause: error
      })
    )
    : fromSqlError(error)

/**
 * Maps the database errors of an effect to errors of the store.
 *
 * @since 0.1.0
 * @category combinators
 */
export const mapSqlError: <A, R>(
  self: Effect.Effect<A, SqlError, R>
) => Effect.Effect<A, EventStoreError, R> = Effect.mapError(fromSqlError)
