/**
 * The errors of commands and queries on users.
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import { UserId } from "./User.ts"

export class UserAlreadyRegistered extends Schema.TaggedError<UserAlreadyRegistered>()(
  "UserAlreadyRegistered",
  { userId: UserId },
  { description: "The id is taken." }
) {
  override get message(): string {
    return `User "${this.userId}" is already registered`
  }
}

export class UserNotFound extends Schema.TaggedError<UserNotFound>()(
  "UserNotFound",
  { userId: UserId },
  { description: "No user has this id." }
) {
  override get message(): string {
    return `User "${this.userId}" does not exist`
  }
}

export class UserIsDeactivated extends Schema.TaggedError<UserIsDeactivated>()(
  "UserIsDeactivated",
  { userId: UserId },
  { description: "The user is deactivated and accepts no more changes." }
) {
  override get message(): string {
    return `User "${this.userId}" is deactivated, so it cannot be changed`
  }
}

export class UserNotYetRegistered extends Schema.TaggedError<UserNotYetRegistered>()(
  "UserNotYetRegistered",
  { userId: UserId, registeredAt: Schema.DateTimeUtc },
  { description: "The user did not exist at that point in time. `registeredAt` is the time of the registration." }
) {
  override get message(): string {
    return `User "${this.userId}" did not exist at that point; it was registered at ${
      DateTime.formatIso(this.registeredAt)
    }`
  }
}
