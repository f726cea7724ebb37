/**
 * The user aggregate: each user has a stream of its own.
 */
import * as Schema from "effect/Schema"
import { Aggregate } from "evsrc"
import { Email, UserName, UserStatus } from "./User.ts"
import { DeactivateUser, RegisterUser, RenameUser } from "./UserCommands.ts"
import { UserEvent } from "./UserEvent.ts"

export const UserState = Schema.TaggedUnion({
  Absent: {},
  Registered: { email: Email, name: UserName, status: UserStatus }
})

export const UserAggregate = Aggregate.make("User", {
  id: "userId",
  state: UserState,
  events: UserEvent,
  commands: [RegisterUser, RenameUser, DeactivateUser]
})
