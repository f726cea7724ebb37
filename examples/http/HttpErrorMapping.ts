/**
 * Maps the errors of the store, of commands and of queries to HTTP errors. The server logs the details of the database; no response
 * contains them. The domain's own errors pass through: `contract/HttpErrors.ts` gives them their status.
 */
import * as Effect from "effect/Effect"
import { ConcurrencyConflict, EventStoreError, InvalidCommand, InvalidQuery, ProjectionBehind } from "evsrc"
import type { UserId } from "../users/contract/User.ts"
import { UserNotFound } from "../users/contract/UserErrors.ts"
import {
  CursorExpired,
  IdempotencyKeyReused,
  InternalError,
  InvalidRequest,
  LogDiverged,
  OutcomeUnknown,
  type readErrors,
  StoreUnavailable,
  type writeErrors
} from "./contract/HttpErrors.ts"

export const internalError = InternalError.make({
  message: "The server failed to process the request; its log has the details"
})

const storeUnavailable = StoreUnavailable.make({
  message: "The database cannot be reached, or did not respond in time. Nothing was written; try again later"
})

export const outcomeUnknown = OutcomeUnknown.make({
  message:
    "The write was interrupted, so it may or may not have happened. Send the request again with the same Idempotency-Key to find out; "
    + "if it had none, read first what it changes"
})

const keyReused = IdempotencyKeyReused.make({
  message:
    "This Idempotency-Key belongs to another request: another operation, another user or order, or another body. Use a new key for each request"
})

type ReadError = typeof readErrors[number]["Type"]
type WriteError = typeof writeErrors[number]["Type"]

/** Maps an error of reading the store. */
export const toReadError = (error: EventStoreError): Effect.Effect<never, ReadError> => {
  switch (error.reason._tag) {
    case "InvalidRequest":
      return Effect.fail(InvalidRequest.make({ message: error.message }))
    case "StoreUnavailable":
      return Effect.andThen(Effect.logWarning("The store is unavailable", error), Effect.fail(storeUnavailable))
    default:
      return Effect.andThen(Effect.logError("The store failed", error), Effect.fail(internalError))
  }
}

/** Maps an error of writing to the store. */
const toWriteError = (error: EventStoreError): Effect.Effect<never, WriteError> => {
  switch (error.reason._tag) {
    case "CommandIdReused":
      return Effect.fail(keyReused)
    case "OutcomeUnknown":
      return Effect.andThen(Effect.logWarning("The outcome of a write is unknown", error), Effect.fail(outcomeUnknown))
    default:
      return toReadError(error)
  }
}

/** The answer to a cursor whose event the log does not have. */
export const cursorLost = LogDiverged.make({
  message: "The log does not have the event of this cursor; start again without it"
})

/** Maps an error of reading the log after a cursor that a client gave. */
export const toCursorError = (error: EventStoreError): Effect.Effect<never, ReadError | typeof LogDiverged.Type> =>
  error.reason._tag === "LogDiverged"
    ? Effect.fail(cursorLost)
    : toReadError(error)

/** Maps the expiry of the cursor of a list, and leaves other errors. */
export const mapCursorExpired = <A, E, R>(self: Effect.Effect<A, E | EventStoreError, R>) =>
  Effect.catchIf(
    self,
    (error): error is EventStoreError & E => error instanceof EventStoreError && error.reason._tag === "CursorExpired",
    () =>
      Effect.fail(
        CursorExpired.make({ message: "The list was rebuilt since this cursor was made; start again without it" })
      )
  )

/** Returns a function that maps the store's errors by `map`, and the rejection of a command's or a query's payload. */
const mapErrors = <M>(map: (error: EventStoreError) => Effect.Effect<never, M>) =>
<A, E, R>(
  self: Effect.Effect<A, E | EventStoreError | InvalidCommand | InvalidQuery, R>
): Effect.Effect<A, E | M | typeof InvalidRequest.Type, R> =>
  Effect.catch(
    self,
    (error): Effect.Effect<never, E | M | typeof InvalidRequest.Type> =>
      error instanceof EventStoreError
        ? map(error)
        : error instanceof InvalidCommand || error instanceof InvalidQuery
        ? Effect.fail(InvalidRequest.make({ message: error.message }))
        : Effect.fail(error)
  )

/** Maps the store's and input errors of a query. */
export const mapQueryErrors = mapErrors(toCursorError)

/** Maps the store's and input errors of a query that depends on no cursor. */
export const mapReadErrors = mapErrors(toReadError)

/** Maps the store's and input errors of a command. */
export const mapCommandErrors = mapErrors(toWriteError)

/** For queries that depend on no projection that may be behind, so they never fail with `ProjectionBehind`. */
export const neverBehind = <A, E, R>(self: Effect.Effect<A, E | ProjectionBehind, R>) =>
  Effect.catchIf(self, (error): error is ProjectionBehind => error instanceof ProjectionBehind, Effect.die)

/** Maps a conflict on a user that does not exist to `UserNotFound`: an `If-Match` for it cannot be satisfied. */
export const absentIsNotFound =
  (userId: UserId) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | UserNotFound, R> =>
    Effect.catchIf(
      self,
      (error) => error instanceof ConcurrencyConflict && error.actual === 0,
      () => Effect.fail(new UserNotFound({ userId }))
    )
