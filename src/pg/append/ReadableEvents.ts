/**
 * Rejects events that the client could write and not read: it closes a connection on which a larger message arrives than its `maxMessageSize`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import { type EventStoreError, invalidRequest } from "../../core/errors.ts"
import type { AppendRequest } from "../../eventStore/driver/EventStoreDriver.ts"
import { maxMessageSizeOf } from "../connections/ClientPool.ts"

/** What the other columns of an event need, in bytes. */
const reserved = 64 * 1024

/**
 * Returns a function that appends, and rejects events that are too large.
 *
 * @since 0.1.0
 * @category combinators
 */
export const rejectOthers = <A>(
  sql: SqlClient,
  append: (request: AppendRequest) => Effect.Effect<A, EventStoreError>
): (request: AppendRequest) => Effect.Effect<A, EventStoreError> => {
  const maxMessageSize = maxMessageSizeOf(sql)
  const max = maxMessageSize - reserved
  return (request) => {
    for (const { data, metadata, type } of request.events) {
      // A UTF-16 code unit has 3 bytes at most.
      if ((data.length + metadata.length) * 3 <= max) continue
      const bytes = Buffer.byteLength(data) + Buffer.byteLength(metadata)
      if (bytes > max) return Effect.fail(tooLarge(type, bytes, maxMessageSize))
    }
    return append(request)
  }
}

const tooLarge = (type: string, bytes: number, maxMessageSize: number): EventStoreError =>
  invalidRequest(
    `the event "${type}" has ${bytes} bytes, and the client could not read it: its maxMessageSize is ${maxMessageSize}, of which ${reserved} are for `
      + "the other columns; store large data elsewhere and refer to it, or raise maxMessageSize of PgClient in all programs"
  )
