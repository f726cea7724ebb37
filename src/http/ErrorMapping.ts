/**
 * Maps the errors of commands, queries and the stores to the errors of HTTP responses. The server logs the details; no response contains
 * them.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as HttpEffect from "effect/http/HttpEffect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { type ConcurrencyConflict, EventStoreError, InvalidRequest, ProjectionBehind } from "../core/errors.ts"
import * as HttpErrors from "./HttpErrors.ts"
import { internalError, outcomeUnknown } from "./HttpProblems.ts"

type Request = HttpServerRequest.HttpServerRequest

const fail = <E>(error: E): Effect.Effect<never, E> => Effect.fail(error)

/** Sets `Retry-After` to one second. */
const retryAfter = HttpEffect.appendPreResponseHandler((_, response) =>
  Effect.succeed(HttpServerResponse.setHeader(response, "retry-after", "1"))
)

/**
 * Returns an effect that sets `Retry-After` when it fails because a read model is behind.
 *
 * @since 0.1.0
 * @category errors
 */
export const retryWhenBehind = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Request> =>
  Effect.tapError(self, (error) => error instanceof ProjectionBehind ? retryAfter : Effect.void)

const unavailable = (error: EventStoreError) =>
  Effect.logWarning("The store is unavailable", error).pipe(
    Effect.andThen(retryAfter),
    Effect.andThen(fail(
      new HttpErrors.StoreUnavailable({
        message:
          "The database or the key store cannot be reached, or did not respond in time. Nothing was written; try again later"
      })
    ))
  )

/**
 * Maps an error of reading the stores.
 *
 * @since 0.1.0
 * @category errors
 */
export const ofRead = (error: EventStoreError): Effect.Effect<never, HttpErrors.ReadError, Request> => {
  switch (error.reason._tag) {
    case "InvalidRequest":
      return fail(new InvalidRequest({ message: error.reason.message }))
    case "LogDiverged":
      return fail(
        new HttpErrors.LogDiverged({
          message: "The log does not have the event of this cursor; start again without the cursor"
        })
      )
    case "CursorExpired":
      return fail(
        new HttpErrors.CursorExpired({
          message: "The list was rebuilt after this cursor was made; start again without the cursor"
        })
      )
    case "StoreUnavailable":
    case "KeyStoreUnavailable":
      return unavailable(error)
    default:
      return Effect.andThen(Effect.logError("The store failed", error), fail(internalError()))
  }
}

const neverExpires = (error: HttpErrors.ReadError) => error._tag === "CursorExpired" ? Effect.die(error) : fail(error)

/**
 * Maps an error of writing to the store.
 *
 * @since 0.1.0
 * @category errors
 */
export const ofWrite = (error: EventStoreError): Effect.Effect<never, HttpErrors.WriteError, Request> => {
  switch (error.reason._tag) {
    case "CommandIdReused":
      return fail(
        new HttpErrors.IdempotencyKeyReused({
          message:
            "This Idempotency-Key belongs to another request: another operation, another path, or another body. Use a new key for each request"
        })
      )
    case "OutcomeUnknown":
      return Effect.logWarning("The outcome of a write is unknown", error).pipe(
        Effect.andThen(retryAfter),
        Effect.andThen(fail(outcomeUnknown()))
      )
    case "AppendConditionFailed":
      return fail(
        new HttpErrors.AppendConditionFailed({
          message:
            "Concurrent writes changed the events that the request depends on. Nothing was written; send the request again"
        })
      )
    case "StreamClosed":
      return fail(
        new HttpErrors.StreamClosed({ message: "The stream is closed and accepts no more events. Nothing was written" })
      )
    case "SubjectErased":
      return fail(
        new HttpErrors.SubjectErased({
          message:
            "The personal data of this person was erased. Nothing was written; a person who returns needs a new id"
        })
      )
    default:
      return Effect.catch(ofRead(error), neverExpires)
  }
}

/**
 * Maps a conflict with a version that the request expected; returns any other conflict unchanged.
 *
 * @since 0.1.0
 * @category errors
 */
export const ofConflict = (
  conflict: ConcurrencyConflict,
  header: "if-match" | "if-none-match" | undefined
): ConcurrencyConflict | HttpErrors.PreconditionFailed => {
  const { actual, expected } = conflict
  if (header === undefined || expected === "any") return conflict
  const message = expected === "noStream"
    ? `The stream exists already, at version ${actual}, so If-None-Match does not hold. Nothing was written`
    : actual === 0
    ? "The stream does not exist, so If-Match does not hold. Nothing was written"
    : `The stream is at version ${actual}, so If-Match does not hold. Nothing was written; read the current version first`
  return new HttpErrors.PreconditionFailed({ expected, actual, message })
}

/**
 * Returns an effect whose errors of the stores are those of HTTP responses.
 *
 * @since 0.1.0
 * @category errors
 */
export const mapStoreErrors =
  <M>(map: (error: EventStoreError) => Effect.Effect<never, M, Request>) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, Exclude<E, EventStoreError> | M, R | Request> =>
    Effect.catch(
      self,
      (error): Effect.Effect<never, Exclude<E, EventStoreError> | M, Request> =>
        error instanceof EventStoreError
          ? map(error)
          // Not an error of the stores.
          : Effect.fail(error as Exclude<E, EventStoreError>)
    )
