/**
 * User management as a whole, over whichever stores it is given: the handlers of its commands and queries, and the projector that
 * keeps its read model.
 */
import * as Layer from "effect/Layer"
import { Aggregate, Projector } from "evsrc"
import { UserDecider } from "./UserDecider.ts"
import * as UserPast from "./UserPast.ts"
import * as UserQueryHandlers from "./UserQueryHandlers.ts"
import { UsersProjection } from "./UsersProjection.ts"

export const layer = Layer.mergeAll(
  Aggregate.layer(UserDecider),
  UserQueryHandlers.layer,
  UserPast.layer,
  Projector.layer([UsersProjection])
)
