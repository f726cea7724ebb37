/**
 * What whoever follows the users is told.
 */
import * as Schema from "effect/Schema"
import { Position, Version } from "evsrc"
import { UserId } from "./User.ts"
import { UserEvent } from "./UserEvent.ts"

/** A user has changed, by this event, which made it this version. */
export const UserChange = Schema.Struct({
  userId: UserId,
  version: Version.Version,
  position: Position.Position,
  recordedAt: Schema.DateTimeUtc,
  change: UserEvent
}).annotate({ identifier: "UserChange" })
export type UserChange = typeof UserChange.Type
