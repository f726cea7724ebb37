/**
 * What one can ask to be told.
 */
import * as Schema from "effect/Schema"
import { AsOf, AsOfNotReached, JsonDiff, Metadata, Position, Query, Version } from "evsrc"
import { Email, User, UserId, UserName, UserStatus } from "./User.ts"
import { UserState } from "./UserAggregate.ts"
import { UserChange } from "./UserChange.ts"
import { UserAlreadyRegistered, UserIsDeactivated, UserNotFound, UserNotYetRegistered } from "./UserErrors.ts"
import { UserEvent } from "./UserEvent.ts"

const limit = Schema.optionalKey(Schema.Int)

export const GetUser = Query.make("GetUser", {
  payload: { userId: UserId },
  success: User,
  error: UserNotFound
})

/** In the order of their ids; `after` and `next` are ids. */
export const ListUsers = Query.make("ListUsers", {
  payload: { status: Schema.optionalKey(UserStatus), after: Schema.optionalKey(UserId), limit },
  success: Schema.Struct({ items: Schema.Array(User), next: Schema.optionalKey(UserId) })
})

/** The user as it was. */
export const GetUserAsOf = Query.make("GetUserAsOf", {
  payload: { userId: UserId, asOf: AsOf.AsOf },
  success: User,
  error: Schema.Union([UserNotFound, UserNotYetRegistered, AsOfNotReached])
})

/** One event as it is in the log; `data` is what was written under that `schemaVersion`. */
export const UserHistoryItem = Schema.Struct({
  version: Version.Version,
  position: Position.Position,
  type: Schema.String,
  schemaVersion: Schema.Int,
  recordedAt: Schema.DateTimeUtc,
  data: Schema.Json,
  metadata: Metadata
}).annotate({ identifier: "UserHistoryItem" })

/** Oldest first; `after` and `next` are versions. */
export const GetUserHistory = Query.make("GetUserHistory", {
  payload: { userId: UserId, after: Schema.optionalKey(Version.Version), limit },
  success: Schema.Struct({ items: Schema.Array(UserHistoryItem), next: Schema.optionalKey(Version.Version) }),
  error: UserNotFound
})

/** One event as it is understood today, which may be as several or none, and the user after it. */
export const UserStep = Schema.Struct({
  version: Version.Version,
  position: Position.Position,
  recordedAt: Schema.DateTimeUtc,
  events: Schema.Array(UserEvent),
  state: UserState
}).annotate({ identifier: "UserStep" })

/** Oldest first; `after` and `next` are versions. */
export const GetUserTimeline = Query.make("GetUserTimeline", {
  payload: { userId: UserId, after: Schema.optionalKey(Version.Version), limit },
  success: Schema.Struct({ items: Schema.Array(UserStep), next: Schema.optionalKey(Version.Version) }),
  error: UserNotFound
})

const UserAt = Schema.Struct({ version: Version.Version, position: Position.Position, state: UserState })
  .annotate({ identifier: "UserAt" })

/** What has changed between two moments, and the first 1,000 events between them. */
export const DiffUser = Query.make("DiffUser", {
  payload: { userId: UserId, from: AsOf.AsOf, to: AsOf.AsOf },
  success: Schema.Struct({
    from: UserAt,
    to: UserAt,
    changes: Schema.Array(JsonDiff.Change),
    events: Schema.Array(UserChange)
  }).annotate({ identifier: "UserDifference" }),
  error: Schema.Union([UserNotFound, AsOfNotReached])
})

/** A command without the id of the user. */
export const ImaginedCommand = Schema.TaggedUnion({
  RegisterUser: { email: Email, name: UserName },
  RenameUser: { name: UserName },
  DeactivateUser: {}
})

/** What a command would have done at a moment. Nothing is written. */
export const WhatIfUser = Query.make("WhatIfUser", {
  payload: { userId: UserId, at: AsOf.AsOf, command: ImaginedCommand },
  success: Schema.Struct({
    version: Version.Version,
    before: UserState,
    events: Schema.Array(UserEvent),
    after: UserState
  }).annotate({ identifier: "Imagined" }),
  error: Schema.Union([UserNotFound, UserAlreadyRegistered, UserIsDeactivated, AsOfNotReached])
})
