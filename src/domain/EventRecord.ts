/**
 * An event as the log holds it, before and after decoding.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Schema from "effect/Schema"
import type { Metadata } from "./Metadata.ts"
import type { Position } from "./Position.ts"
import type { StreamId } from "./StreamId.ts"
import type { Version } from "./Version.ts"

/**
 * An encoded event on its way into the log. `data` and `metadata` are JSON text, made once, so that its size is known and
 * nothing can change it any more.
 *
 * - `id`: a UUID, drawn at random
 * - `type`: the event's name
 * - `schemaVersion`: the version of its schema, from 1
 * - `data`: the payload without its `_tag`
 * - `tags`: what else it can be found by, besides its type
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
}

/**
 * An event in the log, payload still encoded, as every store returns it.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecordedEvent {
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
}

/**
 * An event as it is kept, to the letter. `data` and `metadata` are the JSON text that was written.
 *
 * - `commandId`, `commandEvents`: on the first event of an append under a command id, that id, and how many events the append wrote
 * - `hash`: the event's link in the hash chain of its stream, 64 hexadecimal digits; where it is chained
 *
 * @since 0.1.0
 * @category models
 */
export interface RawEvent {
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
  readonly hash?: string
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
export interface EventRecord<out Event> extends RecordedEvent {
  readonly event: Event
  readonly part: number
}

/**
 * Where and when an event was recorded.
 *
 * @since 0.1.0
 * @category models
 */
export type Place = Pick<RecordedEvent, "position" | "stream" | "version" | "recordedAt">

/**
 * The recorded event of a new one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const record = (event: NewEvent, { position, recordedAt, stream, version }: Place): RecordedEvent => ({
  position,
  stream,
  version,
  id: event.id,
  type: event.type,
  schemaVersion: event.schemaVersion,
  // Both texts were made by JSON.stringify, from a JSON value and from a Metadata.
  data: JSON.parse(event.data) as Schema.Json,
  metadata: JSON.parse(event.metadata) as Metadata,
  tags: event.tags ?? [],
  recordedAt
})
