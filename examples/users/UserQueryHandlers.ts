/**
 * Handles the queries that read the current state from the read model.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { ProjectionStore, QueryBus } from "evsrc"
import { UserNotFound } from "./contract/UserErrors.ts"
import { GetUser, ListUsers } from "./contract/UserQueries.ts"
import { UsersProjection } from "./UsersProjection.ts"

const getUser = QueryBus.handler(
  GetUser,
  ({ userId }) =>
    Effect.flatMap(
      ProjectionStore.get(UsersProjection, userId),
      (user) => Option.match(user, { onNone: () => Effect.fail(new UserNotFound({ userId })), onSome: Effect.succeed })
    )
)

const listUsers = QueryBus.handler(
  ListUsers,
  ({ after, limit, order, registeredBefore, registeredFrom, status }) =>
    Effect.map(
      ProjectionStore.list(UsersProjection, {
        where: { status, registeredAt: { gte: registeredFrom, lt: registeredBefore } },
        orderBy: order === "newest" ? { field: "registeredAt", direction: "desc" } : undefined,
        after,
        limit
      }),
      ({ items, next }) => Option.match(next, { onNone: () => ({ items }), onSome: (next) => ({ items, next }) })
    )
)

export const layer = Layer.mergeAll(getUser, listUsers)
