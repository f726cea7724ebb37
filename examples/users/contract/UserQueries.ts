/**
 * What one can ask to be told.
 */
import * as Schema from "effect/Schema"
import { Metadata, Position, Query, Version } from "evsrc"
import { User, UserId, UserStatus } from "./User.ts"
import { UserNotFound, UserNotYetRegistered, VersionNotReached } from "./UserErrors.ts"

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
  payload: {
    userId: UserId,
    asOf: Schema.Union([Schema.Struct({ version: Version.Version }), Schema.Struct({ time: Schema.DateTimeUtc })])
  },
  success: User,
  error: Schema.Union([UserNotFound, UserNotYetRegistered, VersionNotReached])
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
