/**
 * Rows of events as the SQL client returns them.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import type * as Schema from "effect/Schema"
import { parseJson } from "../core/json/parseJson.ts"
import type { Metadata } from "../core/Metadata.ts"
import type { Position } from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { Version } from "../core/Version.ts"
import type { EncodedEvent, StoredEvent } from "../event/RecordedEvent.ts"

/**
 * A row of an event; `position` is null in the only row of an empty page. JSON is read as text, because the SQL client parses it with `JSON.parse`.
 *
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
  readonly data: string
  readonly metadata: string
  readonly recorded_at: Date
  readonly tags: ReadonlyArray<string> | null
}

/**
 * Returns the columns of an `EventRow`, of a table with this name in the statement.
 *
 * @since 0.1.0
 * @category accessors
 */
export const columnsOf = (table: string): string =>
  ["position", "stream", "version", "type", "schema_version", "id", "recorded_at", "tags"].map((name) =>
    `${table}.${name}`
  )
    .concat(["data", "metadata"].map((name) => `${table}.${name}::text as ${name}`)).join(", ")

/**
 * A row of a stored event.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredRow extends EventRow {
  readonly command_id: string | null
  readonly command_events: number | null
  readonly closes: boolean | null
  readonly micros: number | null
  readonly hash: string | null
  readonly previous_version: bigint | null
  readonly previous_hash: string | null
  readonly repeats: boolean | null
}

const isTags = (tags: ReadonlyArray<unknown> | null): boolean =>
  tags === null || tags.every((tag) => typeof tag === "string" && tag !== "")

const isMetadata = (metadata: unknown): metadata is Metadata =>
  typeof metadata === "object" && metadata !== null && !Array.isArray(metadata)

/** PostgreSQL has infinite times, which only a manual change can write. */
const isTime = (time: unknown): boolean => time instanceof Date && !Number.isNaN(time.getTime())

const timeOf = (time: Date): DateTime.Utc => {
  const millis = isTime(time) ? time.getTime() : 0
  // The events of an append have the same time, and a DateTime costs as much as a payload to parse.
  if (lastTime.epochMilliseconds !== millis) lastTime = DateTime.makeUnsafe(millis)
  return lastTime
}

let lastTime = DateTime.makeUnsafe(0)

/** PostgreSQL accepts JSON that JavaScript cannot parse, such as very deep nesting. */
const parsed = (text: string): Schema.Json | undefined => {
  try {
    return parseJson(text)
  } catch {
    return undefined
  }
}

/**
 * Returns the event of a row. The constraints of the table and `append` guarantee the brands and JSON types. Validating them again for
 * every row would double the cost of a read. Only what would stop a reader is checked, because an operator may have changed a row by hand.
 *
 * @since 0.1.0
 * @category accessors
 */
export const recordedOf = (row: EventRow): EncodedEvent => {
  const data = parsed(row.data)
  const metadata = parsed(row.metadata)
  const isWellFormed = data !== undefined && isMetadata(metadata) && isTags(row.tags) && isTime(row.recorded_at)
  const event: EncodedEvent = {
    position: row.position as Position,
    stream: row.stream as StreamId,
    version: Number(row.version) as Version,
    id: row.id,
    type: row.type,
    schemaVersion: row.schema_version,
    data: data ?? null,
    metadata: isMetadata(metadata) ? metadata : {},
    tags: isTags(row.tags) ? row.tags ?? [] : [],
    recordedAt: timeOf(row.recorded_at)
  }
  return isWellFormed ? event : { ...event, malformed: problemsOf(row, data, metadata) }
}

const problemsOf = (
  row: EventRow,
  data: Schema.Json | undefined,
  metadata: Schema.Json | undefined
): string =>
  [
    data === undefined ? ["data has JSON that JavaScript cannot parse"] : [],
    isTags(row.tags) ? [] : ["tags is not a list of texts"],
    isMetadata(metadata) ? [] : ["metadata is not a JSON object"],
    isTime(row.recorded_at) ? [] : ["recorded_at is not a finite time"]
  ].flat().map((problem) => `the column ${problem}`).join("; ")

/**
 * Returns the stored event of a row.
 *
 * @since 0.1.0
 * @category accessors
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
  recordedAt: timeOf(row.recorded_at),
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
  ...(row.closes === true ? { closes: true as const } : {}),
  ...(row.repeats === true ? { repeats: true as const } : {})
})
