/**
 * User management over HTTP.
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { AsOf, Position, Version } from "evsrc"
import { Email, User, UserId, UserName, UserStatus } from "../../users/contract/User.ts"
import { DiffUser, ImaginedCommand, UserHistoryItem, UserStep, WhatIfUser } from "../../users/contract/UserQueries.ts"
import {
  AsOfNotReached,
  ProjectionBehind,
  readErrors,
  UserAlreadyRegistered,
  UserIsDeactivated,
  UserNotFound,
  UserNotYetRegistered,
  writeErrors
} from "./HttpErrors.ts"
import { userEvents } from "./UserEvents.ts"

/** Printable ASCII, since HTTP gives no encoding for the bytes of a header. */
const headerText = Schema.String.check(
  Schema.isPattern(/^[\x20-\x7e]{1,256}$/u, { expected: "1 to 256 printable ASCII characters" })
)

/** `3`, `"3"` (an entity tag) or `*` (any version, but the user must exist). */
const IfMatch = Schema.String.check(
  Schema.isPattern(/^(\*|[0-9]{1,15}|"[0-9]{1,15}")$/u, { expected: "a version such as 3 or \"3\", or *" })
).pipe(Schema.decodeTo(
  Schema.Union([Schema.Literal("streamExists"), Version.Version]),
  SchemaTransformation.transform({
    decode: (text): "streamExists" | number => text === "*" ? "streamExists" : Number(text.replaceAll("\"", "")),
    encode: (expected) => expected === "streamExists" ? "*" : `"${expected}"`
  })
))

const writeHeaders = {
  "idempotency-key": Schema.optionalKey(headerText).annotate({
    description: "Names this request. Sent again under the same key, it is carried out once and answered the same."
  }),
  "x-actor": Schema.optionalKey(headerText).annotate({ description: "Who acts; kept with the events." }),
  "if-match": Schema.optionalKey(IfMatch).annotate({
    description: "The version the user must have: 3 or \"3\"; * for any that exists."
  })
}

export type WriteHeaders = Schema.Struct<typeof writeHeaders>["Type"]

const after = Schema.optionalKey(Position.Position).annotate({
  description: "The `position` of an earlier answer: the response shows at least what was known there."
})

const limit = Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 }))).annotate({
  description: "The most items in one page, 1 to 1000; 100 by default."
})

const asOf = AsOf.FromString
const moments = "version:3, position:42, instant:2030-01-31T12:00:00Z or now"

/** A page starts after an id, or after a version; outside, cursors are opaque and safe to put into a URL. */
const UserCursor = Schema.StringFromBase64Url.pipe(Schema.decodeTo(UserId))
const HistoryCursor = Schema.StringFromBase64Url.check(
  Schema.isPattern(/^[0-9]{1,15}$/u, { expected: "the cursor of an earlier page" })
).pipe(Schema.decodeTo(Schema.NumberFromString), Schema.decodeTo(Version.Version))

const paged = <Item extends Schema.Top, Cursor extends Schema.Top>(item: Item, cursor: Cursor) =>
  Schema.Struct({
    items: Schema.Array(item),
    next: Schema.optionalKey(cursor).annotate({
      description: "The cursor of the next page; absent on the last."
    })
  })

const Written = Schema.Struct({ userId: UserId, version: Version.Version, position: Position.Position })
  .annotate({ identifier: "Written", description: "Where the user stands after the write." })

/** `/users/events` is another endpoint. */
const FreeUserId = UserId.check(
  Schema.makeFilter((id) => id !== "events" || "is not free", { title: "another id than \"events\"" })
)

export class UserEndpoints extends HttpApiGroup.make("users").add(
  HttpApiEndpoint.post("register", "/users", {
    headers: writeHeaders,
    payload: Schema.Struct({ email: Email, name: UserName, userId: Schema.optionalKey(FreeUserId) }),
    success: Written.pipe(HttpApiSchema.status(201)),
    error: [...writeErrors, UserAlreadyRegistered]
  }).annotate(OpenApi.Summary, "Register a user; an id is made when none is given"),
  HttpApiEndpoint.get("list", "/users", {
    query: { status: Schema.optionalKey(UserStatus), limit, cursor: Schema.optionalKey(UserCursor), after },
    success: paged(User, UserCursor),
    error: [...readErrors, ProjectionBehind]
  }).annotate(OpenApi.Summary, "List users in the order of their ids"),
  userEvents,
  HttpApiEndpoint.get("get", "/users/:id", {
    params: { id: UserId },
    query: Schema.Struct({
      after,
      atVersion: Schema.optionalKey(Version.Version).annotate({ description: "Show the user as of this version." }),
      atPosition: Schema.optionalKey(Position.Position).annotate({
        description: "Show the user as of this position of the log, which an earlier answer told."
      }),
      atTime: Schema.optionalKey(Schema.DateTimeUtc).annotate({
        description: "Show the user as of this instant, such as 2030-01-31T12:00:00Z."
      })
    }).check(Schema.makeFilter((query) => {
      const [first, second] = (["atVersion", "atPosition", "atTime"] as const).filter((at) => query[at] !== undefined)
      return second === undefined || { path: [second], issue: `not together with ${first}` }
    })),
    success: User,
    error: [...readErrors, ProjectionBehind, UserNotFound, UserNotYetRegistered, AsOfNotReached]
  }).annotate(OpenApi.Summary, "Get a user, as it is or as it was"),
  HttpApiEndpoint.patch("rename", "/users/:id", {
    params: { id: UserId },
    headers: writeHeaders,
    payload: Schema.Struct({ name: UserName }),
    success: Written,
    error: [...writeErrors, UserNotFound, UserIsDeactivated]
  }).annotate(OpenApi.Summary, "Rename a user"),
  HttpApiEndpoint.post("deactivate", "/users/:id/deactivate", {
    params: { id: UserId },
    headers: writeHeaders,
    success: Written,
    error: [...writeErrors, UserNotFound, UserIsDeactivated]
  }).annotate(OpenApi.Summary, "Deactivate a user, for good"),
  HttpApiEndpoint.get("history", "/users/:id/history", {
    params: { id: UserId },
    query: { limit, cursor: Schema.optionalKey(HistoryCursor), after },
    success: paged(UserHistoryItem, HistoryCursor),
    error: [...readErrors, UserNotFound]
  }).annotate(OpenApi.Summary, "Every event of a user, oldest first"),
  HttpApiEndpoint.get("timeline", "/users/:id/timeline", {
    params: { id: UserId },
    query: { limit, cursor: Schema.optionalKey(HistoryCursor) },
    success: paged(UserStep, HistoryCursor),
    error: [...readErrors, UserNotFound]
  }).annotate(OpenApi.Summary, "How a user came about: every event, and the user after it, oldest first"),
  HttpApiEndpoint.get("diff", "/users/:id/diff", {
    params: { id: UserId },
    query: {
      from: asOf.annotate({ description: `From ${moments}.` }),
      to: Schema.optionalKey(asOf).annotate({ description: `To ${moments}; now by default.` })
    },
    success: DiffUser.successSchema,
    error: [...readErrors, UserNotFound, AsOfNotReached]
  }).annotate(OpenApi.Summary, "What has changed between two moments, as a JSON Patch, and the events between"),
  HttpApiEndpoint.post("whatIf", "/users/:id/what-if", {
    params: { id: UserId },
    payload: Schema.Struct({
      at: Schema.optionalKey(asOf).annotate({ description: `At ${moments}; now by default.` }),
      command: ImaginedCommand
    }),
    success: WhatIfUser.successSchema,
    error: [...readErrors, UserNotFound, UserAlreadyRegistered, UserIsDeactivated, AsOfNotReached]
  }).annotate(OpenApi.Summary, "What a command would do now, or would have done then; nothing is written")
) {}
