/**
 * Sees to it that what no endpoint has answered is answered in JSON too: unknown routes and methods, bodies that are too large or of
 * another type, and defects, which are logged.
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
import { internalError } from "./Failures.ts"
import { invalidInput } from "./InputErrorResponses.ts"

const maxBody = ByteSize.mebibytes(1)

/** Asked every few seconds by machines. */
const quiet: ReadonlySet<string> = new Set(["/health", "/metrics"])

const problem = (
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
        ? problem(404, { _tag: "RouteNotFound", message: `There is no ${reason.request.method} ${path}; see /docs` })
        : problem(400, invalidInput("path", [{ field: "", message: "is not valid percent-encoding of UTF-8" }]))
    }
    case "RequestParseError":
      return reason.reason === "BodyTooLarge"
        ? problem(
          413,
          { _tag: "BodyTooLarge", message: `A body has at most ${ByteSize.toNumberUnsafe(maxBody)} bytes` },
          // The rest of the body is not worth reading.
          { connection: "close" }
        )
        : problem(400, { _tag: "UnreadableRequest", message: "The request could not be read to its end" })
    default:
      return undefined
  }
}

const isClientAbort = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => reason.annotations.has(HttpServerError.ClientAbort.key))

const ofCause = (cause: Cause.Cause<unhandled>): Effect.Effect<HttpServerResponse.HttpServerResponse, unhandled> => {
  for (const reason of cause.reasons) {
    const error = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
    if (HttpServerResponse.isHttpServerResponse(error)) return Effect.succeed(error)
    const response = HttpServerError.isHttpServerError(error) ? ofServerError(error) : undefined
    if (response !== undefined) return Effect.succeed(response)
  }
  if (!Cause.hasInterruptsOnly(cause)) {
    return Effect.as(Effect.logError("A request failed", cause), problem(500, internalError))
  }
  return isClientAbort(cause)
    ? Effect.failCause(cause)
    : Effect.succeed(problem(503, { _tag: "ShuttingDown", message: "The server is shutting down; try again" }))
}

const answerAll = HttpRouter.middleware(
  (handle: Effect.Effect<HttpServerResponse.HttpServerResponse, unhandled>) =>
    Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const answered = handle.pipe(
        Effect.provideService(HttpIncomingMessage.MaxBodySize, maxBody),
        Effect.catchCause(ofCause),
        // The only response of HttpApi that is not JSON.
        Effect.map((response) =>
          response.status === 415
            ? problem(
              400,
              invalidInput("headers", [{
                field: "content-type",
                message: "must be application/json, for a body of JSON"
              }])
            )
            : response
        )
      )
      return yield* quiet.has(request.url) ? HttpMiddleware.withLoggerDisabled(answered) : answered
    }),
  { global: true }
)

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const

/** For every path, the methods it does not have. */
const methodsNotAllowed = HttpRouter.use(Effect.fnUntraced(function*(router) {
  const paths = new Map<HttpRouter.PathInput, Set<string>>([
    ["/docs", new Set(["GET"])],
    ["/openapi.json", new Set(["GET"])],
    ["/metrics", new Set(["GET"])]
  ])
  HttpApi.reflect(Api, {
    onGroup: () => {},
    onEndpoint: ({ endpoint }) => {
      // Whoever made the endpoint had to give it such a path; the erased endpoint has forgotten.
      const path = endpoint.path as HttpRouter.PathInput
      paths.set(path, (paths.get(path) ?? new Set()).add(endpoint.method))
    }
  })
  for (const [path, allowed] of paths) {
    const allow = Array.from(allowed).join(", ")
    for (const method of methods) {
      if (allowed.has(method)) continue
      const message = `This path has no ${method}; it has ${allow}`
      yield* router.add(method, path, problem(405, { _tag: "MethodNotAllowed", message }, { allow }))
    }
  }
}))

export const layer = Layer.mergeAll(answerAll, methodsNotAllowed)
