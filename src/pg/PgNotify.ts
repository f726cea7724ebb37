/**
 * Notifications between processes that the log has grown: a `NOTIFY` after the commit, from another connection, because within the
 * append's transaction it would take a lock on the whole server. A notification may be lost, late or repeated, so readers poll too.
 *
 * @since 0.1.0
 */
import { PgClient, PgConnection } from "@effect/sql-pg"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { createHash } from "node:crypto"
import * as OutageLog from "../core/telemetry/OutageLog.ts"
import { isEmbedded } from "./connections/ClientPool.ts"
import type { PgConnections } from "./connections/PgConnections.ts"
import { withTimeout } from "./connections/StatementDeadline.ts"
import { fromSqlError } from "./PgErrors.ts"

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

/** Options of {@link make}. */
interface Options {
  readonly channel: string
  readonly onNotification: Effect.Effect<void>
  readonly connections: PgConnections
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
export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<PgNotify, never, Scope.Scope> {
  const client = Option.getOrUndefined(yield* Effect.serviceOption(PgClient.PgClient))
  if (client === undefined) return { notify: Effect.void }
  const due = Latch.makeUnsafe(false)

  const sendWhenDue = Effect.gen(function*() {
    yield* due.await
    due.closeUnsafe()
    yield* Effect.ignore(options.connections.statement(client.unsafe("select pg_notify($1, '')", [options.channel])))
    yield* Effect.sleep(pause)
  })
  yield* Effect.forkScoped(Effect.withTracerEnabled(Effect.forever(sendWhenDue), false))

  const outages = OutageLog.make("Listening for events of other processes")
  let delay = firstDelay
  const warn = (error: SqlError) =>
    outages.failed({
      source: "listener",
      kind: "failed",
      message: `Cannot listen for events of other processes; they are seen at the next poll: ${error.message}`,
      cause: Cause.fail(error)
    })

  const onNotification = Effect.andThen(
    Effect.suspend(() => {
      delay = firstDelay
      return outages.succeeded("listener")
    }),
    options.onNotification
  )
  const listen = isEmbedded(client)
    // A PGlite has a single connection, and listens without occupying it.
    ? Effect.scoped(Effect.flatMap(client.listen(options.channel), (queue) => receive(queue, onNotification)))
    : listenAlone(client.config, options, onNotification)
  const listenAgain = Effect.catch(listen, (error) =>
    Effect.andThen(
      warn(error),
      Effect.suspend(() => {
        const pause = isOutage(error) ? Math.min(delay, maxDelayInOutage) : delay
        delay = Math.min(delay * 2, maxDelay)
        return Effect.sleep(pause)
      })
    ))
  yield* Effect.forkScoped(Effect.forever(listenAgain))
  return {
    notify: Effect.sync(() => {
      due.openUnsafe()
    })
  }
})

const receive = (
  queue: Queue.Dequeue<PgConnection.Notification, SqlError>,
  onNotification: Effect.Effect<void>
): Effect.Effect<never, SqlError> =>
  // The first one for notifications sent while this process did not listen.
  Effect.andThen(onNotification, Effect.forever(Effect.andThen(Queue.takeAll(queue), onNotification)))

/** How often the connection is checked, in milliseconds. If its packets were lost without a word, no notification would ever arrive. */
const maxHeartbeat = 10_000

/** How long to wait before another attempt to listen, in milliseconds. */
const firstDelay = 1_000
const maxDelay = 60_000
/** While the server is unavailable. A server that rejects LISTEN, like a pooler, does so for longer. */
const maxDelayInOutage = 3_000

const isOutage = (error: SqlError): boolean => fromSqlError(error).isRetryable

/**
 * Listens on a connection of its own, because the pool may have only one. It fails when the connection does not respond any more. Closing
 * does not wait for the server.
 */
const listenAlone = (
  config: PgClient.PgClientConfig,
  { channel, connections: { deadlines } }: Options,
  onNotification: Effect.Effect<void>
): Effect.Effect<never, SqlError> =>
  Effect.acquireUseRelease(
    Effect.sync(() => ({ connection: Scope.makeUnsafe(), listener: Scope.makeUnsafe() })),
    Effect.fnUntraced(function*(scopes) {
      const connection = yield* Scope.provide(
        PgConnection.make({ ...config, keepAlive: config.keepAlive ?? "10 seconds" }),
        scopes.connection
      )
      const pinned = yield* Scope.provide(connection.pin, scopes.listener)
      const within = <A>(effect: Effect.Effect<A, SqlError>) => withTimeout(effect, deadlines.statementTimeout)
      const queue = yield* within(Scope.provide(pinned.listen(channel), scopes.listener))
      const check = Effect.andThen(
        Effect.sleep(Math.min(deadlines.statementTimeout, maxHeartbeat)),
        within(pinned.query("select 1"))
      )
      return yield* Effect.raceFirst(receive(queue, onNotification), Effect.forever(check))
    }),
    // A closed connection does not run UNLISTEN, for whose response the listener would wait for ever.
    ({ connection, listener }) => Effect.andThen(Scope.close(connection, Exit.void), Scope.close(listener, Exit.void))
  )
