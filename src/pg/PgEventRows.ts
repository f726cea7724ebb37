/**
 * Rows of the events table as the driver returns them.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { Metadata } from "../core/Metadata.ts"
import type { Position } from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { Version } from "../core/Version.ts"
import type { EncodedEvent, StoredEvent } from "../event/RecordedEvent.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface EventRow {
  readonly position: bigint | null
  readonly stream: string
  readonly version: bigint
  readonly type: string
  readonly schema_version: number
  readonly id: string
  readonly data: unknown
  readonly metadata: unknown
  readonly recorded_at: Date
  readonly tags: ReadonlyArray<string> | null
}

/**
 * The columns of an `EventRow`.
 *
 * @since 0.1.0
 * @category constants
 */
export const columns = "position, stream, version, type, schema_version, id, data, metadata, recorded_at, tags"

/**
 * @since 0.1.0
 * @category models
 */
export interface StoredRow extends Omit<EventRow, "data" | "metadata"> {
  readonly data: string
  readonly metadata: string
  readonly command_id: string | null
  readonly command_events: number | null
  readonly closes: boolean | null
  readonly micros: number | null
  readonly hash: string | null
  readonly previous_version: bigint | null
  readonly previous_hash: string | null
}

/**
 * The recorded event of a row. The brands and the JSON types are what the table's own constraints and `append` guarantee; checking
 * them again for every row would double the cost of a read.
 *
 * @since 0.1.0
 * @category mapping
 */
export const recordedOf = (row: EventRow): EncodedEvent => ({
  position: row.position as Position,
  stream: row.stream as StreamId,
  version: Number(row.version) as Version,
  id: row.id,
  type: row.type,
  schemaVersion: row.schema_version,
  data: row.data as Schema.Json,
  metadata: row.metadata as Metadata,
  tags: row.tags ?? [],
  recordedAt: DateTime.makeUnsafe(row.recorded_at)
})

/**
 * The stored event of a row.
 *
 * @since 0.1.0
 * @category mapping
 */
export const storedOf = (row: StoredRow): StoredEvent => ({
  position: row.position as Position,
  stream: row.stream as StreamId,
  version: Number(row.version) as Version,
  id: row.id,
  type: row.type,
  schemaVersion: row.schema_version,
  data: row.data,
  metadata: row.metadata,
  tags: row.tags ?? [],
  // An infinite time, which nobody has appended, is no time.
  recordedAt: Option.getOrElse(DateTime.make(row.recorded_at), () => DateTime.makeUnsafe(0)),
  ...(row.command_id === null ? {} : { commandId: row.command_id }),
  ...(row.command_events === null ? {} : { commandEvents: row.command_events }),
  ...(row.micros === 0 || row.micros === null ? {} : { recordedMicros: row.micros }),
  ...(row.hash === null ? {} : { hash: row.hash }),
  ...(row.previous_version === null ? {} : {
    previous: {
      version: Number(row.previous_version) as Version,
      ...(row.previous_hash === null ? {} : { hash: row.previous_hash })
    }
  }),
  ...(row.closes === true ? { closes: true as const } : {})
})
