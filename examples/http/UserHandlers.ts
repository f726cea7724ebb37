/**
 * Turns requests about users into commands and queries, and their outcomes into responses.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { AsOf, CommandBus, type CommandContext, IdGenerator, ProjectionBehind, QueryBus, type Receipt } from "evsrc"
import { createHash } from "node:crypto"
import { UserId } from "../users/contract/User.ts"
import { DeactivateUser, RegisterUser, RenameUser } from "../users/contract/UserCommands.ts"
import type { UserEvent } from "../users/contract/UserEvent.ts"
import {
  DiffUser,
  GetUser,
  GetUserAsOf,
  GetUserHistory,
  GetUserTimeline,
  ListUsers,
  WhatIfUser
} from "../users/contract/UserQueries.ts"
import { Api } from "./contract/Api.ts"
import type { WriteHeaders } from "./contract/UserEndpoints.ts"
import * as Failures from "./Failures.ts"
import * as UserEvents from "./UserEvents.ts"

/** How long `?after=` waits for the read model. */
export const ReadTimeout = Context.Reference<Duration.Input>("evsrc/examples/http/ReadTimeout", {
  defaultValue: () => "5 seconds"
})

const commandContext = (headers: WriteHeaders): CommandContext.CommandContext => ({
  commandId: headers["idempotency-key"],
  actor: headers["x-actor"],
  expected: headers["if-match"]
})

/** A receipt with events of another type is that of an earlier request under the same key, which asked for something else. */
const written = (userId: UserId, type: keyof typeof UserEvent.cases) => ({ events, position, version }: Receipt) =>
  events.every((event) => event.type === type)
    ? Effect.succeed({ userId, version, position })
    : Effect.fail(Failures.keyReused)

/** A request without an id that is sent again under the same key must mean the same user, so the key makes the id. */
const idFromKey = (key: string): string => {
  const hash = createHash("sha256").update(key).digest("hex")
  // A UUID of version 8: custom, but well-formed.
  return [hash.slice(0, 8), hash.slice(8, 12), `8${hash.slice(13, 16)}`, `8${hash.slice(17, 20)}`, hash.slice(20, 32)]
    .join("-")
}

/** What reads the log, behind which nothing can be. */
const neverBehind = <A, E, R>(self: Effect.Effect<A, E | ProjectionBehind, R>) =>
  Effect.catchIf(self, (error): error is ProjectionBehind => error instanceof ProjectionBehind, Effect.die)

export const layer = HttpApiBuilder.group(
  Api,
  "users",
  Effect.fnUntraced(function*(handlers) {
    const newId = yield* IdGenerator
    const timeout = yield* ReadTimeout

    return handlers
      .handle("register", ({ headers, payload }) => {
        const key = headers["idempotency-key"]
        const userId = payload.userId ?? UserId.make(key === undefined ? newId() : idFromKey(key))
        return CommandBus.dispatch(RegisterUser, { ...payload, userId }, commandContext(headers)).pipe(
          Effect.flatMap(written(userId, "UserRegistered")),
          Failures.ofCommand
        )
      })
      .handle(
        "rename",
        ({ headers, params: { id }, payload: { name } }) =>
          CommandBus.dispatch(RenameUser, { userId: id, name }, commandContext(headers)).pipe(
            Effect.flatMap(written(id, "UserRenamed")),
            Failures.absentIsNotFound(id),
            Failures.ofCommand
          )
      )
      .handle(
        "deactivate",
        ({ headers, params: { id } }) =>
          CommandBus.dispatch(DeactivateUser, { userId: id }, commandContext(headers)).pipe(
            Effect.flatMap(written(id, "UserDeactivated")),
            Failures.absentIsNotFound(id),
            Failures.ofCommand
          )
      )
      .handle(
        "get",
        Effect.fnUntraced(function*({ params: { id: userId }, query: { after, atPosition, atTime, atVersion } }) {
          const asOf = atVersion !== undefined
            ? AsOf.version(atVersion)
            : atPosition !== undefined
            ? AsOf.position(atPosition)
            : atTime !== undefined
            ? AsOf.instant(atTime)
            : undefined
          if (asOf !== undefined) return yield* QueryBus.ask(GetUserAsOf, { userId, asOf }).pipe(Failures.ofQuery)
          return yield* QueryBus.ask(GetUser, { userId }, { after, timeout }).pipe(Failures.ofQuery)
        })
      )
      .handle(
        "list",
        ({ query: { after, cursor, ...query } }) =>
          QueryBus.ask(ListUsers, cursor === undefined ? query : { ...query, after: cursor }, { after, timeout }).pipe(
            Failures.ofQuery
          )
      )
      .handle(
        "events",
        ({ headers: { "last-event-id": last }, query: { after } }) =>
          UserEvents.stream(last ?? after).pipe(Effect.catchTag("EventStoreError", Failures.readFailure))
      )
      .handle(
        "history",
        ({ params: { id: userId }, query: { after: _, cursor, ...query } }) =>
          QueryBus.ask(GetUserHistory, { userId, ...query, ...(cursor === undefined ? {} : { after: cursor }) }).pipe(
            neverBehind,
            Failures.ofQuery
          )
      )
      .handle(
        "timeline",
        ({ params: { id: userId }, query: { cursor, ...query } }) =>
          QueryBus.ask(GetUserTimeline, { userId, ...query, ...(cursor === undefined ? {} : { after: cursor }) }).pipe(
            neverBehind,
            Failures.ofQuery
          )
      )
      .handle(
        "diff",
        ({ params: { id: userId }, query: { from, to = AsOf.now } }) =>
          QueryBus.ask(DiffUser, { userId, from, to }).pipe(neverBehind, Failures.ofQuery)
      )
      .handle(
        "whatIf",
        ({ params: { id: userId }, payload: { at = AsOf.now, command } }) =>
          QueryBus.ask(WhatIfUser, { userId, at, command }).pipe(neverBehind, Failures.ofQuery)
      )
  })
)
