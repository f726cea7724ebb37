/**
 * Notifications between processes that the log has grown: a `NOTIFY` after the commit, from another connection, because within the
 * append's transaction it would take a lock on the whole server. A notification may be lost, late or repeated, so readers poll too.
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
import { createHash } from "node:crypto"

/** Commits within this time after a notification share the next one, because each costs the server and every listening process. */
const pause = "5 millis"

/** PostgreSQL's limit on the name of a channel, in bytes. A schema's name has one byte a character. */
const maxChannelLength = 63

/**
 * Returns the name of the channel of a schema. The longest names of schemas are shortened to their beginning and a hash.
 *
 * @since 0.1.0
 * @category accessors
 */
export const channelOf = (schema: string): string => {
  const channel = `evsrc_${schema}`
  if (channel.length <= maxChannelLength) return channel
  const hash = createHash("sha256").update(schema).digest("hex").slice(0, 16)
  return `${channel.slice(0, maxChannelLength - hash.length - 1)}_${hash}`
}

/**
 * Sends notifications.
 *
 * @since 0.1.0
 * @category models
 */
export interface PgNotify {
  /** Notifies the other processes that the log has grown. It returns at once; the notification follows soon. */
  readonly notify: Effect.Effect<void>
}

/**
 * Makes a sender of notifications, and runs `onNotification` for those of other processes.
 *
 * **Gotchas**
 *
 * Without a `PgClient` in the context it neither sends nor receives. It receives nothing while the server rejects LISTEN,
 * and then logs one warning.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(options: {
  readonly channel: string
  readonly onNotification: Effect.Effect<void>
}): Effect.fn.Return<PgNotify, never, Scope.Scope> {
  const client = Option.getOrUndefined(yield* Effect.serviceOption(PgClient.PgClient))
  if (client === undefined) return { notify: Effect.void }
  const due = Latch.makeUnsafe(false)

  const sendWhenDue = Effect.gen(function*() {
    yield* due.await
    due.closeUnsafe()
    yield* Effect.ignore(client.notify(options.channel, ""))
    yield* Effect.sleep(pause)
  })
  yield* Effect.forkScoped(Effect.withTracerEnabled(Effect.forever(sendWhenDue), false))

  let hasWarned = false
  const warn = (error: unknown) => {
    const message = "Cannot listen for events of other processes; they are seen at the next poll"
    const log = hasWarned ? Effect.logDebug(message, error) : Effect.logWarning(message, error)
    hasWarned = true
    return log
  }

  const listen = Effect.gen(function*() {
    // Listening occupies a connection. It must not come from the pool, which may have only one. A client over a stream (PGlite) has a
    // single connection, and listens without occupying it.
    const own = client.config.stream === undefined ? yield* PgClient.makeClient(client.config) : client
    const notifications = yield* own.listen(options.channel)
    hasWarned = false
    // For notifications sent while this process did not listen.
    yield* options.onNotification
    return yield* Effect.forever(Effect.andThen(Queue.takeAll(notifications), options.onNotification))
  })
  yield* listen.pipe(
    Effect.scoped,
    Effect.provide(Reactivity.layer),
    Effect.tapError(warn),
    Effect.retry(Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("1 minute")])),
    Effect.forkScoped
  )
  return {
    notify: Effect.sync(() => {
      due.openUnsafe()
    })
  }
})
