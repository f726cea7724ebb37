/**
 * The endpoints of users.
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { AsOf, LogPosition, Position, Version } from "evsrc"
import { Email, User, UserId, UserName, UserOrder, UserStatus } from "../../users/contract/User.ts"
import { DiffUser, UserHistoryItem, UserStep, WhatIfCommand, WhatIfUser } from "../../users/contract/UserQueries.ts"
import {
  AsOfNotReached,
  CursorExpired,
  LogDiverged,
  ProjectionBehind,
  readErrors,
  UserAlreadyRegistered,
  UserIsDeactivated,
  UserNotFound,
  UserNotYetRegistered,
  writeErrors
} from "./HttpErrors.ts"
import { after, changeHeaders, limit, ListCursor, paged } from "./Requests.ts"
import { userEvents } from "./UserEventStream.ts"

const asOf = AsOf.FromString
const asOfForms = "version:3, position:42, instant:2030-01-31T12:00:00Z or now"

/** A page starts after a version. The API encodes it as an opaque cursor that is safe in a URL. */
const HistoryCursor = Schema.StringFromBase64Url.check(
  Schema.isPattern(/^[0-9]{1,15}$/u, { expected: "a cursor of an earlier page" })
).pipe(Schema.decodeTo(Schema.NumberFromString), Schema.decodeTo(Version.Version))

const Written = Schema.Struct({
  userId: UserId,
  version: Version.Version,
  position: Position.Position,
  cursor: LogPosition.FromString
})
  .annotate({
    identifier: "Written",
    description:
      "The version of the user and the position of the log after the write. The cursor also names the event there, so that the server detects a log that was set back."
  })

/** Excludes "events", because `/users/events` is another endpoint. */
const NewUserId = UserId.check(
  Schema.makeFilter((id) => id !== "events" || "is reserved", { title: "an id other than \"events\"" })
)

export class UserEndpoints extends HttpApiGroup.make("users").add(
  HttpApiEndpoint.post("register", "/users", {
    headers: changeHeaders,
    payload: Schema.Struct({ email: Email, name: UserName, userId: Schema.optionalKey(NewUserId) }),
    success: Written.pipe(HttpApiSchema.status(201)),
    error: [...writeErrors, UserAlreadyRegistered]
  }).annotate(OpenApi.Summary, "Register a user, with a new id unless one is given"),
  HttpApiEndpoint.get("list", "/users", {
    query: {
      status: Schema.optionalKey(UserStatus),
      registeredFrom: Schema.optionalKey(AsOf.InstantFromString).annotate({
        description: "Only users who registered at this instant or later, such as 2030-01-31T12:00:00Z."
      }),
      registeredBefore: Schema.optionalKey(AsOf.InstantFromString).annotate({
        description: "Only users who registered before this instant."
      }),
      order: Schema.optionalKey(UserOrder).annotate({
        description: "By id, which is the default, or by the time of registration, newest first."
      }),
      limit,
      cursor: Schema.optionalKey(ListCursor).annotate({
        description: "The `next` of the page before, with the same filter and order."
      }),
      after
    },
    success: paged(User, ListCursor),
    error: [...readErrors, CursorExpired, LogDiverged, ProjectionBehind]
  }).annotate(OpenApi.Summary, "List users by id or by time of registration"),
  userEvents,
  HttpApiEndpoint.get("get", "/users/:id", {
    params: { id: UserId },
    query: Schema.Struct({
      after,
      atVersion: Schema.optionalKey(Version.Version).annotate({ description: "Return the user as of this version." }),
      atPosition: Schema.optionalKey(Position.Position).annotate({
        description: "Return the user as of this position of the log, from an earlier response."
      }),
      atTime: Schema.optionalKey(AsOf.InstantFromString).annotate({
        description: "Return the user as of this instant, such as 2030-01-31T12:00:00Z."
      })
    }).check(Schema.makeFilter((query) => {
      const [first, second] = (["atVersion", "atPosition", "atTime"] as const).filter((at) => query[at] !== undefined)
      return second === undefined || { path: [second], issue: `cannot be combined with ${first}` }
    })),
    success: User,
    error: [...readErrors, LogDiverged, ProjectionBehind, UserNotFound, UserNotYetRegistered, AsOfNotReached]
  }).annotate(OpenApi.Summary, "Get a user, now or as of a point in time"),
  HttpApiEndpoint.patch("rename", "/users/:id", {
    params: { id: UserId },
    headers: changeHeaders,
    payload: Schema.Struct({ name: UserName }),
    success: Written,
    error: [...writeErrors, UserNotFound, UserIsDeactivated]
  }).annotate(OpenApi.Summary, "Rename a user"),
  HttpApiEndpoint.post("deactivate", "/users/:id/deactivate", {
    params: { id: UserId },
    headers: changeHeaders,
    success: Written,
    error: [...writeErrors, UserNotFound, UserIsDeactivated]
  }).annotate(OpenApi.Summary, "Deactivate a user permanently"),
  HttpApiEndpoint.get("history", "/users/:id/history", {
    params: { id: UserId },
    query: { limit, cursor: Schema.optionalKey(HistoryCursor), after },
    success: paged(UserHistoryItem, HistoryCursor),
    error: [...readErrors, LogDiverged, UserNotFound]
  }).annotate(OpenApi.Summary, "List the events of a user, oldest first"),
  HttpApiEndpoint.get("timeline", "/users/:id/timeline", {
    params: { id: UserId },
    query: { limit, cursor: Schema.optionalKey(HistoryCursor) },
    success: paged(UserStep, HistoryCursor),
    error: [...readErrors, LogDiverged, UserNotFound]
  }).annotate(OpenApi.Summary, "List the events of a user, each with the state after it, oldest first"),
  HttpApiEndpoint.get("diff", "/users/:id/diff", {
    params: { id: UserId },
    query: {
      from: asOf.annotate({ description: `From ${asOfForms}.` }),
      to: Schema.optionalKey(asOf).annotate({ description: `To ${asOfForms}; now by default.` })
    },
    success: DiffUser.successSchema,
    error: [...readErrors, LogDiverged, UserNotFound, AsOfNotReached]
  }).annotate(OpenApi.Summary, "Compare a user as of two points in time: a JSON Patch and the events between"),
  HttpApiEndpoint.post("whatIf", "/users/:id/what-if", {
    params: { id: UserId },
    payload: Schema.Struct({
      at: Schema.optionalKey(asOf).annotate({ description: `At ${asOfForms}; now by default.` }),
      command: WhatIfCommand
    }),
    success: WhatIfUser.successSchema,
    error: [...readErrors, LogDiverged, UserNotFound, UserAlreadyRegistered, UserIsDeactivated, AsOfNotReached]
  }).annotate(OpenApi.Summary, "Try a command as of a point in time, without writing anything")
) {}
