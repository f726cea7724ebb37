/**
 * What happens to users.
 */
import * as Schema from "effect/Schema"
import { Event } from "evsrc"
import { Email, UserId, UserName } from "./User.ts"

export const UserEvent = Schema.TaggedUnion({
  UserRegistered: { userId: UserId, email: Email, name: UserName },
  UserRenamed: { userId: UserId, name: UserName },
  UserDeactivated: { userId: UserId }
}).pipe(Event.upcasters({
  // At first users had no name: they are called by what stands before the @ of their address.
  UserRegistered: Event.from({ userId: UserId, email: Email })
    .toCurrent(({ email, userId }) => ({ userId, email, name: email.slice(0, email.indexOf("@")).slice(0, 200) }))
}))
