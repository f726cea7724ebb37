/**
 * The bytes that the hash of an event is taken over, in streams with a hash chain.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import type { StoredEvent } from "./RecordedEvent.ts"

const utf8 = new TextEncoder()

/**
 * Returns the bytes of an event together with the hash of the event before it in its stream. The SHA-256 of these bytes is the event's own hash. No
 * two events have the same bytes: numbers have a fixed length, and every text follows its length. Numbers are big-endian.
 *
 * - the text `evsrc/1`, which names this encoding
 * - the previous event's hash, where it is chained
 * - stream, version (8 bytes), position (8), id, type, schema version (4), recorded at (8, in microseconds since 1970)
 * - command id, command events (4, -1 for none), the number of tags (4), the tags
 * - data and metadata, their JSON text byte for byte
 * - whether it closes its stream (4, 1 or 0)
 *
 * A text or a hash is its length in bytes (4), then its bytes; a missing one has the length -1. The function `set_event_hash` in
 * migrations/0001_event_store.sql does the same.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encode = (event: StoredEvent, previous: string | undefined): Uint8Array => {
  const parts: Array<Uint8Array> = []
  let size = 0
  const add = (part: Uint8Array): void => {
    parts.push(part)
    size += part.length
  }
  const int4 = (value: number): void => {
    const part = new Uint8Array(4)
    new DataView(part.buffer).setInt32(0, value)
    add(part)
  }
  const int8 = (value: bigint): void => {
    const part = new Uint8Array(8)
    new DataView(part.buffer).setBigInt64(0, value)
    add(part)
  }
  const bytes = (value: Uint8Array | undefined): void => {
    int4(value?.length ?? -1)
    if (value !== undefined) add(value)
  }
  const text = (value: string | undefined): void => bytes(value === undefined ? undefined : utf8.encode(value))

  text("evsrc/1")
  bytes(previous === undefined ? undefined : bytesOfHex(previous))
  text(event.stream)
  int8(BigInt(event.version))
  int8(event.position)
  text(event.id)
  text(event.type)
  int4(event.schemaVersion)
  int8(BigInt(DateTime.toEpochMillis(event.recordedAt)) * 1000n + BigInt(event.recordedMicros ?? 0))
  text(event.commandId)
  int4(event.commandEvents ?? -1)
  int4(event.tags.length)
  // A row that was changed by hand may have nulls among its tags.
  for (const tag of event.tags as ReadonlyArray<string | null>) text(tag ?? undefined)
  text(event.data)
  text(event.metadata)
  int4(event.closes === true ? 1 : 0)

  const all = new Uint8Array(size)
  let offset = 0
  for (const part of parts) {
    all.set(part, offset)
    offset += part.length
  }
  return all
}

/**
 * Returns the bytes of a hash in hexadecimal digits.
 *
 * @since 0.1.0
 * @category constructors
 */
export const bytesOfHex = (hex: string): Uint8Array =>
  Uint8Array.from({ length: hex.length / 2 }, (_, index) => Number.parseInt(hex.slice(2 * index, 2 * index + 2), 16))
