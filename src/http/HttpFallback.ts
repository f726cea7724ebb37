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
import { shorten } from "../core/errors/shorten.ts"
import { InvalidInput } from "./HttpErrors.ts"
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
    ? Problem.response({ _tag: "RouteNotFound", message: `There is no route ${method} ${shorten(path)}` }, 404)
    : invalidPath("is not valid percent-encoding of UTF-8")
}

const invalidPath = (message: string) =>
  Problem.response(
    new InvalidInput({ in: "path", issues: [{ field: "", message }], message: `Invalid path: ${message}` }),
    400
  )

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
      // The router describes only this reason.
      return error.reason.description === undefined
        ? Effect.map(HttpServerRequest.HttpServerRequest, ({ method, url }) => notFound(url, method))
        : Effect.succeed(invalidPath("has a parameter that is longer than the server accepts"))
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

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"] as const

type Method = typeof methods[number]

/**
 * The options of the fallback.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Paths that the program serves beside the API, with their methods, such as `{ "/metrics": ["GET"] }`. */
  readonly paths?: { readonly [path: `/${string}`]: ReadonlyArray<Method> } | undefined
}

/** The methods of one path. Two endpoints may give its parameters different names. */
interface Served {
  readonly path: string
  readonly methods: Set<string>
}

const servedBy = (endpoints: Iterable<readonly [path: string, methods: ReadonlyArray<string>]>) => {
  const served = new Map<string, Served>()
  for (const [path, methods] of endpoints) {
    // `::` is a literal colon.
    const key = path.replaceAll(/(?<!:):(?!:)\w+/g, ":")
    const { methods: known } = served.get(key) ?? { methods: [] }
    served.set(key, { path, methods: new Set([...known, ...methods]) })
  }
  return Array.from(served.values())
}

/** Returns the methods of a path as the header `Allow`. The router answers HEAD by the handler of GET. */
const allowOf = (methods: Set<string>): string =>
  Array.from(new Set([...methods, ...methods.has("GET") ? ["HEAD"] : [], "OPTIONS"])).join(", ")

const unsupported = (method: Method, { methods }: Served) => {
  const allow = allowOf(methods)
  if (method === "OPTIONS") return HttpServerResponse.empty({ status: 204, headers: { allow } })
  const message = `This path does not support ${method}; use ${Array.from(methods).join(", ")}`
  return Problem.response({ _tag: "MethodNotAllowed", message }, 405, { allow })
}

/**
 * Provides these responses: 404 `RouteNotFound`, 405 `MethodNotAllowed` with the header `Allow`, 204 with `Allow` for `OPTIONS`, and 500 `InternalError` for
 * a defect outside the endpoints. When the shutdown of the server interrupts a request, the response is a 503.
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
export const layer = <Id extends string, Groups extends HttpApiGroup.Constraint>(
  api: HttpApi.HttpApi<Id, Groups>,
  options: Options = {}
) =>
  Layer.merge(
    problems,
    HttpRouter.use(Effect.fnUntraced(function*(router) {
      const endpoints: Array<readonly [path: string, methods: ReadonlyArray<string>]> = Object.entries(
        options.paths ?? {}
      )
      HttpApi.reflect(api, {
        onGroup: () => {},
        onEndpoint: ({ endpoint: { method, path } }) => endpoints.push([path, [method]])
      })
      for (const served of servedBy(endpoints)) {
        for (const method of methods) {
          if (served.methods.has(method)) continue
          // Every endpoint was made with such a path; the type of a reflected endpoint is wider.
          yield* router.add(method, served.path as HttpRouter.PathInput, unsupported(method, served))
        }
      }
    }))
  )
