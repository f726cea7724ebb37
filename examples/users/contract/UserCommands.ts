/**
 * The commands of users.
 */
import * as Schema from "effect/Schema"
import { Command } from "evsrc"
import { Email, UserId, UserName } from "./User.ts"
import { UserAlreadyRegistered, UserIsDeactivated, UserNotFound } from "./UserErrors.ts"

export const RegisterUser = Command.make("RegisterUser", {
  payload: { userId: UserId, email: Email, name: UserName },
  error: UserAlreadyRegistered
})

export const RenameUser = Command.make("RenameUser", {
  payload: { userId: UserId, name: UserName },
  error: Schema.Union([UserNotFound, UserIsDeactivated])
})

export const DeactivateUser = Command.make("DeactivateUser", {
  payload: { userId: UserId },
  error: Schema.Union([UserNotFound, UserIsDeactivated])
})
