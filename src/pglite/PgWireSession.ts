/**
 * Serves PGlite's only session to a PostgreSQL client as if it were a socket.
 *
 * @since 0.1.0
 */
import type { PGlite } from "@electric-sql/pglite"
import { Buffer } from "node:buffer"
import { once } from "node:events"
import { Duplex } from "node:stream"
import { setImmediate } from "node:timers/promises"
import {
  encodeQuery,
  endsConnection,
  errorText,
  firstError,
  isUntyped,
  type Notification,
  notificationsIn,
  settingsIn
} from "./PgWireMessages.ts"

/** PGlite computes on this thread. After so many milliseconds other tasks get a turn between two statements. */
const maxTurn = 8

/**
 * Receives the notifications of a channel.
 *
 * @since 0.1.0
 * @category models
 */
export type Listener = (notification: Notification) => void

const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`

const listenTo = (channel: string): string => `LISTEN "${channel.replaceAll("\"", "\"\"")}"`

/**
 * PGlite's session, shared by the connections of a client.
 *
 * @since 0.1.0
 * @category models
 */
export class Session {
  readonly #pglite: PGlite
  readonly #listeners = new Map<string, Set<Listener>>()
  readonly #connections = new Set<Connection>()
  readonly #removeNotificationListener: () => void
  #turnStarted = 0

  constructor(pglite: PGlite) {
    this.#pglite = pglite
    // Notifications that PGlite's own methods receive. Those in the output of `exchange` are read there.
    this.#removeNotificationListener = pglite.onNotification((channel, payload) =>
      this.#deliver({ processId: 0, channel, payload })
    )
  }

  readonly connect = (): Duplex => {
    const connection = new Connection(this)
    this.#connections.add(connection)
    connection.once("close", () => this.#connections.delete(connection))
    return connection
  }

  /** Ends all connections, and waits until their transactions are rolled back. */
  async close(): Promise<void> {
    this.#removeNotificationListener()
    this.#listeners.clear()
    await Promise.all(Array.from(this.#connections, (connection) => {
      const closed = once(connection, "close")
      connection.destroy()
      return closed
    }))
  }

  /** Acquires PGlite exclusively, also against its own methods, and returns the release. */
  async acquire(): Promise<() => void> {
    const release = await new Promise<() => void>((resolve, reject) => {
      this.#pglite._runExclusiveTransaction(() => new Promise<void>((release) => resolve(release))).catch(reject)
    })
    if (performance.now() - this.#turnStarted > maxTurn) {
      await setImmediate()
      this.#turnStarted = performance.now()
    }
    return release
  }

  /** Sends a message and returns the output. Only the connection that has acquired the session may call it. */
  async exchange(frame: Uint8Array): Promise<Buffer> {
    const chunks: Array<Uint8Array> = []
    // `execProtocolRaw` retains every message that it has returned.
    await this.#pglite.execProtocolRawStream(frame, { onRawData: (bytes) => chunks.push(bytes.slice()) })
    const output = Buffer.concat(chunks)
    if (this.#listeners.size > 0) {
      for (const notification of notificationsIn(output)) this.#deliver(notification)
    }
    return output
  }

  isInTransaction(): boolean {
    return this.#pglite.isInTransaction()
  }

  /** Resets the session except for its LISTENs, applies settings, and returns PostgreSQL's error message if there is one. */
  async reset(settings: Iterable<readonly [name: string, value: string]>): Promise<Buffer | undefined> {
    const statements = [
      "ROLLBACK",
      "DISCARD ALL",
      ...Array.from(settings, ([name, value]) => `SELECT set_config(${literal(name)}, ${literal(value)}, false)`),
      ...Array.from(this.#listeners.keys(), listenTo)
    ]
    for (const statement of statements) {
      const error = firstError(await this.exchange(encodeQuery(statement)))
      if (error !== undefined) return error
    }
    return undefined
  }

  async rollback(): Promise<void> {
    await this.exchange(encodeQuery("ROLLBACK"))
  }

  /**
   * Listens to a channel without a connection of its own, because the only session receives all notifications. There is no UNLISTEN: a
   * scope may end within a transaction, where the statement would wait for itself. Notifications without a listener are dropped.
   */
  async listen(channel: string, listener: Listener, signal: AbortSignal): Promise<void> {
    const release = await this.acquire()
    try {
      if (signal.aborted) return
      const listeners = this.#listeners.get(channel)
      if (listeners !== undefined) {
        listeners.add(listener)
        return
      }
      this.#listeners.set(channel, new Set([listener]))
      const error = firstError(await this.exchange(encodeQuery(listenTo(channel))))
      if (error !== undefined) {
        this.unlisten(channel, listener)
        throw new Error(errorText(error))
      }
    } finally {
      release()
    }
  }

  unlisten(channel: string, listener: Listener): void {
    const listeners = this.#listeners.get(channel)
    if (listeners?.delete(listener) === true && listeners.size === 0) this.#listeners.delete(channel)
  }

  #deliver(notification: Notification): void {
    for (const listener of this.#listeners.get(notification.channel) ?? []) listener(notification)
  }
}

/**
 * A connection of the client. It receives messages and sends output, one message at a time. The client writes whole messages, and a
 * stream without `_writev` passes them on as they were written.
 */
class Connection extends Duplex {
  readonly #session: Session
  /** Set while the connection has acquired the session: for one message, or from the begin of a transaction to its end. */
  #release: (() => void) | undefined
  #serving: Promise<void> = Promise.resolve()

  constructor(session: Session) {
    super()
    this.#session = session
  }

  // The output is in memory already, so backpressure would save nothing.
  override _read(): void {}

  override _write(frame: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#serving = this.#serve(frame)
    this.#serving.then(() => done(), done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#leave().then(() => done(error), done)
  }

  async #leave(): Promise<void> {
    // Without the session there is nothing to release; it may still wait for another connection's transaction.
    if (this.#release === undefined) return
    // If these fail, for example because PGlite is closed, the transaction has ended too.
    await this.#serving.catch(() => {})
    if (this.#release === undefined) return
    await this.#session.rollback().catch(() => {})
    this.#release()
    this.#release = undefined
  }

  async #serve(frame: Buffer): Promise<void> {
    // A cancel request has nothing to cancel: PGlite ran the statement on this thread before the request could arrive.
    if (endsConnection(frame)) {
      this.destroy()
      return
    }
    if (this.#release === undefined) {
      const release = await this.#session.acquire()
      // The client has closed the connection meanwhile.
      if (this.destroyed) return release()
      this.#release = release
    }
    if (isUntyped(frame)) await this.#start(frame)
    else this.#respond(await this.#session.exchange(frame))
    if (this.#release !== undefined && !this.#session.isInTransaction()) {
      const release = this.#release
      this.#release = undefined
      release()
    }
  }

  async #start(frame: Buffer): Promise<void> {
    const error = await this.#session.reset(settingsIn(frame))
    this.#respond(error ?? await this.#session.exchange(frame))
  }

  #respond(output: Buffer): void {
    if (!this.destroyed) this.push(output)
  }
}
