/**
 * Maps database errors to errors of the store.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import {
  type EventStoreError,
  GenerationDiscarded,
  InlineProjectionMissing,
  OutcomeUnknown,
  storeError,
  StoreFailure,
  StoreMisconfigured,
  StoreUnavailable
} from "../core/errors.ts"
import { isTransient, sqlState } from "../core/sqlState.ts"

/** A read-only transaction or standby, a prepared statement that a pooler has lost, a check of the store itself (EV001, EV005). */
const misconfigured = /^(25006|26000|EV001|EV005|3D000|3F000|0A000)$/

/** Node's codes of a certificate or a host name that TLS rejects, of a failed TLS handshake, and of a socket without permission. */
const rejectedByTls =
  /^(ERR_TLS|ERR_SSL|ERR_OSSL|CERT_|CRL_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_|EPROTO$|EACCES$)/

/** The client's words for an address or options with which it does not even try to connect, and for a server without TLS. */
const invalidConnectionOptions = new RegExp(
  "PgConnection: (Invalid (connection URL|percent-encoding|port|connect_timeout)|Unsupported connection URL|Unrecognized sslmode"
    + "|No username|keepAlive must|Reserved startup parameter|Startup parameter|Server refused TLS)"
)

const causeCode = ({ reason: { cause } }: SqlError): string =>
  Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) ? cause.code : ""

const isConnecting = ({ reason }: SqlError): boolean => reason.operation === "connect"

/** Returns whether a connection attempt failed for a reason that lasts until someone changes the configuration. */
const cannotConnect = (error: SqlError): boolean => {
  if (!isConnecting(error)) return false
  const state = sqlState(error)
  return state === undefined
    ? rejectedByTls.test(causeCode(error)) || invalidConnectionOptions.test(error.reason.message ?? "")
      // Bun and Deno have other codes.
      || /certificate/i.test(detailOf(error))
    : !state.startsWith("08") && !isTransient(error)
}

const detailOf = ({ message, reason: { cause } }: SqlError): string =>
  Predicate.hasProperty(cause, "message") && Predicate.isString(cause.message) ? cause.message : message

/** The store's own checks say in the hint what to do. */
const hintOf = ({ reason: { cause } }: SqlError): string =>
  Predicate.hasProperty(cause, "hint") && Predicate.isString(cause.hint) ? `. ${cause.hint}` : ""

/** Returns a field that a function of the store has set for an error; empty without it. */
const fieldOf = ({ reason: { cause } }: SqlError, name: string): string => {
  const value = Predicate.hasProperty(cause, name) ? cause[name] : undefined
  return Predicate.isString(value) ? value : ""
}

const describe = (error: SqlError): string => {
  const state = sqlState(error)
  const detail = state === "EV001" || state === "EV005" ? `${detailOf(error)}${hintOf(error)}` : detailOf(error)
  return state === undefined ? detail : `${detail} (SQLSTATE ${state})`
}

/** Whether the client has closed the connection because a row is larger than it reads. */
const isTooLarge = (error: SqlError): boolean =>
  error.reason._tag === "ConnectionError" && detailOf(error).includes("exceeds maxMessageSize")

/**
 * Returns the store's error for a statement that reads, or that certainly did not write.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromSqlError = (error: SqlError): EventStoreError => {
  const message = describe(error)
  const cause = error
  if (sqlState(error) === "EV004") {
    return storeError(new GenerationDiscarded({ generation: fieldOf(error, "constraint") }))
  }
  if (cannotConnect(error)) {
    return storeError(
      new StoreMisconfigured({
        message: `The client cannot connect with this configuration: ${message}; `
          + "check the URL, the user, the password, the database and the TLS options",
        // The cause of an invalid URL holds the URL with its password.
        cause: causeCode(error) === "ERR_INVALID_URL" ? undefined : cause
      })
    )
  }
  if (isTooLarge(error)) {
    return storeError(
      new StoreMisconfigured({
        message:
          `The client does not read a row that is so large: ${message}; raise maxMessageSize of PgClient in all programs`,
        cause
      })
    )
  }
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
  // While connecting, no statement has been sent, whatever the server responds.
  !isConnecting(error) && (
    error.reason._tag === "ConnectionError"
    // A server that shuts down (57P01 to 57P03) ends the session at any point, also between the commit and its response.
    || (sqlState(error) ?? "").startsWith("57P")
  )

/**
 * Returns the first database error of a cause, also if it is a defect: after a lost connection the client cannot roll back, and dies with
 * that error beside the original one.
 *
 * @since 0.1.0
 * @category accessors
 */
export const sqlErrorOf = (cause: Cause.Cause<unknown>): SqlError | undefined =>
  cause.reasons.map((reason) =>
    Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
  ).find(isSqlError)

/**
 * An invalid value (22), a constraint (23), a limit of the server (54), a deadlock, a lock timeout, a required, a discarded or a retired inline
 * projection.
 */
const ofOneAppend = /^(22|23|54|40P01|55P03|EV003|EV004|EV005)/

/**
 * Returns whether a statement of several appends may have failed because of one of them.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfOneAppend = (error: SqlError): boolean => ofOneAppend.test(sqlState(error) ?? "")

/** An invalid value (22), exhausted resources (53), a limit of the server (54), damaged data (XX). A row may be too large for the client, too. */
const ofOneRead = /^(22|53|54|XX)/

/**
 * Returns whether a statement of several reads may have failed because of one of them.
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfOneRead = ({ reason }: EventStoreError): boolean =>
  "cause" in reason && isSqlError(reason.cause)
  && (ofOneRead.test(sqlState(reason.cause) ?? "") || isTooLarge(reason.cause))

/** Returns the error of an append that `record_inline_gaps` rejects; it names the projection and the type in fields of the error. */
const inlineProjectionMissing = (error: SqlError, stream: string): EventStoreError | undefined => {
  if (sqlState(error) !== "EV003") return undefined
  return storeError(
    new InlineProjectionMissing({
      projection: fieldOf(error, "constraint"),
      stream,
      type: fieldOf(error, "dataType")
    })
  )
}

/** Returns the error of an append whose position another event has. */
const sequenceBehind = (error: SqlError): EventStoreError | undefined => {
  if (sqlState(error) !== "23505" || fieldOf(error, "constraint") !== "events_pkey") return undefined
  return storeError(
    new StoreMisconfigured({
      message:
        `An append has drawn a position that another event has. The sequence of positions is behind the events; stop all programs, and `
        + `start one: it says what to run. ${describe(error)}`,
      cause: error
    })
  )
}

/**
 * Returns the store's error for an append in a transaction of the caller, of which a lost connection leaves nothing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromTransactionalAppendError = (error: SqlError, stream: string): EventStoreError =>
  inlineProjectionMissing(error, stream) ?? sequenceBehind(error) ?? fromSqlError(error)

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
        message:
          `The connection was lost during an append, which may or may not have been written: ${describe(error)}; `
          + "append again under the same command id to find out",
        cause: error
      })
    )
    : fromTransactionalAppendError(error, stream)

/**
 * Maps the database errors of an effect to errors of the store.
 *
 * @since 0.1.0
 * @category combinators
 */
export const mapSqlError: <A, R>(
  self: Effect.Effect<A, SqlError, R>
) => Effect.Effect<A, EventStoreError, R> = Effect.mapError(fromSqlError)
