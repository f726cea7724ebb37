/**
 * Middleware that answers failed requests with problem details: input that does not satisfy its Schema, a body that is too large or not JSON, a
 * defect, an interruption.
 *
 * @since 0.1.0
 */
import * as ByteSize from "effect/ByteSize"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { HttpApiSchemaError } from "effect/http-api/HttpApiError"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as SchemaIssue from "effect/SchemaIssue"
import type { unhandled } from "effect/Types"
import * as HttpErrors from "./HttpErrors.ts"
import * as Kit from "./Kit.ts"

/**
 * The middleware. Each endpoint of a command or a query has it; add it to other endpoints, or to the whole API, by `.middleware(HttpProblems)`.
 *
 * @since 0.1.0
 * @category services
 */
export class HttpProblems extends HttpApiMiddleware.Service<HttpProblems>()("evsrc/http/HttpProblems", {
  error: HttpErrors.requestErrors
}) {}

/**
 * The largest body of a request: 1 MiB.
 *
 * @since 0.1.0
 * @category references
 */
export const MaxBodySize = Context.Reference<ByteSize.ByteSize>("evsrc/http/HttpProblems/MaxBodySize", {
  defaultValue: () => ByteSize.mebibytes(1)
})

type RequestError = typeof HttpErrors.requestErrors[number]["Type"]

/**
 * The answer to a fault of the server.
 *
 * @since 0.1.0
 * @category errors
 */
export const internalError = (): HttpErrors.InternalError =>
  new HttpErrors.InternalError({ message: "The server failed to process the request; its log has the details" })

/**
 * The answer to a write that was interrupted.
 *
 * @since 0.1.0
 * @category errors
 */
export const outcomeUnknown = (): HttpErrors.OutcomeUnknown =>
  new HttpErrors.OutcomeUnknown({
    message:
      "The write was interrupted, so it may or may not have happened. Send the request again with the same Idempotency-Key to find out; "
      + "if the request had no key, first read the data that it changes"
  })

const format = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) =>
    issue._tag === "UnexpectedKey"
      ? "is not a known field; check its spelling"
      : issue._tag === "MissingKey"
      ? "is missing"
      : SchemaIssue.defaultLeafHook(issue)
})

/** The parts of a request by kind of schema error. Other kinds concern the response, which is a fault of the server. */
const parts = { Params: "path", Query: "query", Headers: "headers", Payload: "body" } as const

const isOfRequest = (kind: HttpApiSchemaError["kind"]): kind is keyof typeof parts => kind in parts

const ofSchemaError = ({ cause, kind }: HttpApiSchemaError): HttpErrors.InvalidInput | undefined => {
  if (!isOfRequest(kind)) return undefined
  const issues = format(cause.issue).issues.map(({ message, path }) => ({
    field: (path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join("."),
    message
  }))
  const problems = issues.map(({ field, message }) => field === "" ? message : `${field}: ${message}`).join("; ")
  return new HttpErrors.InvalidInput({ in: parts[kind], issues, message: `Invalid ${parts[kind]}: ${problems}` })
}

/** Closes the connection instead of reading the rest of the body. */
const closeConnection = HttpEffect.appendPreResponseHandler((_, response) =>
  Effect.succeed(HttpServerResponse.setHeader(response, "connection", "close"))
)

/**
 * Returns the answer to a request that was interrupted: a write may or may not have happened.
 *
 * @since 0.1.0
 * @category errors
 */
export const interrupted = (method: string) =>
  method === "GET" || method === "HEAD" || method === "OPTIONS"
    ? new HttpErrors.ShuttingDown({ message: "The server is shutting down; send the request again" })
    : outcomeUnknown()

const ofReason = (
  failure: unknown,
  maxBody: ByteSize.ByteSize
): Effect.Effect<never, RequestError, HttpServerRequest.HttpServerRequest> | undefined => {
  if (HttpApiSchemaError.is(failure)) {
    const invalid = ofSchemaError(failure)
    return invalid === undefined ? undefined : Effect.fail(invalid)
  }
  if (!HttpServerError.isHttpServerError(failure) || failure.reason._tag !== "RequestParseError") return undefined
  if (failure.reason.reason !== "BodyTooLarge") {
    return Effect.fail(
      new HttpErrors.UnreadableRequest({ message: "The body of the request could not be read completely" })
    )
  }
  return bodyTooLarge(maxBody)
}

const bodyTooLarge = (maxBody: ByteSize.ByteSize) => {
  const maxBytes = ByteSize.toNumberUnsafe(maxBody)
  return Effect.andThen(
    closeConnection,
    Effect.fail(
      new HttpErrors.BodyTooLarge({ maxBytes, message: `The body must have at most ${maxBytes} bytes` })
    )
  )
}

/** Fails for a body that the headers show to be too large or compressed, before it arrives. */
const checkBody = Effect.fnUntraced(function*(maxBody: ByteSize.ByteSize) {
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  const encoding = headers["content-encoding"]
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    const message = "The server does not accept a body with Content-Encoding; send it uncompressed"
    return yield* new HttpErrors.UnsupportedMediaType({ message })
  }
  if (Number(headers["content-length"]) > ByteSize.toNumberUnsafe(maxBody)) return yield* bodyTooLarge(maxBody)
})

/**
 * Returns whether the client has disconnected.
 *
 * @since 0.1.0
 * @category guards
 */
export const isClientAbort = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => reason.annotations.has(HttpServerError.ClientAbort.key))

const ofCause = (maxBody: ByteSize.ByteSize) =>
(
  cause: Cause.Cause<unhandled>
): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  unhandled | RequestError,
  HttpServerRequest.HttpServerRequest
> => {
  for (const reason of cause.reasons) {
    const failure = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
    if (HttpServerResponse.isHttpServerResponse(failure)) return Effect.succeed(failure)
    const answer = ofReason(failure, maxBody)
    if (answer !== undefined) return answer
    // An error that the endpoint declares.
    if (Cause.isFailReason(reason) && !HttpApiSchemaError.is(failure) && Predicate.hasProperty(failure, "_tag")) {
      return Effect.failCause(cause)
    }
  }
  if (!Cause.hasInterruptsOnly(cause)) {
    return Effect.andThen(Effect.logError("A request failed", cause), Effect.fail(internalError()))
  }
  return isClientAbort(cause)
    ? Effect.failCause(cause)
    : Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ method }) => Effect.fail(interrupted(method)))
}

/**
 * Provides the middleware.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<HttpProblems> = Layer.succeed(
  HttpProblems,
  (handle: Effect.Effect<HttpServerResponse.HttpServerResponse, unhandled>, { endpoint }) =>
    Effect.gen(function*() {
      const maxBody = (yield* HttpIncomingMessage.MaxBodySize) ?? (yield* MaxBodySize)
      // Other endpoints may accept uploads or decompress bodies.
      if (Kit.of(endpoint) !== undefined) yield* checkBody(maxBody)
      const response = yield* handle.pipe(
        Effect.provideService(HttpIncomingMessage.MaxBodySize, maxBody),
        // The route is uninterruptible, so that the server sends the answer to an interruption.
        Effect.interruptible,
        Effect.catchCause(ofCause(maxBody))
      )
      // HttpApi answers 415 without details.
      return response.status === 415
        ? yield* Effect.fail(
          new HttpErrors.UnsupportedMediaType({ message: "The Content-Type of the body must be application/json" })
        )
        : response
    })
)
