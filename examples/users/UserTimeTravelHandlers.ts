/**
 * Handles the queries that read the log: as of a point in time, history, differences and what-if.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { AsOf, type AsOfNotReached, EventStore, QueryBus, TimeTravel, Version } from "evsrc"
import type { UserId } from "./contract/User.ts"
import { DeactivateUser, RegisterUser, RenameUser } from "./contract/UserCommands.ts"
import { UserNotFound, UserNotYetRegistered } from "./contract/UserErrors.ts"
import { DiffUser, GetUserAsOf, GetUserHistory, GetUserTimeline, WhatIfUser } from "./contract/UserQueries.ts"
import { UserDecider } from "./UserDecider.ts"
import { changeOf } from "./UserFeed.ts"

const firstEventOf = (userId: UserId) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => Stream.runHead(store.readStreamEncoded(UserDecider.aggregate.streamOf(userId), { limit: 1 }))
  )

/** Replaces `AsOfNotReached` by `UserNotFound` if the user has no events at all. */
const absentIsNotFound = (userId: UserId) => <A, E, R>(self: Effect.Effect<A, E | AsOfNotReached, R>) =>
  Effect.tapErrorTag(
    self,
    "AsOfNotReached",
    () =>
      Effect.flatMap(
        firstEventOf(userId),
        (first) => Option.isNone(first) ? Effect.fail(new UserNotFound({ userId })) : Effect.void
      )
  )

const getUserAsOf = QueryBus.handler(
  GetUserAsOf,
  Effect.fnUntraced(function*({ asOf, userId }) {
    const { state, version } = yield* absentIsNotFound(userId)(TimeTravel.aggregate(UserDecider, userId, asOf))
    if (state._tag === "Absent") {
      const first = yield* firstEventOf(userId)
      return Option.isNone(first)
        ? yield* new UserNotFound({ userId })
        : yield* new UserNotYetRegistered({ userId, registeredAt: first.value.recordedAt })
    }
    const { email, name, status } = state
    return { userId, email, name, status, version }
  })
)

/** Returns a page. The caller reads one item more than the limit, which shows whether there is a next page. */
const pageOf = <Item extends { readonly version: Version.Version }>(found: ReadonlyArray<Item>, limit: number) => {
  const items = found.slice(0, limit)
  const last = items[items.length - 1]
  return found.length > limit && last !== undefined ? { items, next: last.version } : { items }
}

const getUserHistory = QueryBus.handler(
  GetUserHistory,
  Effect.fnUntraced(function*({ after = 0, limit = 100, userId }) {
    const store = yield* EventStore.EventStore
    const options = { from: Version.make(after + 1), limit: limit + 1 }
    const stream = UserDecider.aggregate.streamOf(userId)
    const found = yield* Stream.runCollect(store.readStreamEncoded(stream, options))
    if (found.length === 0 && Option.isNone(yield* firstEventOf(userId))) return yield* new UserNotFound({ userId })
    return pageOf(found, limit)
  })
)

const getUserTimeline = QueryBus.handler(
  GetUserTimeline,
  Effect.fnUntraced(function*({ after, limit = 100, userId }) {
    const found = yield* TimeTravel.history(UserDecider, userId, AsOf.now, { after }).pipe(
      Stream.take(limit + 1),
      Stream.map(({ events, encoded: { position, recordedAt, version }, state }) => ({
        version,
        position,
        recordedAt,
        events,
        state
      })),
      Stream.runCollect,
      // The log always reaches `now`.
      Effect.catchTag("AsOfNotReached", Effect.die)
    )
    if (found.length === 0 && Option.isNone(yield* firstEventOf(userId))) return yield* new UserNotFound({ userId })
    return pageOf(found, limit)
  })
)

const diffUser = QueryBus.handler(
  DiffUser,
  Effect.fnUntraced(function*({ from, to = AsOf.now, userId }) {
    const diff = yield* absentIsNotFound(userId)(TimeTravel.aggregateDiff(UserDecider, userId, { from, to }))
    if (diff.from.version + diff.to.version === 0 && Option.isNone(yield* firstEventOf(userId))) {
      return yield* new UserNotFound({ userId })
    }
    const events = yield* Stream.runCollect(Stream.take(diff.events, 1_000))
    return {
      from: diff.from,
      to: diff.to,
      changes: diff.changes,
      events: events.map(changeOf)
    }
  })
)

const whatIfUser = QueryBus.handler(
  WhatIfUser,
  Effect.fnUntraced(
    function*({ at = AsOf.now, command, userId }) {
      const whatIf = () => {
        switch (command._tag) {
          case "RegisterUser":
            return TimeTravel.whatIf(
              UserDecider,
              RegisterUser,
              { userId, email: command.email, name: command.name },
              at
            )
          case "RenameUser":
            return TimeTravel.whatIf(UserDecider, RenameUser, { userId, name: command.name }, at)
          case "DeactivateUser":
            return TimeTravel.whatIf(UserDecider, DeactivateUser, { userId }, at)
        }
      }
      const { before, events, start, state } = yield* whatIf()
      return { version: start.version, before, events, after: state }
    },
    // The query's Schema has already validated the same fields.
    Effect.catchTag("InvalidCommand", Effect.die)
  )
)

export const layer = Layer.mergeAll(getUserAsOf, getUserHistory, getUserTimeline, diffUser, whatIfUser)
