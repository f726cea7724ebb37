/**
 * The health endpoint and its JSON.
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { HttpErrors, HttpHealth, HttpProblems } from "evsrc/http"

export const Healthy = Schema.Struct({ status: Schema.Literal("ok"), ...HttpHealth.report })
  .annotate({ identifier: "Healthy" })

export const Unhealthy = Schema.Struct({
  _tag: Schema.tag("Unhealthy"),
  message: Schema.String,
  status: Schema.Literal("unhealthy"),
  ...HttpHealth.report
}).annotate({
  identifier: "Unhealthy",
  description: "The store cannot be reached, or a read model or a process does not progress."
})

export class SystemEndpoints extends HttpApiGroup.make("system").add(
  HttpApiEndpoint.get("health", "/health", { success: Healthy, error: HttpErrors.withStatus(Unhealthy, 503) })
    .middleware(HttpProblems.HttpProblems)
    .annotateMerge(OpenApi.annotations({
      summary: "Whether the store can be reached, and the read models and processes make progress",
      description:
        "Returns 200 while the store can be reached, the read models and the process manager progress, and deadlines fire in time; otherwise 503 `Unhealthy` with the same fields. `status`, `store` and `health` (`green`, `yellow` or `red`) summarise the health, and `reasons` lists what is wrong. `consumers` and `workers` show each read model and each consumer of the process manager, as the database and as this process sees it."
    }))
) {}
