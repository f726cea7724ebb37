/**
 * Handles the endpoints of users. Those of commands and of single queries need no code.
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { AsOf, type Position, type Version } from "evsrc"
import { HttpHandlers, HttpSource } from "evsrc/http"
import { UserEvent } from "../users/contract/UserEvent.ts"
import { GetUser, GetUserAsOf } from "../users/contract/UserQueries.ts"
import { changeOf } from "../users/UserFeed.ts"
import { Api } from "./contract/Api.ts"
import { userEvents } from "./contract/UserEndpoints.ts"

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

export const layer = HttpHandlers.layerWith(Api, "users", (others) =>
  others
    .handle(
      "get",
      Effect.fnUntraced(function*({ params: { id: userId }, query: { after, ...query } }) {
        const asOf = asOfOf(query)
        return asOf === undefined
          ? yield* HttpHandlers.ask(GetUser, { userId }, { after })
          : yield* HttpHandlers.ask(GetUserAsOf, { userId, asOf })
      })
    )
    .handle("events", HttpSource.changes(userEvents, HttpSource.ofEvents(UserEvent, changeOf))))
