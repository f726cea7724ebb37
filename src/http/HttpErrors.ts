/**
 * The errors of HTTP responses that no command or query declares. They contain no stack, no cause and no name of another stream;
 * the server logs these.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { ConcurrencyConflict, InvalidCommand, InvalidQuery, InvalidRequest, ProjectionBehind } from "../core/errors.ts"
import { Version } from "../core/Version.ts"
import * as Problem from "./Problem.ts"

const message = Schema.String

/**
 * A part of the request does not satisfy its Schema. `issues` lists all problems, each with the path of its field.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidInput extends Schema.TaggedError<InvalidInput>("evsrc/http/InvalidInput")("InvalidInput", {
  in: Schema.Literals(["path", "query", "headers", "body"]),
  issues: Schema.Array(Schema.Struct({ field: Schema.String, message: Schema.String })),
  message
}) {}

/**
 * The body of the request could not be read completely.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnreadableRequest
  extends Schema.TaggedError<UnreadableRequest>("evsrc/http/UnreadableRequest")("UnreadableRequest", { message })
{}

/**
 * The body of the request is larger than `maxBytes`.
 *
 * @since 0.1.0
 * @category errors
 */
export class BodyTooLarge extends Schema.TaggedError<BodyTooLarge>("evsrc/http/BodyTooLarge")("BodyTooLarge", {
  maxBytes: Schema.Int,
  message
}) {}

/**
 * The body of the request is not JSON by its `Content-Type`.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnsupportedMediaType
  extends Schema.TaggedError<UnsupportedMediaType>("evsrc/http/UnsupportedMediaType")("UnsupportedMediaType", {
    message
  })
{}

/**
 * The request has no credentials, or invalid ones.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unauthenticated
  extends Schema.TaggedError<Unauthenticated>("evsrc/http/Unauthenticated")("Unauthenticated", { message })
{}

/**
 * The stream is not at the version of `If-Match` or `If-None-Match`. Nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class PreconditionFailed
  extends Schema.TaggedError<PreconditionFailed>("evsrc/http/PreconditionFailed")("PreconditionFailed", {
    expected: Schema.Union([Version, Schema.Literals(["noStream", "streamExists"])]),
    actual: Version,
    message
  })
{}

/**
 * The `Idempotency-Key` belongs to another request. The status is that of draft-ietf-httpapi-idempotency-key-header.
 *
 * @since 0.1.0
 * @category errors
 */
export class IdempotencyKeyReused
  extends Schema.TaggedError<IdempotencyKeyReused>("evsrc/http/IdempotencyKeyReused")("IdempotencyKeyReused", {
    message
  })
{}

/**
 * Other appends violated the append condition of a decision, at every attempt. Nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class AppendConditionFailed
  extends Schema.TaggedError<AppendConditionFailed>("evsrc/http/AppendConditionFailed")("AppendConditionFailed", {
    message
  })
{}

/**
 * The stream is closed and accepts no more events.
 *
 * @since 0.1.0
 * @category errors
 */
export class StreamClosed extends Schema.TaggedError<StreamClosed>("evsrc/http/StreamClosed")("StreamClosed", {
  message
}) {}

/**
 * The personal data of the person was erased. Nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class SubjectErased extends Schema.TaggedError<SubjectErased>("evsrc/http/SubjectErased")("SubjectErased", {
  message
}) {}

/**
 * The log does not have the event of a cursor: the log was set back, or ends before the event.
 *
 * @since 0.1.0
 * @category errors
 */
export class LogDiverged extends Schema.TaggedError<LogDiverged>("evsrc/http/LogDiverged")("LogDiverged", {
  message
}) {}

/**
 * The list was rebuilt after the cursor was made.
 *
 * @since 0.1.0
 * @category errors
 */
export class CursorExpired extends Schema.TaggedError<CursorExpired>("evsrc/http/CursorExpired")("CursorExpired", {
  message
}) {}

/**
 * The store cannot be reached, or is too busy. Nothing was written. `Retry-After` says when to send the request again.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreUnavailable
  extends Schema.TaggedError<StoreUnavailable>("evsrc/http/StoreUnavailable")("StoreUnavailable", { message })
{}

/**
 * The write may or may not have happened. Send the request again with the same `Idempotency-Key` to find out.
 *
 * @since 0.1.0
 * @category errors
 */
export class OutcomeUnknown
  extends Schema.TaggedError<OutcomeUnknown>("evsrc/http/OutcomeUnknown")("OutcomeUnknown", { message })
{}

/**
 * The server is shutting down and did not complete the read.
 *
 * @since 0.1.0
 * @category errors
 */
export class ShuttingDown extends Schema.TaggedError<ShuttingDown>("evsrc/http/ShuttingDown")("ShuttingDown", {
  message
}) {}

/**
 * A fault of the server. Its log has the details.
 *
 * @since 0.1.0
 * @category errors
 */
export class InternalError extends Schema.TaggedError<InternalError>("evsrc/http/InternalError")("InternalError", {
  message
}) {}

/**
 * The errors of each request, besides those of its command or query.
 *
 * @since 0.1.0
 * @category errors
 */
export const requestErrors = [
  Problem.ofError(InvalidInput, 400),
  Problem.ofError(UnreadableRequest, 400),
  Problem.ofError(BodyTooLarge, 413),
  Problem.ofError(UnsupportedMediaType, 415),
  Problem.ofError(InternalError, 500),
  Problem.ofError(OutcomeUnknown, 503),
  Problem.ofError(ShuttingDown, 503)
] as const

/**
 * The errors of the stores in responses to reads.
 *
 * @since 0.1.0
 * @category errors
 */
export type ReadError = InvalidRequest | LogDiverged | CursorExpired | StoreUnavailable | InternalError

/**
 * The errors of the stores in responses to commands.
 *
 * @since 0.1.0
 * @category errors
 */
export type WriteError =
  | InvalidRequest
  | AppendConditionFailed
  | StreamClosed
  | SubjectErased
  | LogDiverged
  | IdempotencyKeyReused
  | StoreUnavailable
  | OutcomeUnknown
  | InternalError

/**
 * The errors of each endpoint of a command, besides those that the command declares.
 *
 * @since 0.1.0
 * @category errors
 */
export type CommandError = InvalidCommand | ConcurrencyConflict | PreconditionFailed | WriteError

/**
 * The errors of each endpoint of a query, besides those that the query declares.
 *
 * @since 0.1.0
 * @category errors
 */
export type QueryError = InvalidQuery | ProjectionBehind | ReadError

const readErrors = [
  Problem.ofError(InvalidRequest, 400),
  Problem.ofError(LogDiverged, 410),
  Problem.ofError(CursorExpired, 410),
  Problem.ofError(StoreUnavailable, 503),
  Problem.ofError(InternalError, 500)
]

/**
 * The Schemas of `ReadError` as responses.
 *
 * @since 0.1.0
 * @category errors
 */
export const ofReads: ReadonlyArray<Schema.Top> = readErrors

/**
 * The Schemas of `CommandError` as responses.
 *
 * @since 0.1.0
 * @category errors
 */
export const ofCommands: ReadonlyArray<Schema.Top> = [
  Problem.ofError(InvalidCommand, 400),
  Problem.ofError(ConcurrencyConflict, 409),
  Problem.ofError(PreconditionFailed, 412),
  Problem.ofError(AppendConditionFailed, 409),
  Problem.ofError(StreamClosed, 409),
  Problem.ofError(SubjectErased, 409),
  Problem.ofError(IdempotencyKeyReused, 422),
  Problem.ofError(OutcomeUnknown, 503),
  ...readErrors
]

/**
 * The Schemas of `QueryError` as responses.
 *
 * @since 0.1.0
 * @category errors
 */
export const ofQueries: ReadonlyArray<Schema.Top> = [
  Problem.ofError(InvalidQuery, 400),
  Problem.ofError(ProjectionBehind, 503),
  ...readErrors
]
