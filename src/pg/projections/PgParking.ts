/**
 * Parked keys of consumers on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type {
  Parked,
  ParkedCount,
  ParkedEvent,
  ParkedPage,
  ParkedPlace,
  ParkingDriver,
  ParkingEntry,
  ParkingRequest,
  RequestProgress,
  UnparkResult
} from "../../consumer/parking/ParkingDriver.ts"
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
  readonly request_id: string | null
  readonly requested_by: string | null
  readonly request_reason: string | null
  readonly freeing: boolean
}

type PlaceRow = Pick<ParkedRow, "position" | "partition" | "key">

interface CountRow {
  readonly partition: number
  readonly parked: number
  readonly requested: number
  readonly freeing: number
  readonly stream: string | null
  readonly version: bigint | null
  readonly position: bigint | null
}

interface LogRow {
  readonly id: bigint
  readonly partition: number
  readonly key: string
  readonly stream: string
  readonly position: bigint
  readonly event_id: string
  readonly action: ParkingEntry["action"]
  readonly detail: string | null
  readonly actor: string | null
  readonly request_id: string | null
  readonly at: Date
}

/**
 * Makes the parking driver of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): ParkingDriver => ({
  ...reads(query, schema),
  ...requests(query, schema),
  park: (generation, partition, events) =>
    Effect.asVoid(query(
      `select ${schema}.park($1, $2, $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::uuid[], $8::text[], $9::text[], $10::integer[])`,
      [
        generation,
        partition,
        events.map((event) => event.key),
        ...columnsOf(events),
        events.map((event) => EncryptedValue.storableText(event.error)),
        events.map((event) => event.attempts ?? 1)
      ]
    )),
  parked: (generation, page) =>
    Effect.suspend(() => {
      const { params, text } = selectionOf(generation, page)
      const columns =
        `generation, partition, key, stream, version, position, event_id, type, error, attempts, parked_at, request, request_id,
        requested_by, request_reason, freeing`
      return Effect.map(
        query<ParkedRow>(`select ${columns} from ${schema}.parked ${text}`, params),
        (rows) => rows.map(parkedOf)
      )
    }),
  unpark: (generation, partition, keys) =>
    Effect.map(
      query<{ readonly changed: ReadonlyArray<string> | null }>(
        `select ${schema}.unpark($1, $2, $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::uuid[],
          $11::text[], $12::text[], $13::integer[], $14::boolean[]) as changed`,
        [
          generation,
          partition,
          keys.map(({ key }) => key),
          keys.map(({ position }) => position),
          keys.map(({ request }) => request ?? ""),
          keys.map(({ action }) => action ?? ""),
          // No element of an array is null, because the client could not tell the type of an array of nulls.
          ...columnsOf(keys.map(({ next, reached }) => next ?? reached ?? noEvent)),
          keys.map(({ next }) => EncryptedValue.storableText(next?.error ?? "")),
          keys.map(({ next }) => next?.attempts ?? 1),
          keys.map(({ next, reached }) => next === undefined && reached !== undefined)
        ]
      ),
      ([row]): UnparkResult => {
        const { changed } = row!
        return changed === null ? "moved" : changed.length === 0 ? "written" : { changed }
      }
    )
})

const reads = (
  query: PgStatement,
  schema: string
): Pick<ParkingDriver, "parkedKeys" | "parkedPlaces" | "parkedCounts" | "skippedAt"> => ({
  parkedPlaces: (generation, filter) =>
    Effect.suspend(() => {
      const { params, text } = selectionOf(generation, { ...filter, limit: undefined })
      return Effect.map(
        query<PlaceRow>(`select position, partition, key from ${schema}.parked ${text}`, params),
        (rows) => rows.map((row) => ({ ...row, position: Position.make(row.position) }))
      )
    }),
  parkedKeys: (generation, partition, after, limit) =>
    Effect.map(
      query<{ readonly key: string }>(
        `select key from ${schema}.parked
          where generation = $1 and partition = $2 and ($3::text is null or key > $3) order by key limit $4`,
        [generation, partition, after ?? null, limit]
      ),
      (rows) => rows.map(({ key }) => key)
    ),
  parkedCounts: (generation) =>
    Effect.map(
      query<CountRow>(
        `select counted.*, waits.stream, waits.version, waits.position
          from (
            select partition, count(*)::integer as parked, count(request)::integer as requested,
                count(*) filter (where freeing)::integer as freeing
              from ${schema}.parked where generation = $1 group by partition
          ) as counted
            left join ${schema}.parked waits on waits.generation = $1 and waits.partition = counted.partition and waits.key = ''
          order by counted.partition`,
        [generation]
      ),
      (rows) => rows.map(countOf)
    ),
  skippedAt: (generation, partition, key, positions) =>
    Effect.map(
      query<{ readonly position: bigint }>(
        `select distinct entry.position from ${schema}.parking_log entry
          join ${schema}.checkpoints checkpoint on checkpoint.generation = entry.generation and checkpoint.partition = entry.partition
          where entry.generation = $1 and entry.partition = $2 and entry.action = 'skipped' and entry.position = any ($4::bigint[])
            and entry.key = $3 and entry.id > checkpoint.logged_after`,
        [generation, partition, key, positions]
      ),
      (rows) => rows.map(({ position }) => Position.make(position))
    )
})

const requests = (
  query: PgStatement,
  schema: string
): Pick<ParkingDriver, "request" | "withdraw" | "requestProgress" | "parkingLog"> => {
  const update = (generation: string, keys: ReadonlyArray<ParkedPlace>, request: ParkingRequest | undefined) =>
    keys.length === 0 ? Effect.succeed(0) : Effect.map(
      query<{ readonly requested: number }>(
        `select ${schema}.request_parked($1, $2::integer[], $3::text[], $4::bigint[], $5, $6, $7, $8) as requested`,
        [
          generation,
          keys.map(({ partition }) => partition),
          keys.map(({ key }) => key),
          keys.map(({ position }) => position),
          request?.action ?? null,
          request?.id ?? null,
          request?.actor ?? null,
          request?.reason ?? null
        ]
      ),
      ([row]) => row!.requested
    )
  return {
    request: (generation, request, keys) => update(generation, keys, request),
    withdraw: (generation, keys) => update(generation, keys, undefined),
    requestProgress: (generation, id) =>
      Effect.map(
        query<RequestProgress["entries"] & { readonly waiting: number }>(
          `select (select count(*) from ${schema}.parked where request_id = $2 and generation = $1)::integer as waiting,
            count(*) filter (where action = 'parked')::integer as parked, count(*) filter (where action = 'failed')::integer as failed,
            count(*) filter (where action = 'retried')::integer as retried, count(*) filter (where action = 'skipped')::integer as skipped
            from ${schema}.parking_log where request_id = $2 and generation = $1`,
          [generation, id]
        ),
        ([row]) => {
          const { waiting, ...entries } = row!
          return { waiting, entries }
        }
      ),
    parkingLog: (generation, { after, isDescending = false, key, limit, request }) =>
      Effect.map(
        query<LogRow>(
          `select id, partition, key, stream, position, event_id, action, detail, actor, request_id, at from ${schema}.parking_log
            where generation = $1 and id > $2 and ($3::text is null or key = $3) and ($4::text is null or request_id = $4)
            order by id ${isDescending ? "desc" : ""} limit $5`,
          [generation, after ?? 0n, key ?? null, request ?? null, limit]
        ),
        (rows) => rows.map(entryOf)
      )
  }
}

/** A part of a statement, and its parameters. */
interface Selection {
  readonly text: string
  readonly params: ReadonlyArray<unknown>
}

/** Returns the end of a statement that selects a page, without conditions that it does not have, so that an index is used. */
const selectionOf = (
  generation: string,
  { after, error, isRequested = false, key, limit, parkedBefore, partition, position, type, upTo }:
    & Omit<ParkedPage, "limit">
    & { readonly limit: number | undefined }
): Selection => {
  const params: Array<unknown> = []
  const parameter = (value: unknown) => `$${params.push(value)}`
  const conditions = [`generation = ${parameter(generation)}`]
  const add = (value: unknown, condition: (parameter: string) => string) => {
    if (value !== undefined) conditions.push(condition(parameter(value)))
  }
  add(partition, (it) => `partition = ${it}`)
  add(key, (it) => `key = ${it}`)
  add(position, (it) => `position = ${it}`)
  add(type, (it) => `type = ${it}`)
  add(error, (it) => `strpos(error, ${it}) > 0`)
  add(parkedBefore && DateTime.toDateUtc(parkedBefore), (it) => `parked_at < ${it}`)
  add(upTo, (it) => `position <= ${it}`)
  if (isRequested) conditions.push("request is not null")
  if (after !== undefined) {
    const [from, ...place] = [after.position, after.partition, after.key].map(parameter)
    conditions.push(`position >= ${from} and (position, partition, key) > (${from}, ${place.join(", ")})`)
  }
  const upToLimit = limit === undefined ? "" : `limit ${parameter(limit)}`
  return { text: `where ${conditions.join(" and ")} order by position, partition, key ${upToLimit}`, params }
}

const columnsOf = (events: ReadonlyArray<ParkedEvent>): ReadonlyArray<unknown> => [
  events.map((event) => event.stream),
  events.map((event) => BigInt(event.version)),
  events.map((event) => event.position),
  events.map((event) => event.eventId),
  events.map((event) => event.type)
]

/** In place of the next event of a key that is free. */
const noEvent: ParkedEvent = {
  stream: "" as StreamId,
  version: Version.make(0),
  position: Position.start,
  eventId: "00000000-0000-0000-0000-000000000000",
  type: ""
}

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
  request: row.request === null || row.request_id === null ? undefined : {
    id: row.request_id,
    action: row.request,
    actor: row.requested_by ?? undefined,
    reason: row.request_reason ?? undefined
  },
  isFreeing: row.freeing
})

const countOf = ({ position, stream, version, ...counts }: CountRow): ParkedCount => ({
  ...counts,
  waitsAt: stream === null || version === null || position === null
    ? undefined
    : { stream: stream as StreamId, version: Version.make(Number(version)), position: Position.make(position) }
})

const entryOf = (row: LogRow): ParkingEntry => ({
  id: row.id,
  partition: row.partition,
  key: row.key,
  stream: row.stream as StreamId,
  position: Position.make(row.position),
  eventId: row.event_id,
  action: row.action,
  detail: row.detail ?? undefined,
  actor: row.actor ?? undefined,
  request: row.request_id ?? undefined,
  at: DateTime.makeUnsafe(row.at)
})
