/**
 * What happens to users.
 */
import * as Schema from "effect/Schema"
import { Email, UserId, UserName } from "./User.ts"

export const UserEvent = Schema.TaggedUnion({
  UserRegistered: { userId: UserId, email: Email, name: UserName },
  UserRenamed: { userId: UserId, name: UserName },
  UserDeactivated: { userId: UserId }
})
