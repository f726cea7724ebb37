/**
 * The read model: the current state of every user, by id, indexed by status and time of registration.
 */
import * as Schema from "effect/Schema"
import { Projection } from "evsrc"
import { User } from "./contract/User.ts"
import { UserEvent } from "./contract/UserEvent.ts"

const ListedUser = Schema.Struct({ ...User.fields, registeredAt: Schema.DateTimeUtc })

export const UsersProjection = Projection.make("users", {
  events: UserEvent,
  document: ListedUser,
  index: ["status", "registeredAt"],
  // Each document is fed by one stream, so an event that cannot be decoded parks this user only.
  partitionBy: "stream",
  key: (event) => event.userId,
  evolve: {
    UserRegistered: (_, { email, name, userId }, { recordedAt, version }) => ({
      userId,
      email,
      name,
      status: "active" as const,
      version,
      registeredAt: recordedAt
    }),
    UserRenamed: (user, { name }, { version }) => user && { ...user, name, version },
    UserDeactivated: (user, _, { version }) => user && { ...user, status: "deactivated" as const, version }
  }
})
