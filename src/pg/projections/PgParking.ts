/**
 * Parked keys of consumers on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type { FailedEvent, Parked, ParkingDriver, ParkingEntry, ParkingRequest } from "../../consumer/ParkingDriver.ts"
import * as Position from "../../core/Position.ts"
import type { StreamId } from "../../core/StreamId.ts"
import * as Version from "../../core/Version.ts"
import * as EncryptedValue from "../../personalData/EncryptedValue.ts"
import type { PgStatement } from "../PgStatement.ts"

interface ParkedRow {
  readonly generation: string
  readonly partition: number
  readonly key: string
  readonly stream: string
  readonly version: bigint
  readonly position: bigint
  readonly event_id: string
  readonly type: string
  readonly error: string
  readonly attempts: number
  readonly parked_at: Date
  readonly request: ParkingRequest["action"] | null
  readonly requested_by: string | null
  readonly request_reason: string | null
}

interface LogRow {
  readonly partition: number
  readonly key: string
  readonly stream: string
  readonly position: bigint
  readonly event_id: string
  readonly action: ParkingEntry["action"]
  readonly detail: string | null
  readonly actor: string | null
  readonly at: Date
}

/**
 * Makes the parking driver of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): ParkingDriver => ({
  park: (generation, partition, events) =>
    Effect.asVoid(query(
      `select ${schema}.park($1, $2, $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::uuid[], $8::text[], $9::text[], $10::integer[])`,
      [generation, partition, ...columnsOf(events)]
    )),
  parked: (generation, partition) =>
    Effect.map(
      query<ParkedRow>(
        `select generation, partition, key, stream, version, position, event_id, type, error, attempts, parked_at, request, requested_by,
          request_reason from ${schema}.parked
          where generation = $1 and ($2::integer is null or partition = $2) order by position`,
        [generation, partition ?? null]
      ),
      (rows) => rows.map(parkedOf)
    ),
  request: (generation, key, { action, actor, reason }, at) =>
    Effect.map(
      query(
        `update ${schema}.parked set request = $3, requested_by = $4, request_reason = $5 where generation = $1 and key = $2 `
          + `and position = coalesce($6, position) returning key`,
        [generation, key, action, actor ?? null, reason ?? null, at ?? null]
      ),
      (rows) => rows.length > 0
    ),
  unpark: ({ action, generation, key, next, partition, position }) =>
    Effect.map(
      query<{ readonly was_parked: boolean }>(
        `select ${schema}.unpark($1, $2, $3, $4, $5, $6::text[], $7::bigint[], $8::bigint[], $9::uuid[], $10::text[], $11::text[], $12::integer[]) as was_parked`,
        [generation, partition, key, position, action, ...columnsOf(next === undefined ? [] : [next]).slice(1)]
      ),
      ([row]) => row!.was_parked
    ),
  parkingLog: (generation) =>
    Effect.map(
      query<LogRow>(
        `select partition, key, stream, position, event_id, action, detail, actor, at from ${schema}.parking_log where generation = $1 order by id`,
        [generation]
      ),
      (rows) => rows.map(entryOf)
    )
})

const columnsOf = (events: ReadonlyArray<FailedEvent>): ReadonlyArray<unknown> => [
  events.map((event) => event.key),
  events.map((event) => event.stream),
  events.map((event) => BigInt(event.version)),
  events.map((event) => event.position),
  events.map((event) => event.eventId),
  events.map((event) => event.type),
  events.map((event) => EncryptedValue.storableText(event.error)),
  events.map((event) => event.attempts ?? 1)
]

const parkedOf = (row: ParkedRow): Parked => ({
  generation: row.generation,
  partition: row.partition,
  key: row.key,
  // The name was validated when its event was appended.
  stream: row.stream as StreamId,
  version: Version.make(Number(row.version)),
  position: Position.make(row.position),
  eventId: row.event_id,
  type: row.type,
  error: row.error,
  attempts: row.attempts,
  parkedAt: DateTime.makeUnsafe(row.parked_at),
  request: row.request === null ? undefined : {
    action: row.request,
    actor: row.requested_by ?? undefined,
    reason: row.request_reason ?? undefined
  }
})

const entryOf = (row: LogRow): ParkingEntry => ({
  partition: row.partition,
  key: row.key,
  stream: row.stream as StreamId,
  position: Position.make(row.position),
  eventId: row.event_id,
  action: row.action,
  detail: row.detail ?? undefined,
  actor: row.actor ?? undefined,
  at: DateTime.makeUnsafe(row.at)
})
