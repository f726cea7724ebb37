/**
 * Answers with problem details to requests that no endpoint handles: unknown paths, and methods that a path does not support.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as HttpApi from "effect/http-api/HttpApi"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type { unhandled } from "effect/Types"
import { internalError, interrupted, isClientAbort } from "./HttpProblems.ts"
import * as Problem from "./Problem.ts"

const isDecodable = (path: string): boolean => {
  try {
    decodeURIComponent(path)
    return true
  } catch {
    return false
  }
}

const notFound = (url: string, method: string) => {
  const [path = ""] = url.split("?")
  return isDecodable(path)
    ? Problem.response({ _tag: "RouteNotFound", message: `There is no route ${method} ${path}` }, 404)
    : Problem.response({ _tag: "InvalidInput", message: "The path is not valid percent-encoding of UTF-8" }, 400)
}

const ofCause = (
  cause: Cause.Cause<unhandled>
): Effect.Effect<HttpServerResponse.HttpServerResponse, unhandled, HttpServerRequest.HttpServerRequest> => {
  for (const reason of cause.reasons) {
    const error: unknown = Cause.isFailReason(reason)
      ? reason.error
      : Cause.isDieReason(reason)
      ? reason.defect
      : undefined
    if (HttpServerResponse.isHttpServerResponse(error)) return Effect.succeed(error)
    if (HttpServerError.isHttpServerError(error) && error.reason._tag === "RouteNotFound") {
      return Effect.map(HttpServerRequest.HttpServerRequest, ({ method, url }) => notFound(url, method))
    }
  }
  if (Cause.hasInterruptsOnly(cause)) {
    return isClientAbort(cause)
      ? Effect.failCause(cause)
      : Effect.map(
        HttpServerRequest.HttpServerRequest,
        ({ method }) => Problem.response(interrupted(method), 503)
      )
  }
  return Effect.as(Effect.logError("A request failed", cause), Problem.response(internalError(), 500))
}

const problems = HttpRouter.middleware(
  (handle: Effect.Effect<HttpServerResponse.HttpServerResponse, unhandled>) => Effect.catchCause(handle, ofCause),
  { global: true }
)

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const

/**
 * Provides these responses: 404 `RouteNotFound`, 405 `MethodNotAllowed` with the header `Allow`, and 500 `InternalError` for a defect outside the
 * endpoints. When the shutdown of the server interrupts a request, the response is a 503.
 *
 * **Example** (beside the API)
 *
 * ```ts
 * HttpRouter.serve(Layer.merge(HttpApiBuilder.layer(Api), HttpFallback.layer(Api)))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <Id extends string, Groups extends HttpApiGroup.Constraint>(api: HttpApi.HttpApi<Id, Groups>) =>
  Layer.merge(
    problems,
    HttpRouter.use(Effect.fnUntraced(function*(router) {
      const paths = new Map<string, Set<string>>()
      HttpApi.reflect(api, {
        onGroup: () => {},
        onEndpoint: ({ endpoint: { method, path } }) => {
          paths.set(path, (paths.get(path) ?? new Set()).add(method))
        }
      })
      for (const [path, allowed] of paths) {
        const allow = Array.from(allowed).join(", ")
        for (const method of methods) {
          if (allowed.has(method)) continue
          const message = `This path does not support ${method}; use ${allow}`
          // Every endpoint was made with such a path; the type of a reflected endpoint is wider.
          yield* router.add(
            method,
            path as HttpRouter.PathInput,
            Problem.response({ _tag: "MethodNotAllowed", message }, 405, { allow })
          )
        }
      }
    }))
  )
