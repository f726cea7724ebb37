/**
 * An event as the log holds it, before and after decoding: `NewEvent` on its way in, `StoredEvent` as a row, `EncodedEvent` with its payload as
 * JSON, `RecordedEvent` with its decoded domain event.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { parseJson } from "../core/json/parseJson.ts"
import type { Metadata } from "../core/Metadata.ts"
import type { Position } from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { Version } from "../core/Version.ts"

/**
 * An encoded event on its way into the log. `data` and `metadata` are JSON text, made once, so that its size is fixed and nothing can change it.
 *
 * @since 0.1.0
 * @category models
 */
export interface NewEvent {
  /** A random UUID. */
  readonly id: string
  /** The name of the event. */
  readonly type: string
  /** The version of its schema, from 1. */
  readonly schemaVersion: number
  /** The payload without its `_tag`, personal data encrypted. */
  readonly data: string
  readonly metadata: string
  /** The tags by which a query can find it. */
  readonly tags?: ReadonlyArray<string> | undefined
  /** The payload with its personal data in plaintext, if it has any. No store keeps it. */
  readonly decrypted?: string | undefined
  /** The id of the last erasure before the plaintext was encrypted. No store keeps it. */
  readonly lastErasure?: string | undefined
}

/**
 * An event in the log whose payload is still encoded, as every store returns it.
 *
 * @since 0.1.0
 * @category models
 */
export interface EncodedEvent {
  readonly position: Position
  readonly stream: StreamId
  readonly version: Version
  readonly id: string
  readonly type: string
  readonly schemaVersion: number
  /** The payload as it is stored, personal data encrypted. */
  readonly data: Schema.Json
  readonly metadata: Metadata
  readonly tags: ReadonlyArray<string>
  readonly recordedAt: DateTime.Utc
  /**
   * The payload with its personal data decrypted, the erased fields as `Erased`, or the reason why it cannot be decrypted. Undefined for an event
   * without personal data.
   */
  readonly decrypted?: Result.Result<Schema.Json, string>
  /** What is wrong with the stored row. The event cannot be decoded then, and the columns concerned have a substitute here. */
  readonly malformed?: string
}

/**
 * An event as it is stored, byte for byte.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredEvent {
  readonly position: Position
  readonly stream: StreamId
  readonly version: Version
  readonly id: string
  readonly type: string
  readonly schemaVersion: number
  /** The JSON text of the payload, as it was written. */
  readonly data: string
  /** The JSON text of the metadata, as it was written. */
  readonly metadata: string
  readonly tags: ReadonlyArray<string>
  readonly recordedAt: DateTime.Utc
  /** The command id of the append, on its first event. */
  readonly commandId?: string
  /** How many events the append under that command id has, on its first event. */
  readonly commandEvents?: number
  /** The microseconds of `recordedAt` below its millisecond. No store writes them; another program may have. */
  readonly recordedMicros?: number
  /** The event's link in the hash chain of its stream, 64 hexadecimal digits. Only streams with a hash chain have it. */
  readonly hash?: string
  /** Whether the event closes its stream. */
  readonly closes?: true
  /** The event before it in its stream, if the reader has asked for it and there is one. */
  readonly previous?: { readonly version: Version; readonly hash?: string }
  /** Whether the log has an event of the same stream and version at an earlier position, if the reader has asked for links. */
  readonly repeats?: true
}

/**
 * An event in the log together with its decoded domain event.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecordedEvent<out Event> extends EncodedEvent {
  readonly event: Event
  /**
   * The index of this domain event, from 0, among those that an upcaster has split the stored event into. All of them have the same `id`: a handler
   * that detects repetitions by `id` must include `part`.
   */
  readonly part: number
}

/**
 * Freezes what an event shares with everything that is decoded from it: the JSON of its payload, which `Schema.Unknown` returns as it is, its metadata and
 * its tags. Call it for an event that more than one reader, document or attempt receives.
 *
 * @since 0.1.0
 * @category combinators
 */
export const freeze = <E extends EncodedEvent>(event: E): E => {
  const { data, decrypted, metadata, tags } = event
  freezeJson(data)
  freezeJson(metadata)
  freezeJson(tags)
  if (decrypted !== undefined && Result.isSuccess(decrypted)) freezeJson(decrypted.success)
  return event
}

/** Parsed JSON has neither cycles nor accessors, and a part is frozen after its own parts. So it takes a fraction of the time of `deepFreeze`. */
const freezeJson = (value: unknown): void => {
  if (!Predicate.isObjectOrArray(value) || Object.isFrozen(value)) return
  const found = [value]
  for (const one of found) {
    for (const inner of Object.values(one)) {
      if (Predicate.isObjectOrArray(inner) && !Object.isFrozen(inner)) found.push(inner)
    }
  }
  for (let index = found.length - 1; index >= 0; index--) Object.freeze(found[index])
}

/**
 * Where and when an event was recorded.
 *
 * @since 0.1.0
 * @category models
 */
export type EventPlacement = Pick<EncodedEvent, "position" | "stream" | "version" | "recordedAt">

/**
 * Returns a new event as readers will find it at its place in the log.
 *
 * @since 0.1.0
 * @category constructors
 */
export const toEncodedEvent = (
  event: NewEvent,
  { position, recordedAt, stream, version }: EventPlacement
): EncodedEvent => ({
  position,
  stream,
  version,
  id: event.id,
  type: event.type,
  schemaVersion: event.schemaVersion,
  // JSON.stringify has made both texts, from a JSON value and from a Metadata.
  data: parseJson(event.data),
  metadata: parseJson(event.metadata) as Metadata,
  tags: event.tags ?? [],
  recordedAt,
  ...(event.decrypted === undefined ? {} : { decrypted: Result.succeed(parseJson(event.decrypted)) })
})
