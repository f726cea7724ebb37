/**
 * The endpoints of users: dispatch requests as commands and queries, and return their results as responses.
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { AsOf, CommandBus, IdGenerator, LogPosition, type Position, QueryBus, type Receipt, type Version } from "evsrc"
import { type Email, UserId } from "../users/contract/User.ts"
import { DeactivateUser, RegisterUser, RenameUser } from "../users/contract/UserCommands.ts"
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
import type { WriteHeaders } from "./contract/Requests.ts"
import * as HttpErrorMapping from "./HttpErrorMapping.ts"
import { commandContext, idFromKey, ReadTimeout } from "./RequestContext.ts"
import * as UserEventStream from "./UserEventStream.ts"

/** Returns the response to a write. */
const writtenOf = (userId: UserId) => (receipt: Receipt) => ({
  userId,
  version: receipt.version,
  position: receipt.position,
  cursor: LogPosition.ofReceipt(receipt)
})

interface Registration {
  readonly email: Email
  readonly name: string
  readonly userId?: UserId
}

const register = (newId: () => string, headers: WriteHeaders, payload: Registration) => {
  const key = headers["idempotency-key"]
  const userId = payload.userId ?? UserId.make(key === undefined ? newId() : idFromKey(key))
  return CommandBus.dispatch(RegisterUser, { ...payload, userId }, commandContext(headers)).pipe(
    Effect.map(writtenOf(userId)),
    HttpErrorMapping.mapCommandErrors
  )
}

const rename = (headers: WriteHeaders, userId: UserId, name: string) =>
  CommandBus.dispatch(RenameUser, { userId, name }, commandContext(headers)).pipe(
    Effect.map(writtenOf(userId)),
    HttpErrorMapping.absentIsNotFound(userId),
    HttpErrorMapping.mapCommandErrors
  )

const deactivate = (headers: WriteHeaders, userId: UserId) =>
  CommandBus.dispatch(DeactivateUser, { userId }, commandContext(headers)).pipe(
    Effect.map(writtenOf(userId)),
    HttpErrorMapping.absentIsNotFound(userId),
    HttpErrorMapping.mapCommandErrors
  )

interface AsOfQuery {
  readonly atVersion?: Version.Version
  readonly atPosition?: Position.Position
  readonly atTime?: DateTime.Utc
}

const asOfOf = ({ atPosition, atTime, atVersion }: AsOfQuery): AsOf.AsOf | undefined =>
  atVersion !== undefined
    ? AsOf.version(atVersion)
    : atPosition !== undefined
    ? AsOf.position(atPosition)
    : atTime !== undefined
    ? AsOf.instant(atTime)
    : undefined

export const layer = HttpApiBuilder.group(
  Api,
  "users",
  Effect.fnUntraced(function*(handlers) {
    const newId = yield* IdGenerator
    const timeout = yield* ReadTimeout

    return handlers
      .handle("register", ({ headers, payload }) => register(newId, headers, payload))
      .handle("rename", ({ headers, params: { id }, payload: { name } }) => rename(headers, id, name))
      .handle("deactivate", ({ headers, params: { id } }) => deactivate(headers, id))
      .handle(
        "get",
        Effect.fnUntraced(function*({ params: { id: userId }, query: { after, ...query } }) {
          const asOf = asOfOf(query)
          if (asOf === undefined) {
            return yield* QueryBus.ask(GetUser, { userId }, { after, timeout }).pipe(HttpErrorMapping.mapQueryErrors)
          }
          return yield* QueryBus.ask(GetUserAsOf, { userId, asOf }).pipe(HttpErrorMapping.mapQueryErrors)
        })
      )
      .handle(
        "list",
        ({ query: { after, cursor, ...query } }) =>
          QueryBus.ask(ListUsers, cursor === undefined ? query : { ...query, after: cursor }, { after, timeout }).pipe(
            HttpErrorMapping.mapCursorExpired,
            HttpErrorMapping.mapQueryErrors
          )
      )
      .handle(
        "events",
        ({ headers: { "last-event-id": last }, query: { after } }) =>
          UserEventStream.stream(last ?? after).pipe(Effect.catchTag("EventStoreError", HttpErrorMapping.toCursorError))
      )
      .handle(
        "history",
        ({ params: { id: userId }, query: { after: _, cursor, ...query } }) =>
          QueryBus.ask(GetUserHistory, { userId, ...query, ...(cursor === undefined ? {} : { after: cursor }) }).pipe(
            HttpErrorMapping.neverBehind,
            HttpErrorMapping.mapQueryErrors
          )
      )
      .handle(
        "timeline",
        ({ params: { id: userId }, query: { cursor, ...query } }) =>
          QueryBus.ask(GetUserTimeline, { userId, ...query, ...(cursor === undefined ? {} : { after: cursor }) }).pipe(
            HttpErrorMapping.neverBehind,
            HttpErrorMapping.mapQueryErrors
          )
      )
      .handle(
        "diff",
        ({ params: { id: userId }, query: { from, to = AsOf.now } }) =>
          QueryBus.ask(DiffUser, { userId, from, to }).pipe(
            HttpErrorMapping.neverBehind,
            HttpErrorMapping.mapQueryErrors
          )
      )
      .handle(
        "whatIf",
        ({ params: { id: userId }, payload: { at = AsOf.now, command } }) =>
          QueryBus.ask(WhatIfUser, { userId, at, command }).pipe(
            HttpErrorMapping.neverBehind,
            HttpErrorMapping.mapQueryErrors
          )
      )
  })
)
