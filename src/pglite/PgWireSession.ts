/**
 * PGlite's one session, served to a PostgreSQL client as if it were a socket.
 *
 * @since 0.1.0
 */
import type { PGlite } from "@electric-sql/pglite"
import { Buffer } from "node:buffer"
import { once } from "node:events"
import { Duplex } from "node:stream"
import { setImmediate } from "node:timers/promises"

const cancelRequest = 80877102
const terminate = 0x58 // X
const simpleQuery = 0x51 // Q
const errorResponse = 0x45 // E
const notificationResponse = 0x41 // A

/** The type of a message and its length, which counts itself but not the type. */
const headLength = 5

/** PGlite computes on this thread; between its statements others must get their turn. */
const turn = 8

/** What `startup` of the wire protocol may say that is no setting. */
const notSettings: ReadonlySet<string> = new Set(["user", "database", "replication", "options", "client_encoding"])

/** @since 0.1.0 */
export interface Notification {
  readonly processId: number
  readonly channel: string
  readonly payload: string
}

/** @since 0.1.0 */
export type Listener = (notification: Notification) => void

interface Message {
  readonly type: number
  readonly body: Buffer
  readonly whole: Buffer
}

function* messages(output: Buffer): Generator<Message> {
  for (let at = 0; at < output.length;) {
    const end = at + 1 + output.readInt32BE(at + 1)
    yield { type: output[at]!, body: output.subarray(at + headLength, end), whole: output.subarray(at, end) }
    at = end
  }
}

/** The whole message, as it came. */
const firstError = (output: Buffer): Buffer | undefined => {
  for (const { type, whole } of messages(output)) if (type === errorResponse) return whole
  return undefined
}

const texts = (body: Buffer): Array<string> => body.toString("utf8").split("\0")

const errorText = (error: Buffer): string =>
  texts(error.subarray(headLength)).find((field) => field.startsWith("M"))?.slice(1) ?? "Unknown PostgreSQL error"

const encodeQuery = (sql: string): Buffer => {
  const text = Buffer.from(`${sql}\0`)
  const head = Buffer.alloc(headLength)
  head.writeUInt8(simpleQuery)
  head.writeInt32BE(text.length + 4, 1)
  return Buffer.concat([head, text])
}

const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`

const listenTo = (channel: string): string => `LISTEN "${channel.replaceAll("\"", "\"\"")}"`

/** @since 0.1.0 */
export class Session {
  readonly #pglite: PGlite
  readonly #listeners = new Map<string, Set<Listener>>()
  readonly #connections = new Set<Connection>()
  readonly #stopHearing: () => void
  #turnStarted = 0

  constructor(pglite: PGlite) {
    this.#pglite = pglite
    // For a NOTIFY by way of PGlite's own methods; it does not see what `exchange` gets back.
    this.#stopHearing = pglite.onNotification((channel, payload) => this.#deliver({ processId: 0, channel, payload }))
  }

  readonly connect = (): Duplex => {
    const connection = new Connection(this)
    this.#connections.add(connection)
    connection.once("close", () => this.#connections.delete(connection))
    return connection
  }

  /** When it is done, no connection has a transaction open: one that was ended may still be about to be. */
  async close(): Promise<void> {
    this.#stopHearing()
    this.#listeners.clear()
    await Promise.all(Array.from(this.#connections, (connection) => {
      const closed = once(connection, "close")
      connection.destroy()
      return closed
    }))
  }

  /** Exclusive use of PGlite, also against statements and transactions by way of its own methods. */
  async lease(): Promise<() => void> {
    const release = await new Promise<() => void>((resolve, reject) => {
      this.#pglite._runExclusiveTransaction(() => new Promise<void>((release) => resolve(release))).catch(reject)
    })
    if (performance.now() - this.#turnStarted > turn) {
      await setImmediate()
      this.#turnStarted = performance.now()
    }
    return release
  }

  /** To be called with a lease only. The statement has run when this returns; the promise is for the file system. */
  async exchange(frame: Uint8Array): Promise<Buffer> {
    const chunks: Array<Uint8Array> = []
    // `execProtocolRaw` would keep every message it ever answered.
    await this.#pglite.execProtocolRawStream(frame, { onRawData: (bytes) => chunks.push(bytes.slice()) })
    const output = Buffer.concat(chunks)
    if (this.#listeners.size > 0) this.#hear(output)
    return output
  }

  isInTransaction(): boolean {
    return this.#pglite.isInTransaction()
  }

  /** As new, but for what is listened to. Answers PostgreSQL's error, if there is one. */
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
   * Needs no connection of its own: the one session hears everything. There is no UNLISTEN: a scope may end amid a
   * transaction, where it would wait for itself, and what nobody listens to any more is dropped.
   */
  async listen(channel: string, listener: Listener, signal: AbortSignal): Promise<void> {
    const release = await this.lease()
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

  #hear(output: Buffer): void {
    for (const { body, type } of messages(output)) {
      if (type !== notificationResponse) continue
      const [channel = "", payload = ""] = texts(body.subarray(4))
      this.#deliver({ processId: body.readInt32BE(0), channel, payload })
    }
  }

  #deliver(notification: Notification): void {
    for (const listener of this.#listeners.get(notification.channel) ?? []) listener(notification)
  }
}

/**
 * A client's connection: frames in, answers out, one frame at a time. The client writes whole frames, and a stream
 * without `_writev` hands them on as they were written.
 */
class Connection extends Duplex {
  readonly #session: Session
  /** Held from the statement that begins a transaction to the one that ends it. */
  #release: (() => void) | undefined
  #serving: Promise<void> = Promise.resolve()

  constructor(session: Session) {
    super()
    this.#session = session
  }

  // The answer is in memory when it is known: holding it back would save nothing.
  override _read(): void {}

  override _write(frame: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#serving = this.#serve(frame)
    this.#serving.then(() => done(), done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#leave().then(() => done(error), done)
  }

  async #leave(): Promise<void> {
    // Without a lease it may be waiting for one, which can take as long as somebody else's transaction.
    if (this.#release === undefined) return
    // What makes these fail, such as PGlite closed by its owner, ends the transaction as well.
    await this.#serving.catch(() => {})
    if (this.#release === undefined) return
    await this.#session.rollback().catch(() => {})
    this.#release()
    this.#release = undefined
  }

  async #serve(frame: Buffer): Promise<void> {
    const untyped = frame[0] === 0
    // A statement has ended before this can arrive: PGlite runs it on this very thread.
    if (frame[0] === terminate || (untyped && frame.readInt32BE(4) === cancelRequest)) {
      this.destroy()
      return
    }
    if (this.#release === undefined) {
      const release = await this.#session.lease()
      // Whoever sent the frame has given up on it.
      if (this.destroyed) return release()
      this.#release = release
    }
    if (untyped) await this.#start(frame)
    else this.#answer(await this.#session.exchange(frame))
    if (this.#release !== undefined && !this.#session.isInTransaction()) {
      const release = this.#release
      this.#release = undefined
      release()
    }
  }

  async #start(frame: Buffer): Promise<void> {
    const words = texts(frame.subarray(8))
    const settings: Array<readonly [string, string]> = []
    for (let index = 0; index + 1 < words.length && words[index] !== ""; index += 2) {
      if (!notSettings.has(words[index]!)) settings.push([words[index]!, words[index + 1]!])
    }
    const error = await this.#session.reset(settings)
    this.#answer(error ?? await this.#session.exchange(frame))
  }

  #answer(output: Buffer): void {
    if (!this.destroyed) this.push(output)
  }
}
