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
 * The body of the request is not JSON by its `Content-Type`, or has a `Content-Encoding`.
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
 * The `Idempotency-Key` belongs to another request. draft-ietf-httpapi-idempotency-key-header defines the status.
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
 * Returns the Schema of a tagged error as a response with a status, for an endpoint of your own. The body is a problem with the fields of the
 * error, `_tag` and `message`. Add `HttpProblems` to the endpoint.
 *
 * **Example** (an endpoint beside those of commands and queries)
 *
 * ```ts
 * HttpApiEndpoint.get("invoice", "/orders/:orderId/invoice", {
 *   params: { orderId: OrderId },
 *   success: Invoice,
 *   error: [...HttpErrors.ofQueries, HttpErrors.withStatus(OrderNotFound, 404)]
 * }).middleware(HttpProblems.HttpProblems)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const withStatus: <E extends Schema.Top>(
  error: E,
  status: Problem.ErrorStatus,
  /** When the error occurs, for the OpenAPI document; by default the `description` of the Schema. */
  description?: string
) => Problem.ProblemOf<E> = Problem.ofError

const internalError = withStatus(InternalError, 500, "A fault of the server. Its log has the details.")
const outcomeUnknown = withStatus(
  OutcomeUnknown,
  503,
  "The write may or may not have happened. Send the request again with the same `Idempotency-Key` to find out."
)

/**
 * The errors of each request, besides those of its command or query.
 *
 * @since 0.1.0
 * @category errors
 */
export const requestErrors = [
  withStatus(
    InvalidInput,
    400,
    "A part of the request does not satisfy its Schema. `in` names the part, `issues` lists each field."
  ),
  withStatus(UnreadableRequest, 400, "The body could not be read completely."),
  withStatus(BodyTooLarge, 413, "The body is larger than `maxBytes`."),
  withStatus(UnsupportedMediaType, 415, "The body is not JSON by its `Content-Type`, or has a `Content-Encoding`."),
  internalError,
  outcomeUnknown,
  withStatus(ShuttingDown, 503, "The server is shutting down and did not complete the read.")
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

type Responses<E> = ReadonlyArray<Schema.Codec<E, unknown>>

const ofStores: Responses<Exclude<ReadError, CursorExpired>> = [
  withStatus(InvalidRequest, 400, "The store rejected a value, such as a name that is too long."),
  withStatus(LogDiverged, 410, "The log does not have the event of the cursor. Start again without the cursor."),
  withStatus(
    StoreUnavailable,
    503,
    "The store cannot be reached, or is too busy. Nothing was written. `Retry-After` says when to send the request again."
  ),
  internalError
]

/**
 * The Schemas of `ReadError` as responses.
 *
 * @since 0.1.0
 * @category errors
 */
export const ofReads: Responses<ReadError> = [
  withStatus(CursorExpired, 410, "The list was rebuilt after the cursor was made. Start again without the cursor."),
  ...ofStores
]

/**
 * The Schemas of `CommandError` as responses.
 *
 * @since 0.1.0
 * @category errors
 */
export const ofCommands: Responses<CommandError> = [
  withStatus(InvalidCommand, 400, "The command rejected its payload."),
  withStatus(
    ConcurrencyConflict,
    409,
    "Other writes conflicted with every attempt of the command, or with the expected version. `actual` is the version."
  ),
  withStatus(
    PreconditionFailed,
    412,
    "`If-Match` or `If-None-Match` does not hold. `actual` is the version. Nothing was written."
  ),
  withStatus(
    AppendConditionFailed,
    409,
    "Other writes violated the append condition of a decision at every attempt. Nothing was written."
  ),
  withStatus(StreamClosed, 409, "The stream is closed and accepts no more events. Nothing was written."),
  withStatus(SubjectErased, 409, "The personal data of the person was erased. Nothing was written."),
  withStatus(
    IdempotencyKeyReused,
    422,
    "The `Idempotency-Key` belongs to another request: another operation, another path or another body."
  ),
  outcomeUnknown,
  ...ofStores
]

/**
 * The Schemas of `QueryError` as responses.
 *
 * @since 0.1.0
 * @category errors
 */
export const ofQueries: Responses<QueryError> = [
  withStatus(InvalidQuery, 400, "The query rejected its payload."),
  withStatus(
    ProjectionBehind,
    503,
    "The read model did not reach `after` in time. `Retry-After` says when to send the request again."
  ),
  ...ofReads
]
