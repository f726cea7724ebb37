/**
 * The users as they change: server-sent events, as a browser's `EventSource` reads them.
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { Position } from "evsrc"
import { UserChange } from "../../users/contract/UserChange.ts"
import { readErrors } from "./HttpErrors.ts"

const id = Schema.BigIntFromString.pipe(Schema.decodeTo(Position.Position))

/**
 * - `UserChanged`: a user has changed
 * - `Reached`: nothing but the position; the first of a connection, and then one every few seconds
 *
 * The id of both is the position up to which everything has been told.
 */
export const UserEventOf = Schema.Union([
  Schema.Struct({
    id,
    event: Schema.Literal("UserChanged"),
    data: Schema.fromJsonString(Schema.toCodecJson(UserChange))
  }),
  Schema.Struct({ id, event: Schema.Literal("Reached"), data: Schema.Literal("") })
]).annotate({ identifier: "UserEventOf" })
export type UserEventOf = typeof UserEventOf.Type

const position = Schema.optionalKey(Position.Position)

export const userEvents = HttpApiEndpoint.get("events", "/users/events", {
  headers: {
    "last-event-id": position.annotate({
      description:
        "The id of the last event received, which a browser sends when it connects again: what came after it."
    })
  },
  query: {
    after: position.annotate({
      description: "The `position` of an earlier answer: what came after it. Without either, what comes from now on."
    })
  },
  success: HttpApiSchema.StreamSse({ events: UserEventOf }),
  error: [...readErrors]
}).annotate(OpenApi.Summary, "Follow the users as they change, by server-sent events")
