/**
 * What an error of the database means to the store.
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

/**
 * The SQLSTATE the server gave, if it gave one.
 *
 * @since 0.1.0
 * @category getters
 */
export const sqlState = (error: SqlError): string | undefined => {
  const { cause } = error.reason
  // Node's own errors have codes too (ECONNREFUSED).
  return Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) && /^[0-9A-Z]{5}$/.test(cause.code)
    ? cause.code
    : undefined
}

/** Resources exhausted (53), operator intervention such as a shutdown (57), system errors such as a full disk (58). */
const passing = /^(53|57|58)/
/** A read-only transaction or standby; a named statement that a pooler has lost; this store's own refusal of its surroundings. */
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
 * The store's error for a database error of a statement that reads, or that certainly did not write.
 *
 * @since 0.1.0
 * @category mapping
 */
export const fromSqlError = (error: SqlError): EventStoreError => {
  const message = describe(error)
  const cause = error
  const state = sqlState(error) ?? ""
  switch (error.reason._tag) {
    case "ConnectionError":
    case "DeadlockError":
    case "SerializationError":
    case "LockTimeoutError":
    case "StatementTimeoutError":
      return storeError(new StoreUnavailable({ message: `The database is unavailable: ${message}`, cause }))
    case "AuthenticationError":
    case "AuthorizationError":
      return storeError(new StoreMisconfigured({ message: `The database refuses this role: ${message}`, cause }))
    case "SqlSyntaxError":
      return storeError(
        new StoreMisconfigured({
          message: `The database does not have what this version of evsrc expects; have its migrations run? ${message}`,
          cause
        })
      )
    default:
      return passing.test(state)
        ? storeError(new StoreUnavailable({ message: `The database is unavailable: ${message}`, cause }))
        : misconfigured.test(state)
        ? storeError(new StoreMisconfigured({ message, cause }))
        : storeError(new StoreFailure({ message: `The database failed: ${message}`, cause }))
  }
}

/**
 * Whether the session ended with a statement under way, so that nobody knows what became of it.
 *
 * @since 0.1.0
 * @category guards
 */
export const isConnectionLost = (error: SqlError): boolean =>
  (error.reason._tag === "ConnectionError" && error.reason.operation !== "connect")
  // A server that is shutting down (57P01 to 57P03) ends the session at any point, also between commit and answer.
  || (sqlState(error) ?? "").startsWith("57P")

/** A value that is refused (22), a constraint (23), a limit of the server (54), a lock that one stream did not give in time. */
const ofOneAppend = /^(22|23|54|40P01|55P03)/

/**
 * Whether a statement of several appends failed for a reason that may be one's alone.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfOneAppend = (error: SqlError): boolean => ofOneAppend.test(sqlState(error) ?? "")

/**
 * The store's error for a database error of an append: a connection lost after the statement was sent leaves its outcome open.
 *
 * @since 0.1.0
 * @category mapping
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
 * Turns the database errors of an effect into the store's.
 *
 * @since 0.1.0
 * @category mapping
 */
export const mapSqlError: <A, R>(
  self: Effect.Effect<A, SqlError, R>
) => Effect.Effect<A, EventStoreError, R> = Effect.mapError(fromSqlError)
