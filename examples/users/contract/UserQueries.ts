/**
 * The queries on users.
 */
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import { AsOf, AsOfNotReached, JsonDiff, Metadata, Position, Query, Version } from "evsrc"
import { Email, User, UserId, UserName, UserOrder, UserStatus } from "./User.ts"
import { UserState } from "./UserAggregate.ts"
import { UserChange } from "./UserChange.ts"
import { UserAlreadyRegistered, UserIsDeactivated, UserNotFound, UserNotYetRegistered } from "./UserErrors.ts"
import { UserEvent } from "./UserEvent.ts"

const limit = Schema.optionalKey(Schema.Int)

/** A page starts after a version. Its encoded form is an opaque text that is safe in a URL. */
const HistoryCursor = Schema.StringFromBase64Url.check(
  Schema.isPattern(/^[0-9]{1,15}$/u, { expected: "a cursor of an earlier page" })
).pipe(Schema.decodeTo(Schema.NumberFromString), Schema.decodeTo(Version.Version)).annotate({
  description: "The `next` of the previous page."
})

export const GetUser = Query.make("GetUser", {
  payload: { userId: UserId },
  success: User,
  error: UserNotFound
})

/** Returns users in the order of their ids, or by the time of their registration, newest first. `after` is the `next` of the previous page. */
export const ListUsers = Query.make("ListUsers", {
  payload: {
    status: Schema.optionalKey(UserStatus),
    registeredFrom: Schema.optionalKey(Schema.DateTimeUtc),
    registeredBefore: Schema.optionalKey(Schema.DateTimeUtc),
    order: Schema.optionalKey(UserOrder),
    after: Schema.optionalKey(Schema.String),
    limit
  },
  success: Schema.Struct({ items: Schema.Array(User), next: Schema.optionalKey(Schema.String) })
})

/** Returns a user as of a point in time. */
export const GetUserAsOf = Query.make("GetUserAsOf", {
  payload: { userId: UserId, asOf: AsOf.AsOf },
  success: User,
  error: Schema.Union([UserNotFound, UserNotYetRegistered, AsOfNotReached])
})

/** An event as stored; `data` is the payload of its `schemaVersion`. */
export const UserHistoryItem = Schema.Struct({
  version: Version.Version,
  position: Position.Position,
  type: Schema.String,
  schemaVersion: Schema.Int,
  recordedAt: Schema.DateTimeUtc,
  data: Schema.Json,
  // The hashes serve the store: they tell whether two requests had the same content.
  metadata: Metadata.mapFields(Struct.omit(["payloadHash", "personalPayloadHash"]))
}).annotate({ identifier: "UserHistoryItem" })

/** Returns the items oldest first; `after` and `next` are versions. */
export const GetUserHistory = Query.make("GetUserHistory", {
  payload: { userId: UserId, after: Schema.optionalKey(HistoryCursor), limit },
  success: Schema.Struct({ items: Schema.Array(UserHistoryItem), next: Schema.optionalKey(HistoryCursor) }),
  error: UserNotFound
})

/** A stored event upcast to the current version, which may yield several events or none, and the state after it. */
export const UserStep = Schema.Struct({
  version: Version.Version,
  position: Position.Position,
  recordedAt: Schema.DateTimeUtc,
  events: Schema.Array(UserEvent),
  state: UserState
}).annotate({ identifier: "UserStep" })

/** Returns the items oldest first; `after` and `next` are versions. */
export const GetUserTimeline = Query.make("GetUserTimeline", {
  payload: { userId: UserId, after: Schema.optionalKey(HistoryCursor), limit },
  success: Schema.Struct({ items: Schema.Array(UserStep), next: Schema.optionalKey(HistoryCursor) }),
  error: UserNotFound
})

const UserAt = Schema.Struct({ version: Version.Version, position: Position.Position, state: UserState })
  .annotate({ identifier: "UserAt" })

/** Returns the difference between two points in time, of which `to` is now by default, and the first 1,000 events between them. */
export const DiffUser = Query.make("DiffUser", {
  payload: { userId: UserId, from: AsOf.AsOf, to: Schema.optionalKey(AsOf.AsOf) },
  success: Schema.Struct({
    from: UserAt,
    to: UserAt,
    changes: Schema.Array(JsonDiff.Change),
    events: Schema.Array(UserChange)
  }).annotate({ identifier: "UserDifference" }),
  error: Schema.Union([UserNotFound, AsOfNotReached])
})

/** A command without the id of the user. */
export const WhatIfCommand = Schema.TaggedUnion({
  RegisterUser: { email: Email, name: UserName },
  RenameUser: { name: UserName },
  DeactivateUser: {}
}).annotate({
  description:
    "The command: its `_tag`, which is `RegisterUser`, `RenameUser` or `DeactivateUser`, and its other fields."
})

/** Returns what a command would do as of a point in time, now by default, without writing anything. */
export const WhatIfUser = Query.make("WhatIfUser", {
  payload: { userId: UserId, at: Schema.optionalKey(AsOf.AsOf), command: WhatIfCommand },
  success: Schema.Struct({
    version: Version.Version,
    before: UserState,
    events: Schema.Array(UserEvent),
    after: UserState
  }).annotate({ identifier: "WhatIfResult" }),
  error: Schema.Union([UserNotFound, UserAlreadyRegistered, UserIsDeactivated, AsOfNotReached])
})
