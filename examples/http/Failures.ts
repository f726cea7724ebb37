/**
 * What commands and queries fail with besides their own errors, as HTTP tells it. The details of the database stay in the log.
 */
import * as Effect from "effect/Effect"
import { ConcurrencyConflict, EventStoreError, InvalidCommand, InvalidQuery } from "evsrc"
import type { UserId } from "../users/contract/User.ts"
import { UserNotFound } from "../users/contract/UserErrors.ts"
import {
  IdempotencyKeyReused,
  InternalError,
  InvalidRequest,
  OutcomeUnknown,
  type readErrors,
  StoreUnavailable,
  type writeErrors
} from "./contract/HttpErrors.ts"

export const internalError = InternalError.make({
  message: "Something went wrong on our side; the log of the server says what"
})

const storeUnavailable = StoreUnavailable.make({
  message: "The database cannot be reached at the moment, and nothing was written; try again"
})

const outcomeUnknown = OutcomeUnknown.make({
  message:
    "The connection to the database was lost during the write, which may have happened or not. Send the request again "
    + "under the same Idempotency-Key to find out"
})

export const keyReused = IdempotencyKeyReused.make({
  message: "This Idempotency-Key was used before, for another request; give every request a key of its own"
})

type ReadFailure = typeof readErrors[number]["Type"]
type WriteFailure = typeof writeErrors[number]["Type"]

/** The failures of whatever reads the store. */
export const readFailure = (error: EventStoreError): Effect.Effect<never, ReadFailure> => {
  switch (error.reason._tag) {
    case "InvalidRequest":
      return Effect.fail(InvalidRequest.make({ message: error.message }))
    case "StoreUnavailable":
      return Effect.andThen(Effect.logWarning("The store is unavailable", error), Effect.fail(storeUnavailable))
    default:
      return Effect.andThen(Effect.logError("The store failed", error), Effect.fail(internalError))
  }
}

const writeFailure = (error: EventStoreError): Effect.Effect<never, WriteFailure> => {
  switch (error.reason._tag) {
    case "CommandIdReused":
      return Effect.fail(keyReused)
    case "OutcomeUnknown":
      return Effect.andThen(Effect.logWarning("The outcome of a write is unknown", error), Effect.fail(outcomeUnknown))
    default:
      return readFailure(error)
  }
}

/** The failures of a query. */
export const ofQuery = <A, E, R>(
  self: Effect.Effect<A, E | EventStoreError | InvalidQuery, R>
): Effect.Effect<A, E | ReadFailure, R> =>
  Effect.catch(
    self,
    (error): Effect.Effect<never, E | ReadFailure> =>
      error instanceof EventStoreError
        ? readFailure(error)
        : error instanceof InvalidQuery
        ? Effect.fail(InvalidRequest.make({ message: error.message }))
        : Effect.fail(error)
  )

/** The failures of a command. */
export const ofCommand = <A, E, R>(
  self: Effect.Effect<A, E | EventStoreError | InvalidCommand, R>
): Effect.Effect<A, E | WriteFailure, R> =>
  Effect.catch(
    self,
    (error): Effect.Effect<never, E | WriteFailure> =>
      error instanceof EventStoreError
        ? writeFailure(error)
        : error instanceof InvalidCommand
        ? Effect.fail(InvalidRequest.make({ message: error.message }))
        : Effect.fail(error)
  )

/** Whoever expects a version of a user who does not exist is told so, rather than of a conflict. */
export const absentIsNotFound =
  (userId: UserId) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | UserNotFound, R> =>
    Effect.catchIf(
      self,
      (error) => error instanceof ConcurrencyConflict && error.actual === 0,
      () => Effect.fail(new UserNotFound({ userId }))
    )
