/**
 * A change of a user, as subscribers receive it.
 */
import * as Schema from "effect/Schema"
import { Position, Version } from "evsrc"
import { UserId } from "./User.ts"
import { UserEvent } from "./UserEvent.ts"

export const UserChange = Schema.Struct({
  userId: UserId,
  version: Version.Version,
  position: Position.Position,
  recordedAt: Schema.DateTimeUtc,
  change: UserEvent
}).annotate({ identifier: "UserChange" })
export type UserChange = typeof UserChange.Type
