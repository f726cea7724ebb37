/**
 * The read model: the current state of every user, by id, indexed by status.
 */
import { Projection } from "evsrc"
import { User } from "./contract/User.ts"
import { UserEvent } from "./contract/UserEvent.ts"

export const UsersProjection = Projection.make("users", {
  events: UserEvent,
  document: User,
  index: ["status"],
  // Each document is fed by one stream, so an event that cannot be decoded parks this user only.
  partitionBy: "stream",
  key: (event) => event.userId,
  evolve: {
    UserRegistered: (_, { email, name, userId }, { version }) => ({
      userId,
      email,
      name,
      status: "active" as const,
      version
    }),
    UserRenamed: (user, { name }, { version }) => user && { ...user, name, version },
    UserDeactivated: (user, _, { version }) => user && { ...user, status: "deactivated" as const, version }
  }
})
