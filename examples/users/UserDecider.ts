/**
 * The decider of users: pure functions, without a store or a clock.
 */
import * as Result from "effect/Result"
import { UserAggregate } from "./contract/UserAggregate.ts"
import { UserAlreadyRegistered, UserIsDeactivated, UserNotFound } from "./contract/UserErrors.ts"
import { UserEvent } from "./contract/UserEvent.ts"

const { UserDeactivated, UserRegistered, UserRenamed } = UserEvent.cases

export const UserDecider = UserAggregate.decider({
  initial: { _tag: "Absent" },
  evolve: {
    UserRegistered: (_, { email, name }) => ({ _tag: "Registered", email, name, status: "active" }),
    UserRenamed: (state, { name }) => state._tag === "Registered" ? { ...state, name } : state,
    UserDeactivated: (state) => state._tag === "Registered" ? { ...state, status: "deactivated" } : state
  },
  decide: {
    RegisterUser: (state, command) =>
      state._tag === "Absent"
        ? [UserRegistered.make(command)]
        : Result.fail(new UserAlreadyRegistered({ userId: command.userId })),
    RenameUser: (state, { name, userId }) =>
      state._tag === "Absent"
        ? Result.fail(new UserNotFound({ userId }))
        : state.status === "deactivated"
        ? Result.fail(new UserIsDeactivated({ userId }))
        : state.name === name
        ? []
        : [UserRenamed.make({ userId, name })],
    DeactivateUser: (state, { userId }) =>
      state._tag === "Absent"
        ? Result.fail(new UserNotFound({ userId }))
        : state.status === "deactivated"
        ? Result.fail(new UserIsDeactivated({ userId }))
        : [UserDeactivated.make({ userId })]
  }
})
