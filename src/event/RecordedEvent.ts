/**
 * An event as the log holds it, before and after decoding.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type { Metadata } from "../core/Metadata.ts"
import type { Position } from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { Version } from "../core/Version.ts"

/**
 * An encoded event on its way into the log. `data` and `metadata` are JSON text, made once, so that its size is known and
 * nothing can change it any more.
 *
 * - `id`: a UUID, drawn at random
 * - `type`: the event's name
 * - `schemaVersion`: the version of its schema, from 1
 * - `data`: the payload without its `_tag`
 * - `tags`: what else it can be found by, besides its type
 * - `opened`: where it has personal data, the payload with that in plaintext. No store keeps it
 *
 * @since 0.1.0
 * @category models
 */
export interface NewEvent {
  readonly id: string
  readonly type: string
  readonly schemaVersion: number
  readonly data: string
  readonly metadata: string
  readonly tags?: ReadonlyArray<string> | undefined
  readonly decrypted?: string | undefined
}

/**
 * An event in the log, payload still encoded, as every store returns it.
 *
 * - `data`: the payload as it is kept: personal data encrypted
 * - `opened`: where it has personal data, the payload with that in plaintext, or as `Erased`; or why it cannot be read
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
  readonly data: Schema.Json
  readonly metadata: Metadata
  readonly tags: ReadonlyArray<string>
  readonly recordedAt: DateTime.Utc
  readonly decrypted?: Result.Result<Schema.Json, string>
}

/**
 * An event as it is kept, byte for byte. `data` and `metadata` are the JSON text that was written.
 *
 * - `commandId`, `commandEvents`: on the first event of an append under a command id, that id, and how many events the append wrote
 * - `recordedMicros`: what the time has below the millisecond, which no store writes; where something else has
 * - `hash`: the event's link in the hash chain of its stream, 64 hexadecimal digits; where it is chained
 * - `closes`: on the last event of a closed stream
 * - `previous`: the event before it in its stream that is there; where a reader has asked for it, and there is one
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
  readonly data: string
  readonly metadata: string
  readonly tags: ReadonlyArray<string>
  readonly recordedAt: DateTime.Utc
  readonly commandId?: string
  readonly commandEvents?: number
  readonly recordedMicros?: number
  readonly hash?: string
  readonly closes?: true
  readonly previous?: { readonly version: Version; readonly hash?: string }
}

/**
 * A recorded event together with its decoded domain event.
 *
 * - `part`: from 0, which one of the domain events it is, where the recorded event was split into several since. All of them have the same
 *   `id`; who has to tell repetitions of them apart takes both
 *
 * @since 0.1.0
 * @category models
 */
export interface RecordedEvent<out Event> extends EncodedEvent {
  readonly event: Event
  readonly part: number
}

/**
 * Where and when an event was recorded.
 *
 * @since 0.1.0
 * @category models
 */
export type EventPlacement = Pick<EncodedEvent, "position" | "stream" | "version" | "recordedAt">

/**
 * The recorded event of a new one.
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
  // The texts were made by JSON.stringify, from a JSON value and from a Metadata.
  data: JSON.parse(event.data) as Schema.Json,
  metadata: JSON.parse(event.metadata) as Metadata,
  tags: event.tags ?? [],
  recordedAt,
  ...(event.decrypted === undefined ? {} : { decrypted: Result.succeed(JSON.parse(event.decrypted) as Schema.Json) })
})
