/**
 * The `@effect/sql-pg` client over a PostgreSQL in this process: PGlite, PostgreSQL 18 compiled to WebAssembly.
 *
 * @since 0.1.0
 */
import { PgClient, type PgConnection } from "@effect/sql-pg"
import { type Extensions, PGlite } from "@electric-sql/pglite"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Reactivity from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import { Buffer } from "node:buffer"
import * as DataDirectory from "./DataDirectory.ts"
import { PgliteError } from "./PgliteError.ts"
import type { Notification } from "./PgWireMessages.ts"
import { Session } from "./PgWireSession.ts"

/**
 * Options of a PGlite that {@link layer} opens and closes.
 *
 * @since 0.1.0
 * @category options
 */
export interface DatabaseOptions {
  /** The data directory, which is created if it does not exist. Without one the data is in memory, and lost at the end. */
  readonly dataDir?: string | undefined
  /**
   * Whether a commit waits until it is on disk. `true` by default, as in PostgreSQL. With `false` a commit survives a crash of the
   * process, but not of the machine.
   */
  readonly fsync?: boolean | undefined
  /**
   * A dump of `PGlite.dumpDataDir` from which a new database is created, or a function that returns it. It is much faster than to create
   * an empty one. An existing database does not need it, and does not call the function.
   */
  readonly loadDataDir?: Blob | (() => Promise<Blob>) | undefined
  readonly extensions?: Extensions | undefined
}

/**
 * Options of the client: those of `PgClient` except the ones for the connection and the pool.
 *
 * @since 0.1.0
 * @category options
 */
export interface ClientOptions extends
  Omit<
    PgClient.PgClientConfig,
    | "url"
    | "host"
    | "port"
    | "path"
    | "ssl"
    | "database"
    | "username"
    | "password"
    | "keepAlive"
    | "stream"
    | "startupOptions"
  >
{}

/**
 * Options of {@link layer}: a database to open, or a PGlite that the caller closes.
 *
 * **Gotchas**
 *
 * The client resets the session of a given PGlite (`DISCARD ALL`). PGlite's `listen` and `live` do not see changes made through the
 * client. PGlite's own methods wait while the client is in a transaction, and the client waits for theirs.
 *
 * @since 0.1.0
 * @category options
 */
export type Options =
  & ClientOptions
  & (
    | DatabaseOptions & { readonly pglite?: undefined }
    | { readonly pglite: PGlite } & { readonly [Key in keyof DatabaseOptions]?: undefined }
  )

/** PostgreSQL's own limit of a value. Messages are in this process already, so a lower limit would protect nothing. */
const maxMessageSize = 0x3fffffff

/**
 * Opens a PGlite, and closes it with the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const open = Effect.fnUntraced(function*(
  options: DatabaseOptions = {}
): Effect.fn.Return<PGlite, PgliteError, Scope.Scope> {
  const folder = options.dataDir === undefined
    ? undefined
    : yield* DataDirectory.open(options.dataDir, options.fsync ?? true)
  const isNew = folder?.isNew ?? true
  const pglite = yield* Effect.acquireRelease(
    Effect.tryPromise({
      try: async () => {
        const { extensions, loadDataDir } = options
        const dump = typeof loadDataDir === "function" && isNew ? await loadDataDir() : loadDataDir
        return await PGlite.create({
          ...folder?.options,
          ...(isNew && dump instanceof Blob ? { loadDataDir: dump } : {}),
          ...(extensions === undefined ? {} : { extensions })
        })
      },
      catch: (cause) =>
        new PgliteError({
          reason: "Start",
          message: options.dataDir === undefined
            ? "PGlite did not start"
            : `PGlite did not start on the folder ${options.dataDir}`,
          cause
        })
    }),
    // The caller may have closed it already, which makes this fail.
    (pglite) => Effect.ignore(Effect.tryPromise(() => pglite.close()))
  )
  if (folder !== undefined) yield* folder.finish
  return pglite
})

const served = new WeakSet<PGlite>()

const serve = (pglite: PGlite): Effect.Effect<Session, PgliteError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      if (served.has(pglite)) {
        return Effect.fail(
          new PgliteError({ reason: "InUse", message: "The given PGlite already has a client, and only one session" })
        )
      }
      served.add(pglite)
      return Effect.succeed(new Session(pglite))
    }),
    (session) =>
      Effect.andThen(
        Effect.promise(() => session.close()),
        Effect.sync(() => served.delete(pglite))
      )
  )

const listenError = (cause: unknown): SqlError =>
  new SqlError({ reason: new UnknownError({ cause, message: "Failed to listen", operation: "listen" }) })

const listen = (session: Session) =>
  Effect.fnUntraced(function*(
    channel: string
  ): Effect.fn.Return<Queue.Dequeue<PgConnection.Notification, SqlError>, SqlError, Scope.Scope> {
    // PostgreSQL truncates a longer name, and would listen to another channel.
    if (Buffer.byteLength(channel) > 63) return yield* listenError(new Error("A channel name has at most 63 bytes"))
    const queue = yield* Effect.acquireRelease(Queue.unbounded<Notification, SqlError>(), Queue.shutdown)
    const listener = (notification: Notification) => Queue.offerUnsafe(queue, notification)
    yield* Effect.addFinalizer(() => Effect.sync(() => session.unlisten(channel, listener)))
    yield* Effect.tryPromise({
      try: (signal) => session.listen(channel, listener, signal),
      catch: listenError
    })
    return queue
  })

/**
 * Makes a client that is closed with the scope; see {@link layer}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<PgClient.PgClient, PgliteError | SqlError, Scope.Scope | Reactivity.Reactivity> {
  const { dataDir, extensions, fsync, loadDataDir, pglite: given, ...config } = options
  const session = yield* serve(given ?? (yield* open({ dataDir, extensions, fsync, loadDataDir })))
  const client = yield* PgClient.make({
    maxMessageSize,
    ...config,
    // Only for the attributes of spans; the client uses the stream.
    host: "pglite",
    username: "postgres",
    database: "postgres",
    ssl: false,
    stream: session.connect,
    // A pool rather than `makeClient`, since it replaces a connection that has died.
    minConnections: 1,
    maxConnections: 1
  })
  return Object.assign(client, {
    // That of `PgClient` would occupy the only connection.
    listen: listen(session),
    // That of `PgClient` needs a second connection within a transaction.
    notify: (channel: string, payload: string) => Effect.asVoid(client`SELECT pg_notify(${channel}, ${payload})`)
  })
})

/**
 * Provides `PgClient` and `SqlClient` over an embedded PostgreSQL.
 *
 * **Details**
 *
 * There is one session: statements of concurrent fibers run one after the other, and a transaction has the database exclusively. Only
 * `listen` needs no connection. A `notify` within a transaction is part of it.
 *
 * **Gotchas**
 *
 * A transaction that waits for another fiber's statement waits forever, and so does one that calls `listen`. A statement runs on this
 * thread, so it cannot be interrupted and cannot time out while it computes. `COPY … FROM STDIN`, which the client does not support,
 * never ends.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<
  PgClient.PgClient | SqlClient.SqlClient,
  PgliteError | SqlError
> => PgClient.layerFrom(make(options))
