/**
 * How the program itself is.
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { Position } from "evsrc"

const Status = Schema.Literals(["green", "yellow", "red"])

/** The events that wait, counted up to a bound, beyond which there are more, and how long the first of them has waited. */
const Lag = Schema.Struct({ events: Schema.Int, isMore: Schema.Boolean, seconds: Schema.Finite })

const report = {
  store: Schema.Literals(["reachable", "unreachable"]),
  health: Status,
  /** Why it is not green. */
  reasons: Schema.Array(Schema.String),
  /** The read models as the database tells of them, whichever process works on them. */
  consumers: Schema.Array(Schema.Struct({
    consumer: Schema.String,
    generation: Schema.String,
    status: Status,
    reasons: Schema.Array(Schema.String),
    position: Position.Position,
    lag: Lag,
    /** How many streams are parked. */
    parked: Schema.Int,
    /** The age of the last heartbeat, in seconds. */
    silentFor: Schema.optionalKey(Schema.Finite),
    /** Events a second, when it has been looked at before. */
    throughput: Schema.optionalKey(Schema.Finite),
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
  /** What this process says of those that it works on. */
  projections: Schema.Array(Schema.Struct({
    consumer: Schema.String,
    state: Schema.String,
    position: Position.Position,
    head: Position.Position,
    /** How many positions it is behind the head of the log. */
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
    .annotate(OpenApi.Summary, "Whether the store can be reached, and the read models are worked on and move")
) {}
