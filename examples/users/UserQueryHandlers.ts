/**
 * Answers the queries: what is now from the read model, what was from the log.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Aggregate, EventStore, ProjectionStore, QueryBus, Version } from "evsrc"
import { UserId } from "./contract/User.ts"
import { UserNotFound, UserNotYetRegistered, VersionNotReached } from "./contract/UserErrors.ts"
import { GetUser, GetUserAsOf, GetUserHistory, ListUsers } from "./contract/UserQueries.ts"
import { UserDecider } from "./UserDecider.ts"
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
  ({ after, limit, status }) =>
    Effect.map(
      ProjectionStore.list(UsersProjection, { where: { status }, after, limit }),
      ({ items, next }) =>
        Option.match(next, {
          onNone: () => ({ items }),
          // The keys of this read model are the ids of its users.
          onSome: (key) => ({ items, next: UserId.make(key) })
        })
    )
)

const recordedOf = (userId: UserId, options: { readonly after?: number | undefined; readonly limit: number }) =>
  Effect.flatMap(EventStore.EventStore, (store) =>
    Stream.runCollect(
      store.readStreamRecorded(UserDecider.aggregate.streamOf(userId), {
        from: Version.make((options.after ?? 0) + 1),
        limit: options.limit
      })
    ))

const getUserAsOf = QueryBus.handler(
  GetUserAsOf,
  Effect.fnUntraced(function*({ asOf, userId }) {
    const at = "version" in asOf ? { atVersion: asOf.version } : { atTime: asOf.time }
    const { state, version } = yield* Aggregate.load(UserDecider, userId, at)
    if (state._tag === "Absent") {
      const [first] = yield* recordedOf(userId, { limit: 1 })
      return first === undefined
        ? yield* new UserNotFound({ userId })
        : yield* new UserNotYetRegistered({ userId, registeredAt: first.recordedAt })
    }
    if (at.atVersion !== undefined && version < at.atVersion) {
      return yield* new VersionNotReached({ userId, wanted: at.atVersion, reached: version })
    }
    const { email, name, status } = state
    return { userId, email, name, status, version }
  })
)

const getUserHistory = QueryBus.handler(
  GetUserHistory,
  Effect.fnUntraced(function*({ after, limit = 100, userId }) {
    const found = yield* recordedOf(userId, { after, limit: limit + 1 })
    if (found.length === 0 && (yield* recordedOf(userId, { limit: 1 })).length === 0) {
      return yield* new UserNotFound({ userId })
    }
    const items = found.slice(0, limit)
    const last = items[items.length - 1]
    return found.length > limit && last !== undefined ? { items, next: last.version } : { items }
  })
)

export const layer = Layer.mergeAll(getUser, listUsers, getUserAsOf, getUserHistory)
