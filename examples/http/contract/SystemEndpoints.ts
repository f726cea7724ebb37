/**
 * How the program itself is.
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { Position } from "evsrc"

const report = {
  store: Schema.Literals(["reachable", "unreachable"]),
  projections: Schema.Array(Schema.Struct({
    projection: Schema.String,
    state: Schema.String,
    position: Position.Position,
    head: Position.Position,
    /** How many positions it is behind the head of the log. */
    lag: Schema.BigInt,
    heartbeat: Schema.DateTimeUtc,
    detail: Schema.optionalKey(Schema.String)
  }))
}

export const Healthy = Schema.Struct({ status: Schema.Literal("ok"), ...report }).annotate({ identifier: "Healthy" })

export const Unhealthy = Schema.Struct({
  _tag: Schema.tag("Unhealthy"),
  message: Schema.String,
  status: Schema.Literal("unhealthy"),
  ...report
}).annotate({ identifier: "Unhealthy" }).pipe(HttpApiSchema.status(503))

export class SystemEndpoints extends HttpApiGroup.make("system").add(
  HttpApiEndpoint.get("health", "/health", { success: Healthy, error: Unhealthy })
    .annotate(OpenApi.Summary, "Whether the store can be reached and the read models move")
) {}
