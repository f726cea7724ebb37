/**
 * User management as a layer: the handlers of its commands and queries, and the projector of its read model. It requires the stores.
 */
import * as Layer from "effect/Layer"
import { Aggregate, Projector } from "evsrc"
import { UserDecider } from "./UserDecider.ts"
import * as UserQueryHandlers from "./UserQueryHandlers.ts"
import { UsersProjection } from "./UsersProjection.ts"
import * as UserTimeTravelHandlers from "./UserTimeTravelHandlers.ts"

export const layer = Layer.mergeAll(
  Aggregate.layer(UserDecider),
  UserQueryHandlers.layer,
  UserTimeTravelHandlers.layer,
  Projector.layer([UsersProjection])
)
