/**
 * The endpoint that streams changes of users as server-sent events, for a browser's `EventSource`.
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { LogPosition } from "evsrc"
import { UserChange } from "../../users/contract/UserChange.ts"
import { LogDiverged, readErrors } from "./HttpErrors.ts"

/**
 * An event of the stream: `UserChanged`, or `Reached` with only a position, which comes first and then every few seconds. The id of both is
 * the cursor up to which the stream is complete: a position, and the id of the event there.
 */
export const UserStreamEvent = Schema.Union([
  Schema.Struct({
    id: LogPosition.FromString,
    event: Schema.Literal("UserChanged"),
    data: Schema.fromJsonString(Schema.toCodecJson(UserChange))
  }),
  Schema.Struct({ id: LogPosition.FromString, event: Schema.Literal("Reached"), data: Schema.Literal("") })
]).annotate({ identifier: "UserStreamEvent" })
export type UserStreamEvent = typeof UserStreamEvent.Type

const cursor = Schema.optionalKey(LogPosition.FromString)

export const userEvents = HttpApiEndpoint.get("events", "/users/events", {
  headers: {
    "last-event-id": cursor.annotate({
      description:
        "The id of the last event received, which a browser sends when it reconnects. The stream starts after it."
    })
  },
  query: {
    after: cursor.annotate({
      description:
        "The `cursor` of an earlier response. The stream starts after it; without it and the header, it starts now."
    })
  },
  success: HttpApiSchema.StreamSse({ events: UserStreamEvent }),
  error: [...readErrors, LogDiverged]
}).annotate(OpenApi.Summary, "Stream the changes of users as server-sent events")
