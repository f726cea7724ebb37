/**
 * Notifications between processes that the log has grown, or that a consumer has progressed: a `NOTIFY` after the commit, from another connection, because
 * within the append's transaction it would take a lock on the whole server. A notification may be lost, late or repeated, so readers poll too. Of a consumer's
 * progress only those processes are notified that have asked for it.
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
import { createHash, randomUUID } from "node:crypto"
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

/** How long a process receives the progress of a consumer after a request. A caller that waits for longer repeats the request. */
const interest = 5_000

/**
 * A participant in the notifications of a schema.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  readonly channel: string
  readonly connections: PgConnections
  /** Runs when another store has appended to the log. */
  readonly onLog?: Effect.Effect<void> | undefined
  /** Runs when a consumer has progressed in another store; without a name any may have. */
  readonly onProgress?: ((consumer: string | undefined) => Effect.Effect<void>) | undefined
}

/**
 * Sends notifications.
 *
 * @since 0.1.0
 * @category models
 */
export interface PgNotify {
  /** Notifies the other stores that the log has grown. It returns at once; the notification follows soon. */
  readonly notify: Effect.Effect<void>
  /** Notifies the other stores that a consumer has progressed, if one of them waits for it. It returns at once. */
  readonly progressed: (consumer: string) => Effect.Effect<void>
  /** Asks the other stores to notify this one when a consumer progresses. It returns at once. */
  readonly await: (consumer: string) => Effect.Effect<void>
  /** Returns whether notifications arrive. */
  readonly isListening: () => boolean
}

/** What all participants on one client and channel share: one connection that listens, and the notifications that are due. */
interface Shared {
  readonly scope: Scope.Closeable
  readonly participants: Set<Options>
  /** Distinguishes the notifications of this process, which its own stores do not need. */
  readonly id: string
  readonly log: Latch.Latch
  readonly others: Latch.Latch
  readonly due: Set<string>
  /** Until when another store waits for the progress of a consumer, in milliseconds. */
  readonly awaited: Map<string, number>
  /** The consumers that have progressed in this process since it has notified others of them: an answer for a store that asks afterwards. */
  readonly unsent: Set<string>
  /** When this process has asked for the progress of a consumer last. */
  readonly asked: Map<string, number>
  isListening: boolean
}

const ofClients = new WeakMap<PgClient.PgClient, Map<string, Shared>>()

/**
 * Takes part in the notifications of a channel. Those of other processes, and of the other stores on the same client, run the effects of the options.
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
  if (client === undefined) {
    return { notify: Effect.void, progressed: () => Effect.void, await: () => Effect.void, isListening: () => false }
  }
  const ofClient = ofClients.get(client) ?? new Map<string, Shared>()
  ofClients.set(client, ofClient)
  const found = ofClient.get(options.channel)
  const shared = found ?? empty()
  ofClient.set(options.channel, shared)
  shared.participants.add(options)
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      shared.participants.delete(options)
      if (shared.participants.size > 0) return Effect.void
      ofClient.delete(options.channel)
      return Scope.close(shared.scope, Exit.void)
    })
  )
  if (found === undefined) yield* Scope.provide(run(client, options, shared), shared.scope)
  return handleOf(options, shared)
})

const empty = (): Shared => ({
  scope: Scope.makeUnsafe(),
  participants: new Set(),
  id: randomUUID(),
  log: Latch.makeUnsafe(false),
  others: Latch.makeUnsafe(false),
  due: new Set(),
  awaited: new Map(),
  unsent: new Set(),
  asked: new Map(),
  isListening: false
})

const handleOf = (options: Options, shared: Shared): PgNotify => {
  const tellOthers = (tell: (other: Options) => Effect.Effect<void> | undefined) =>
    Effect.forEach(
      Array.from(shared.participants).filter((other) => other !== options),
      (other) => tell(other) ?? Effect.void,
      { discard: true }
    )
  return {
    notify: Effect.suspend(() => {
      shared.log.openUnsafe()
      return tellOthers(({ onLog }) => onLog)
    }),
    progressed: (consumer) =>
      Effect.suspend(() => {
        shared.unsent.add(consumer)
        if ((shared.awaited.get(consumer) ?? 0) > performance.now()) sendProgress(shared, consumer)
        return tellOthers(({ onProgress }) => onProgress?.(consumer))
      }),
    await: (consumer) =>
      Effect.sync(() => {
        const now = performance.now()
        // Half of the time, so that there is no gap.
        if (now - (shared.asked.get(consumer) ?? -Infinity) < interest / 2) return
        shared.asked.set(consumer, now)
        send(shared, `await ${shared.id} ${consumer}`)
      }),
    isListening: () => shared.isListening
  }
}

const send = (shared: Shared, payload: string): void => {
  shared.due.add(payload)
  shared.others.openUnsafe()
}

/** Notifies the other stores of the progress of a consumer, if it has progressed in this process since it has done so. All of them receive it. */
const sendProgress = (shared: Shared, consumer: string): void => {
  if (shared.unsent.delete(consumer)) send(shared, `progress ${shared.id} ${consumer}`)
}

/** Sends what is due, and listens, in the scope. */
const run = Effect.fnUntraced(function*(client: PgClient.PgClient, options: Options, shared: Shared) {
  const send = (latch: Latch.Latch, take: () => ReadonlyArray<string>) =>
    Effect.gen(function*() {
      yield* latch.await
      latch.closeUnsafe()
      yield* Effect.ignore(options.connections.statement(
        client.unsafe("select pg_notify($1, payload) from unnest($2::text[]) as payload", [options.channel, take()])
      ))
      yield* Effect.sleep(pause)
    }).pipe(Effect.forever, Effect.withTracerEnabled(false), Effect.forkScoped)
  yield* send(shared.log, () => [`log ${shared.id}`])
  yield* send(shared.others, () => {
    const due = Array.from(shared.due)
    shared.due.clear()
    return due
  })

  const outages = OutageLog.make("Listening for events of other processes")
  let delay = firstDelay
  const warn = (error: SqlError) =>
    outages.failed({
      source: "listener",
      kind: "failed",
      message: `Cannot listen for events of other processes; they are seen at the next poll: ${error.message}`,
      cause: Cause.fail(error)
    })
  const onBegin = Effect.suspend(() => {
    delay = firstDelay
    shared.isListening = true
    return outages.succeeded("listener")
  })
  const onNotifications = (payloads: ReadonlyArray<string>) => Effect.andThen(onBegin, dispatch(shared, payloads))
  const listen = isEmbedded(client)
    // A PGlite has a single connection, and listens without occupying it.
    ? Effect.scoped(Effect.flatMap(client.listen(options.channel), (queue) => receive(queue, onNotifications)))
    : listenAlone(client.config, options, onNotifications)
  const listenAgain = Effect.catch(
    Effect.ensuring(
      listen,
      Effect.sync(() => {
        shared.isListening = false
      })
    ),
    (error) =>
      Effect.andThen(
        warn(error),
        Effect.suspend(() => {
          const pause = isOutage(error) ? Math.min(delay, maxDelayInOutage) : delay
          delay = Math.min(delay * 2, maxDelay)
          return Effect.sleep(pause)
        })
      )
  )
  yield* Effect.forkScoped(Effect.forever(listenAgain))
})

/** Passes the payloads of other processes on to the readers of this one. A payload of another form is that of an older release: the log has grown. */
const dispatch = (shared: Shared, payloads: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.suspend(() => {
    let hasGrown = false
    const progressed = new Set<string | undefined>()
    for (const payload of payloads) {
      if (payload === missed) {
        progressed.add(undefined)
        // The other processes may have missed the question.
        shared.asked.clear()
      }
      const [, kind, id, consumer = ""] = /^(log|progress|await) (\S+)(?: (.*))?$/s.exec(payload) ?? []
      if (id === shared.id) continue
      if (kind === "progress") progressed.add(consumer)
      else if (kind === "await") {
        shared.awaited.set(consumer, performance.now() + interest)
        // What has happened before the question arrived.
        sendProgress(shared, consumer)
      } else hasGrown = true
    }
    return Effect.forEach(Array.from(shared.participants), ({ onLog, onProgress }) =>
      Effect.andThen(
        hasGrown ? onLog ?? Effect.void : Effect.void,
        onProgress === undefined ? Effect.void : Effect.forEach(progressed, onProgress, { discard: true })
      ), { discard: true })
  })

/** Stands for whatever was sent while this process did not listen. */
const missed = ""

const receive = (
  queue: Queue.Dequeue<PgConnection.Notification, SqlError>,
  onNotifications: (payloads: ReadonlyArray<string>) => Effect.Effect<void>
): Effect.Effect<never, SqlError> =>
  Effect.andThen(
    onNotifications([missed]),
    Effect.forever(
      Effect.flatMap(Queue.takeAll(queue), (all) => onNotifications(all.map(({ payload }) => payload ?? missed)))
    )
  )

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
  onNotifications: (payloads: ReadonlyArray<string>) => Effect.Effect<void>
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
      return yield* Effect.raceFirst(receive(queue, onNotifications), Effect.forever(check))
    }),
    // A closed connection does not run UNLISTEN, for whose response the listener would wait for ever.
    ({ connection, listener }) => Effect.andThen(Scope.close(connection, Exit.void), Scope.close(listener, Exit.void))
  )
