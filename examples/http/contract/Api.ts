/**
 * The whole API. `HttpApiClient.make(Api)` of effect/http-api is its client.
 */
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as OpenApi from "effect/http-api/OpenApi"
import { InvalidInput } from "./HttpErrors.ts"
import { SystemEndpoints } from "./SystemEndpoints.ts"
import { UserEndpoints } from "./UserEndpoints.ts"

/** Tells what is wrong with a request that does not satisfy its Schemas. */
export class InputErrors extends HttpApiMiddleware.Service<InputErrors>()("evsrc/examples/http/InputErrors", {
  error: InvalidInput
}) {}

/** Every problem at once; and a misspelt optional field is a mistake, not a field to pass over. */
const strict = { errors: "all", onExcessProperty: "error" } as const

export class Api extends HttpApi.make("users")
  .add(UserEndpoints)
  .add(SystemEndpoints)
  .middleware(InputErrors)
  .annotate(HttpApi.PayloadParseOptions, strict)
  .annotate(HttpApi.QueryParseOptions, strict)
  .annotateMerge(OpenApi.annotations({
    title: "User management",
    version: "0.1.0",
    description:
      "An example of evsrc: commands are decided on a user's own events, queries are answered from read models."
  }))
{}
