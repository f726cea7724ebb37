/**
 * All routes: the API, its documentation, the metrics, and the responses to requests that no endpoint handles.
 */
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiSwagger from "effect/http-api/HttpApiSwagger"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import type { unhandled } from "effect/Types"
import { HttpFallback } from "evsrc/http"
import { Api } from "./contract/Api.ts"
import * as OrderHandlers from "./OrderHandlers.ts"
import * as SystemHandlers from "./SystemHandlers.ts"
import * as UserHandlers from "./UserHandlers.ts"

/** Paths that monitoring polls, so they are not logged. */
const unloggedPaths: ReadonlySet<string> = new Set(["/health", "/metrics"])

const unlogged = HttpRouter.middleware(
  (handle: Effect.Effect<HttpServerResponse, unhandled>) =>
    Effect.flatMap(
      HttpServerRequest.HttpServerRequest,
      ({ url }) => unloggedPaths.has(url) ? HttpMiddleware.withLoggerDisabled(handle) : handle
    ),
  { global: true }
)

export const layer = Layer.mergeAll(
  HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }).pipe(
    Layer.provide([UserHandlers.layer, OrderHandlers.layer, SystemHandlers.layer])
  ),
  // The page embeds its scripts and styles, so it works without internet access.
  HttpApiSwagger.layer(Api, { path: "/docs" }),
  PrometheusMetrics.layerHttp({ path: "/metrics" }),
  HttpFallback.layer(Api, { paths: { "/docs": ["GET"], "/openapi.json": ["GET"], "/metrics": ["GET"] } }),
  unlogged
)
