/**
 * JSON responses to requests that no endpoint handles: unknown routes and methods, bodies that are too large or of another type, and
 * defects, which are logged.
 */
import * as ByteSize from "effect/ByteSize"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type { unhandled } from "effect/Types"
import { Api } from "./contract/Api.ts"
import { internalError, outcomeUnknown } from "./HttpErrorMapping.ts"
import { invalidInput } from "./InputErrorResponses.ts"

const maxBody = ByteSize.mebibytes(1)

/** Paths that monitoring polls, so they are not logged. */
const unloggedPaths: ReadonlySet<string> = new Set(["/health", "/metrics"])

const errorResponse = (
  status: number,
  body: { readonly _tag: string; readonly message: string },
  headers: Record<string, string> = {}
) => HttpServerResponse.jsonUnsafe(body, { status, headers })

const isDecodable = (path: string): boolean => {
  try {
    decodeURIComponent(path)
    return true
  } catch {
    return false
  }
}

const ofServerError = ({ reason }: HttpServerError.HttpServerError) => {
  switch (reason._tag) {
    case "RouteNotFound": {
      const [path = ""] = reason.request.url.split("?")
      return isDecodable(path)
        ? errorResponse(404, {
          _tag: "RouteNotFound",
          message: `No route ${reason.request.method} ${path}; /docs lists all routes`
        })
        : errorResponse(400, invalidInput("path", [{ field: "", message: "is not valid percent-encoding of UTF-8" }]))
    }
    case "RequestParseError":
      return reason.reason === "BodyTooLarge"
        ? errorResponse(
          413,
          { _tag: "BodyTooLarge", message: `The body must have at most ${ByteSize.toNumberUnsafe(maxBody)} bytes` },
          // Closes the connection instead of reading the rest of the body.
          { connection: "close" }
        )
        : errorResponse(400, {
          _tag: "UnreadableRequest",
          message: "The body of the request could not be read completely"
        })
    default:
      return undefined
  }
}

const isClientAbort = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => reason.annotations.has(HttpServerError.ClientAbort.key))

const ofCause = (
  cause: Cause.Cause<unhandled>
): Effect.Effect<HttpServerResponse.HttpServerResponse, unhandled, HttpServerRequest.HttpServerRequest> => {
  for (const reason of cause.reasons) {
    const error = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
    if (HttpServerResponse.isHttpServerResponse(error)) return Effect.succeed(error)
    const response = HttpServerError.isHttpServerError(error) ? ofServerError(error) : undefined
    if (response !== undefined) return Effect.succeed(response)
  }
  if (!Cause.hasInterruptsOnly(cause)) {
    return Effect.as(Effect.logError("A request failed", cause), errorResponse(500, internalError))
  }
  return isClientAbort(cause)
    ? Effect.failCause(cause)
    : Effect.map(HttpServerRequest.HttpServerRequest, ({ method }) => errorResponse(503, interrupted(method)))
}

/** An interrupted write may or may not have happened. */
const interrupted = (method: string) =>
  method === "GET" || method === "HEAD" || method === "OPTIONS"
    ? { _tag: "ShuttingDown", message: "The server is shutting down; send the request again" }
    : outcomeUnknown

const jsonResponses = HttpRouter.middleware(
  (handle: Effect.Effect<HttpServerResponse.HttpServerResponse, unhandled>) =>
    Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const answered = handle.pipe(
        Effect.provideService(HttpIncomingMessage.MaxBodySize, maxBody),
        Effect.catchCause(ofCause),
        // HttpApi's 415 is its only response that is not JSON.
        Effect.map((response) =>
          response.status === 415
            ? errorResponse(
              400,
              invalidInput("headers", [{
                field: "content-type",
                message: "must be application/json"
              }])
            )
            : response
        )
      )
      return yield* unloggedPaths.has(request.url) ? HttpMiddleware.withLoggerDisabled(answered) : answered
    }),
  { global: true }
)

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const

/** Adds a 405 response for every other method of each path. */
const methodsNotAllowed = HttpRouter.use(Effect.fnUntraced(function*(router) {
  const paths = new Map<HttpRouter.PathInput, Set<string>>([
    ["/docs", new Set(["GET"])],
    ["/openapi.json", new Set(["GET"])],
    ["/metrics", new Set(["GET"])]
  ])
  HttpApi.reflect(Api, {
    onGroup: () => {},
    onEndpoint: ({ endpoint }) => {
      // Every endpoint was made with such a path; the type of a reflected endpoint is wider.
      const path = endpoint.path as HttpRouter.PathInput
      paths.set(path, (paths.get(path) ?? new Set()).add(endpoint.method))
    }
  })
  for (const [path, allowed] of paths) {
    const allow = Array.from(allowed).join(", ")
    for (const method of methods) {
      if (allowed.has(method)) continue
      const message = `This path does not support ${method}; use ${allow}`
      yield* router.add(method, path, errorResponse(405, { _tag: "MethodNotAllowed", message }, { allow }))
    }
  }
}))

export const layer = Layer.mergeAll(jsonResponses, methodsNotAllowed)
