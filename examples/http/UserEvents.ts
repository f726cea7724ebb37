/**
 * The users as they change, as server-sent events.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { EventStore, Position } from "evsrc"
import * as UserFeed from "../users/UserFeed.ts"
import type { UserEventOf } from "./contract/UserEvents.ts"
import { Ending } from "./Ending.ts"

/** How often a client hears of us when nothing happens, since what lies between may end a connection that is silent. */
export const HeartbeatInterval = Context.Reference<Duration.Input>("evsrc/examples/http/HeartbeatInterval", {
  defaultValue: () => "15 seconds"
})

/**
 * What comes after a position, or from now on. It begins with the position itself, so that a client whose connection ends before anything
 * has happened knows from where to go on.
 */
export const stream = Effect.fnUntraced(function*(after: Position.Position | undefined) {
  const store = yield* EventStore.EventStore
  const interval = yield* HeartbeatInterval
  const ending = yield* Ending
  let reached = after ?? (yield* store.head)
  const position = Effect.sync((): UserEventOf => ({ event: "Reached", id: reached, data: "" }))
  const heartbeats = Stream.fromEffectSchedule(Effect.delay(position, interval), Schedule.forever)
  const changes = UserFeed.changesAfter(reached).pipe(
    Stream.map((change): UserEventOf => {
      reached = Position.max(reached, change.position)
      return { event: "UserChanged", id: change.position, data: change }
    }),
    // The client connects again, and goes on where it was; the details stay in the log.
    Stream.catchCause((cause) => Stream.fromEffectDrain(Effect.logWarning("A stream of user events has ended", cause)))
  )
  return Stream.concat(Stream.fromEffect(position), Stream.merge(changes, heartbeats, { haltStrategy: "left" })).pipe(
    Stream.interruptWhen(Deferred.await(ending)),
    Stream.provideService(EventStore.EventStore, store)
  )
})
