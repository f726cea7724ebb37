/**
 * The health endpoint and its JSON.
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { Position } from "evsrc"

const Status = Schema.Literals(["green", "yellow", "red"])

/** The number of waiting events, up to a limit (`isMore` beyond it), and the age of the first of them in seconds. */
const Lag = Schema.Struct({ events: Schema.Int, isMore: Schema.Boolean, seconds: Schema.Finite })

const report = {
  store: Schema.Literals(["reachable", "unreachable"]),
  health: Status,
  /** Why the health is not green. */
  reasons: Schema.Array(Schema.String),
  /** The consumers of the read models and of the process manager, as the database sees them, whichever process runs them. */
  consumers: Schema.Array(Schema.Struct({
    consumer: Schema.String,
    generation: Schema.String,
    status: Status,
    reasons: Schema.Array(Schema.String),
    position: Position.Position,
    lag: Lag,
    /** The number of parked streams. */
    parked: Schema.Int,
    secondsSinceHeartbeat: Schema.optionalKey(Schema.Finite),
    /** Missing in the first report, because it is measured between two reports. */
    eventsPerSecond: Schema.optionalKey(Schema.Finite),
    partitions: Schema.Array(Schema.Struct({
      partition: Schema.Int,
      status: Status,
      position: Position.Position,
      lag: Lag,
      parked: Schema.Int,
      heartbeat: Schema.DateTimeUtc,
      owner: Schema.optionalKey(Schema.String)
    }))
  })),
  /** The workers of these consumers in this process. */
  workers: Schema.Array(Schema.Struct({
    consumer: Schema.String,
    state: Schema.String,
    position: Position.Position,
    head: Position.Position,
    /** The number of positions behind the head of the log. */
    lag: Schema.BigInt,
    parked: Schema.Int,
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
    .annotate(OpenApi.Summary, "Whether the store can be reached, and the read models and processes make progress")
) {}
