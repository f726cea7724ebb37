/**
 * Hints between processes that the log has grown: a `NOTIFY` after the commit, from a connection of its own, because within the
 * append's transaction it would take a lock on the whole server. A hint may be lost, late or doubled; whoever listens looks for
 * itself, and now and then without any.
 *
 * @since 0.1.0
 */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"

/**
 * Commits within this time of a hint share the next one. A hint is work for the server and for each process that listens, this one
 * too, so hundreds of them a second slow down what they tell of.
 */
const pause = "5 millis"

/**
 * - `grown`: tells the other processes that the log has grown
 *
 * @since 0.1.0
 * @category models
 */
export interface PgNotify {
  readonly grown: Effect.Effect<void>
}

/**
 * Sends hints when told to, and calls `heard` for those of other processes. Without a `PgClient` in the context nothing is sent or
 * heard; while the server does not let it listen (behind a pooler in transaction mode, say), nothing is heard.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(options: {
  readonly channel: string
  readonly heard: Effect.Effect<void>
}): Effect.fn.Return<PgNotify, never, Scope.Scope> {
  const client = Option.getOrUndefined(yield* Effect.serviceOption(PgClient.PgClient))
  if (client === undefined) return { grown: Effect.void }
  const due = Latch.makeUnsafe(false)

  const notify = Effect.gen(function*() {
    yield* due.await
    due.closeUnsafe()
    yield* Effect.ignore(client.notify(options.channel, ""))
    yield* Effect.sleep(pause)
  })
  yield* Effect.forkScoped(Effect.withTracerEnabled(Effect.forever(notify), false))

  const listen = Effect.gen(function*() {
    // Listening takes a connection for good. It must not be one of the pool's, which may have only one; a client over a stream of
    // its own (PGlite) has just that, and listens without taking it.
    const own = client.config.stream === undefined ? yield* PgClient.makeClient(client.config) : client
    const hints = yield* own.listen(options.channel)
    // What was said while nobody listened.
    yield* options.heard
    return yield* Effect.forever(Effect.andThen(Queue.takeAll(hints), options.heard))
  })
  yield* listen.pipe(
    Effect.scoped,
    Effect.provide(Reactivity.layer),
    Effect.tapError((error) => Effect.logDebug("Not listening for events of other processes", error)),
    Effect.retry(Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("1 minute")])),
    Effect.forkScoped
  )
  return {
    grown: Effect.sync(() => {
      due.openUnsafe()
    })
  }
})
