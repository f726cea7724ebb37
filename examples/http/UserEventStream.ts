/**
 * Streams the changes of users as server-sent events.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { EventStore, type LogPosition } from "evsrc"
import * as UserFeed from "../users/UserFeed.ts"
import type { UserStreamEvent } from "./contract/UserEventStream.ts"
import { cursorLost } from "./HttpErrorMapping.ts"
import { ShutdownSignal } from "./ShutdownSignal.ts"

/** The interval of heartbeats, without which proxies may close an idle connection. */
export const HeartbeatInterval = Context.Reference<Duration.Input>("evsrc/examples/http/HeartbeatInterval", {
  defaultValue: () => "15 seconds"
})

/**
 * Returns the changes after a cursor, or from now on. The first event is the cursor itself, from which a client can resume if its connection
 * ends before any change. Fails with `LogDiverged` when the log was set back and does not have the event of the cursor, or ends before its position.
 */
export const stream = Effect.fnUntraced(function*(after: LogPosition.LogPosition | undefined) {
  const store = yield* EventStore.EventStore
  const interval = yield* HeartbeatInterval
  const shutdown = yield* ShutdownSignal
  let reached = after ?? (yield* store.headPosition)
  if (after !== undefined) {
    // A cursor may be above the high-water mark, as that of a write just made is, but not beyond the end of the log.
    if (after.position > (yield* Effect.flatMap(EventStore.driver, ({ last }) => last))) {
      return yield* Effect.fail(cursorLost)
    }
    // The first page tells whether the log has the cursor, before the response begins.
    yield* Stream.runDrain(Stream.take(UserFeed.changesUpToNow(after), 1))
  }
  const position = Effect.sync((): UserStreamEvent => ({ event: "Reached", id: reached, data: "" }))
  const heartbeats = Stream.fromEffectSchedule(Effect.delay(position, interval), Schedule.forever)
  const changes = UserFeed.changesAfter(reached).pipe(
    Stream.map(({ change, cursor }): UserStreamEvent => {
      reached = cursor
      return { event: "UserChanged", id: cursor, data: change }
    }),
    // The client reconnects and resumes; only the server's log gets the details.
    Stream.catchCause((cause) => Stream.fromEffectDrain(Effect.logWarning("A stream of user events has ended", cause)))
  )
  return Stream.concat(Stream.fromEffect(position), Stream.merge(changes, heartbeats, { haltStrategy: "left" })).pipe(
    Stream.interruptWhen(Deferred.await(shutdown)),
    Stream.provideService(EventStore.EventStore, store)
  )
})
