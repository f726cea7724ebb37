/**
 * The HTTP API. `HttpApiClient.make(Api)` of effect/http-api makes a client of it.
 */
import * as HttpApi from "effect/http-api/HttpApi"
import * as OpenApi from "effect/http-api/OpenApi"
import { OrderEndpoints, StockEndpoints } from "./OrderEndpoints.ts"
import { SystemEndpoints } from "./SystemEndpoints.ts"
import { UserEndpoints } from "./UserEndpoints.ts"

/** Reports all errors at once, and unknown fields too, because a misspelt optional field would otherwise be ignored. */
const strict = { errors: "all", onExcessProperty: "error" } as const

export class Api extends HttpApi.make("users")
  .add(UserEndpoints)
  .add(OrderEndpoints)
  .add(StockEndpoints)
  .add(SystemEndpoints)
  .annotate(HttpApi.PayloadParseOptions, strict)
  .annotate(HttpApi.QueryParseOptions, strict)
  .annotateMerge(OpenApi.annotations({
    title: "Users and orders",
    version: "0.1.0",
    description:
      "An example of evsrc: aggregates decide commands, a process manager fulfils orders, and read models serve queries."
  }))
{}
