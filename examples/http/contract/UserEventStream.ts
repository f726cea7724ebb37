/**
 * The endpoint that streams changes of users as server-sent events, for a browser's `EventSource`.
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
 * An event of the stream: `UserChanged`, or `Reached` with only a position, which comes first and then every few seconds. The id of both is
 * the position up to which the stream is complete.
 */
export const UserStreamEvent = Schema.Union([
  Schema.Struct({
    id,
    event: Schema.Literal("UserChanged"),
    data: Schema.fromJsonString(Schema.toCodecJson(UserChange))
  }),
  Schema.Struct({ id, event: Schema.Literal("Reached"), data: Schema.Literal("") })
]).annotate({ identifier: "UserStreamEvent" })
export type UserStreamEvent = typeof UserStreamEvent.Type

const position = Schema.optionalKey(Position.Position)

export const userEvents = HttpApiEndpoint.get("events", "/users/events", {
  headers: {
    "last-event-id": position.annotate({
      description:
        "The id of the last event received, which a browser sends when it reconnects. The stream starts after it."
    })
  },
  query: {
    after: position.annotate({
      description:
        "The `position` of an earlier response. The stream starts after it; without it and the header, it starts now."
    })
  },
  success: HttpApiSchema.StreamSse({ events: UserStreamEvent }),
  error: [...readErrors]
}).annotate(OpenApi.Summary, "Stream the changes of users as server-sent events")
