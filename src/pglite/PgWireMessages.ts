/**
 * Messages of PostgreSQL's wire protocol: the few that PGlite's session reads and writes itself.
 *
 * @since 0.1.0
 */
import { Buffer } from "node:buffer"

const cancelRequest = 80877102
const terminate = 0x58 // X
const simpleQuery = 0x51 // Q
const errorResponse = 0x45 // E
const notificationResponse = 0x41 // A

/** The size of a message's type and length. The length counts itself but not the type. */
const headerBytes = 5

/** The parameters of a startup message that are not settings of the session. */
const notSettings: ReadonlySet<string> = new Set(["user", "database", "replication", "options", "client_encoding"])

/**
 * A notification, sent by `NOTIFY`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Notification {
  readonly processId: number
  readonly channel: string
  readonly payload: string
}

interface Message {
  readonly type: number
  readonly body: Buffer
  readonly whole: Buffer
}

function* messagesIn(output: Buffer): Generator<Message> {
  for (let start = 0; start < output.length;) {
    const end = start + 1 + output.readInt32BE(start + 1)
    yield {
      type: output[start]!,
      body: output.subarray(start + headerBytes, end),
      whole: output.subarray(start, end)
    }
    start = end
  }
}

const textsIn = (body: Buffer): Array<string> => body.toString("utf8").split("\0")

/**
 * Returns the first error response, as the complete message.
 *
 * @since 0.1.0
 * @category accessors
 */
export const firstError = (output: Buffer): Buffer | undefined => {
  for (const { type, whole } of messagesIn(output)) if (type === errorResponse) return whole
  return undefined
}

/**
 * Returns the text of an error response.
 *
 * @since 0.1.0
 * @category accessors
 */
export const errorText = (error: Buffer): string =>
  textsIn(error.subarray(headerBytes)).find((field) => field.startsWith("M"))?.slice(1) ?? "Unknown PostgreSQL error"

/**
 * Returns the notifications in the database's output.
 *
 * @since 0.1.0
 * @category accessors
 */
export const notificationsIn = (output: Buffer): ReadonlyArray<Notification> => {
  const notifications: Array<Notification> = []
  for (const { body, type } of messagesIn(output)) {
    if (type !== notificationResponse) continue
    const [channel = "", payload = ""] = textsIn(body.subarray(4))
    notifications.push({ processId: body.readInt32BE(0), channel, payload })
  }
  return notifications
}

/**
 * Returns the message of a simple query.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encodeQuery = (sql: string): Buffer => {
  const text = Buffer.from(`${sql}\0`)
  const header = Buffer.alloc(headerBytes)
  header.writeUInt8(simpleQuery)
  header.writeInt32BE(text.length + 4, 1)
  return Buffer.concat([header, text])
}

/**
 * Returns whether a client's first message has no type, as startup messages and cancel requests have none.
 *
 * @since 0.1.0
 * @category guards
 */
export const isUntyped = (frame: Buffer): boolean => frame[0] === 0

/**
 * Returns whether a client's message ends its connection.
 *
 * @since 0.1.0
 * @category guards
 */
export const endsConnection = (frame: Buffer): boolean =>
  frame[0] === terminate || (isUntyped(frame) && frame.readInt32BE(4) === cancelRequest)

/**
 * Returns the session settings of a startup message.
 *
 * @since 0.1.0
 * @category accessors
 */
export const settingsIn = (startup: Buffer): ReadonlyArray<readonly [name: string, value: string]> => {
  const texts = textsIn(startup.subarray(8))
  const settings: Array<readonly [string, string]> = []
  for (let index = 0; index + 1 < texts.length && texts[index] !== ""; index += 2) {
    if (!notSettings.has(texts[index]!)) settings.push([texts[index]!, texts[index + 1]!])
  }
  return settings
}
