/**
 * All routes: the API, its documentation, the metrics, and fallback responses.
 */
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiSwagger from "effect/http-api/HttpApiSwagger"
import * as Layer from "effect/Layer"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import { Api } from "./contract/Api.ts"
import * as FallbackResponses from "./FallbackResponses.ts"
import * as InputErrorResponses from "./InputErrorResponses.ts"
import * as OrderHandlers from "./OrderHandlers.ts"
import * as SystemHandlers from "./SystemHandlers.ts"
import * as UserHandlers from "./UserHandlers.ts"

export const layer = Layer.mergeAll(
  HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }).pipe(
    Layer.provide([UserHandlers.layer, OrderHandlers.layer, SystemHandlers.layer]),
    Layer.provide(InputErrorResponses.layer)
  ),
  // The page embeds its scripts and styles, so it works without internet access.
  HttpApiSwagger.layer(Api, { path: "/docs" }),
  PrometheusMetrics.layerHttp({ path: "/metrics" }),
  FallbackResponses.layer
)
