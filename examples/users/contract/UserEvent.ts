/**
 * The events of users.
 */
import * as Schema from "effect/Schema"
import { Event } from "evsrc"
import { Email, UserId, UserName } from "./User.ts"

export const UserEvent = Schema.TaggedUnion({
  UserRegistered: { userId: UserId, email: Email, name: UserName },
  UserRenamed: { userId: UserId, name: UserName },
  UserDeactivated: { userId: UserId }
}).pipe(Event.upcasters({
  // Version 1 had no name; the upcaster takes the part of the address before the @.
  UserRegistered: Event.from({ userId: UserId, email: Email })
    .toCurrent(({ email, userId }) => ({ userId, email, name: email.slice(0, email.indexOf("@")).slice(0, 200) }))
}))
