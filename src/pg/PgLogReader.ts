/**
 * Reads the log on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { parseJson } from "../core/json/parseJson.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import * as Receipt from "../core/Receipt.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver, EventType, EventTypeVersion } from "../eventStore/driver/EventStoreDriver.ts"
import { Limits } from "../eventStore/Limits.ts"
import * as PgLockHolders from "./locks/PgLockHolders.ts"
import { columnsOf, type EventRow, recordedOf, storedOf, type StoredRow } from "./PgEventRows.ts"
import type { PgStatement } from "./PgStatement.ts"
import * as PgTagIndex from "./PgTagIndex.ts"
import * as LogPages from "./read/LogPages.ts"

/**
 * The part of the driver that reads events.
 *
 * @since 0.1.0
 * @category models
 */
export type PgLogReader = Pick<
  EventStoreDriver,
  | "readAll"
  | "readStored"
  | "readByQuery"
  | "readCorrelation"
  | "event"
  | "receipt"
  | "lag"
  | "partitionLags"
  | "eventIds"
  | "eventsAt"
  | "eventCounts"
  | "eventTypes"
  | "visibleEventTypes"
  | "unindexedTags"
  | "tagIndex"
  | "positionSince"
  | "head"
  | "last"
  | "inFlight"
  | "lockHolders"
>

/**
 * Makes the reader of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  query: PgStatement,
  schema: string,
  mark: LogPages.LastMark = LogPages.lastMark()
): PgLogReader => {
  const columns = columnsOf("event")
  const storedPage = `select * from ${schema}.read_stored($1, $2, $3, $4)`
  // A scalar subquery per position: one index lookup each.
  const eventIds =
    `select (select event.id from ${schema}.log event where event.position = wanted.position limit 1) as id
    from unnest($1::bigint[]) with ordinality as wanted(position, ordinal) order by wanted.ordinal`
  const eventsAt =
    `select ${columns} from unnest($1::bigint[]) as wanted("position") join ${schema}.log event using ("position") order by "position"`
  const eventCounts =
    `select (select count(*)::integer from ${schema}.log event where event.position > range."after" and event.position <= range."to") as events
    from unnest($1::bigint[], $2::bigint[]) with ordinality as range("after", "to", ordinal) order by range.ordinal`
  const byId = `select ${columns} from ${schema}.log event where id = $1::uuid limit 1`

  const storedEventPage = storedPages(query)

  return {
    readAll: LogPages.readAll(query, schema, mark),
    readStored: ({ after, extent, limit, links = false }) =>
      storedEventPage(storedPage, [after, limit, links, extent === "visible"]),
    readByQuery: LogPages.readByQuery(query, schema, mark),
    readCorrelation: readCorrelation(query, schema),
    event: (id) =>
      uuid.test(id)
        ? Effect.map(query<EventRow>(byId, [id]), ([row]) => Option.map(Option.fromUndefinedOr(row), recordedOf))
        : Effect.succeedNone,
    receipt: receipt(query, schema),
    lag: lag(query, schema),
    partitionLags: partitionLags(query, schema),
    eventsAt: (positions) => Effect.map(query<EventRow>(eventsAt, [positions]), (rows) => rows.map(recordedOf)),
    eventCounts: (ranges) =>
      Effect.map(
        query<{ readonly events: number }>(eventCounts, [
          ranges.map(({ after }) => after),
          ranges.map(({ to }) => to)
        ]),
        (rows) => rows.map(({ events }) => events)
      ),
    eventIds: (positions) =>
      Effect.map(
        query<{ readonly id: string | null }>(eventIds, [positions]),
        (rows) => rows.map(({ id }) => id ?? undefined)
      ),
    eventTypes: eventTypes(query, schema),
    visibleEventTypes: (after) =>
      Effect.map(
        query<EventTypeRow>(
          `select category, type, first_position, events, versions::text as versions from ${schema}.count_visible_event_types($1)`,
          [after]
        ),
        Arr.map(eventTypeOf)
      ),
    ...PgTagIndex.make(query, schema),
    positionSince: positionSince(query, schema),
    head: Effect.map(
      query<{ readonly head: bigint }>(`select ${schema}.high_water_mark() as head`, []),
      ([row]) => Position.make(row!.head)
    ),
    last: Effect.map(
      query<{ readonly last: bigint | null }>(`select max(position) as last from ${schema}.log`, []),
      ([row]) => Position.make(row?.last ?? 0n)
    ),
    ...PgLockHolders.make(query, schema)
  }
}

const positionSince = (query: PgStatement, schema: string): EventStoreDriver["positionSince"] => {
  const statement =
    `select position from ${schema}.log where position > $1 and position <= $2 and recorded_at >= $3::timestamptz order by position limit 1`
  return Effect.fnUntraced(function*({ after, since, upTo }) {
    const { scannedPositions } = yield* Limits
    const end = after + BigInt(scannedPositions)
    const reached = end < upTo ? Position.make(end) : upTo
    const [row] = yield* query<{ readonly position: bigint }>(statement, [after, reached, DateTime.toDate(since)])
    return { first: row && Position.make(row.position), reached }
  })
}

/** Runs a statement that returns a page of stored events, in the same form. */
const storedPages = (query: PgStatement) => (text: string, params: ReadonlyArray<unknown>) =>
  Effect.map(query<StoredRow & { readonly head: bigint }>(text, params), (rows) => ({
    events: rows[0]!.position === null ? [] : rows.map(storedOf),
    head: Position.make(rows[0]!.head)
  }))

interface ExtentRow {
  readonly head: bigint
  /** The last event up to the high-water mark; null in an empty log. */
  readonly position: bigint | null
  readonly id: string | null
  readonly is_indexed: boolean
}

interface CorrelationRow extends Omit<EventRow, "position"> {
  readonly has_basis: boolean
  /** Up to where the events were examined; null above the high-water mark. */
  readonly ends_at: bigint | null
  /** Null in a single row without an event. */
  readonly position: bigint | null
}

const hasEvent = (row: CorrelationRow): row is CorrelationRow & EventRow => row.position !== null

/** Without the index of `causationIndex`, each statement examines a limited number of positions. Those above the high-water mark are read by one. */
const readCorrelation = (query: PgStatement, schema: string): EventStoreDriver["readCorrelation"] => {
  const extent = `select mark.head, last_event.position, last_event.id, exists (
      select from pg_index where indexrelid = to_regclass('${schema}.events_correlation') and indisvalid
    ) as is_indexed
    from (select ${schema}.high_water_mark() as head) as mark left join lateral (
      select event.position, event.id from ${schema}.log event where event.position <= mark.head order by event.position desc limit 1
    ) as last_event on true`
  const page = `select range.ends_at, ${schema}.has_events($6::bigint[], $7::uuid[]) as has_basis, ${columnsOf("event")}
    from (select case when $3::bigint > $2 then ${schema}.scan_end($2, $3, $4, null) end as ends_at) as range
      left join lateral (
        select * from ${schema}.log event
          where ${schema}.correlation_hash(event.metadata) = ${schema}.correlation_hash($1::json) and event.position > $2
            and event.position <= coalesce(nullif(range.ends_at, $3), 9223372036854775807)
          order by event.position limit $5
      ) as event on true
    order by event.position`
  return Effect.fnUntraced(function*({ after, basis = [], correlationId, limit }) {
    const { scannedPositions } = yield* Limits
    const [known] = yield* query<ExtentRow>(extent, [])
    const head = Position.make(known!.head)
    const to = known!.is_indexed ? after : head
    const events: Array<EncodedEvent> = []
    // A log is set back at its end, so as long as it has this event, it has all that the statements below examine up to there.
    const last = known!.id === null ? [] : [LogPosition.make(Position.make(known!.position!), known!.id)]
    const required = [...basis, ...last].filter(({ eventId }) => eventId !== undefined)
    for (let start: bigint = after;;) {
      const missing = limit - events.length
      const correlation = JSON.stringify({ correlationId })
      const rows = yield* query<CorrelationRow>(page, [
        correlation,
        start,
        to,
        scannedPositions,
        missing,
        required.map(({ position }) => position),
        required.map(({ eventId }) => eventId)
      ])
      if (!rows[0]!.has_basis) return yield* LogPages.divergedFrom(required)
      const candidates = rows.filter(hasEvent).map(recordedOf)
      // Rarely, another correlation id has the same hash.
      events.push(...candidates.filter(({ metadata }) => metadata.correlationId === correlationId))
      if (events.length === limit) return { events, head }
      const endsAt = rows[0]!.ends_at
      if (candidates.length >= missing) start = candidates[missing - 1]!.position
      else if (endsAt === null || endsAt >= to) return { events, head }
      else start = endsAt
    }
  })
}

const receipt = (query: PgStatement, schema: string): EventStoreDriver["receipt"] => {
  const byCommand = `select ${columnsOf("event")}
    from ${schema}.log first_event join ${schema}.log event on event.stream = first_event.stream
      and event.version >= first_event.version and event.version < first_event.version + first_event.command_events
    where first_event.command_id = $1 order by event.version`
  return (commandId) =>
    Effect.map(query<EventRow>(byCommand, [commandId]), (rows) => {
      const events = rows.map(recordedOf)
      const [first] = events
      return first === undefined
        ? Option.none()
        : Option.some({
          receipt: Receipt.fromEvents(first.stream, first.metadata.command, events.map(summaryOf)),
          metadata: first.metadata
        })
    })
}

const lag = (query: PgStatement, schema: string): EventStoreDriver["lag"] => {
  const count = `select events, since, counted_to from ${schema}.count_lag($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
  return Effect.fnUntraced(function*({ after, limit, to, ...filter }) {
    const { scannedPositions } = yield* Limits
    const [row] = yield* query<{ readonly events: number; readonly since: Date | null; readonly counted_to: bigint }>(
      count,
      [after, to, limit, ...LogPages.filterParameters(filter), scannedPositions]
    )
    return {
      events: row!.events,
      since: Option.map(Option.fromNullOr(row!.since), (since) => DateTime.makeUnsafe(since)),
      reached: Position.make(row!.counted_to)
    }
  })
}

interface PartitionLagRow {
  readonly events: number
  readonly since: Date | null
  readonly counted_to: bigint
  readonly first_position: bigint | null
}

const partitionLags = (query: PgStatement, schema: string): EventStoreDriver["partitionLags"] => {
  const count =
    `select events, since, counted_to, first_position from ${schema}.count_lags($1::integer[], $2::bigint[], $3, $4, $5, $6, $7, $8, $9, $10)
    order by ordinal`
  return Effect.fnUntraced(function*({ dividedBy, limit, partitions, streamPrefix, tags, to, types }) {
    if (partitions.length === 0) return []
    const { scannedPositions } = yield* Limits
    const rows = yield* query<PartitionLagRow>(count, [
      partitions.map(({ index }) => index),
      partitions.map(({ after }) => after),
      to,
      limit,
      types ?? null,
      tags?.length ? tags : null,
      streamPrefix ?? null,
      dividedBy?.of ?? 1,
      dividedBy?.tag ?? null,
      scannedPositions
    ])
    return rows.map(({ counted_to, events, first_position, since }) => ({
      events,
      since: Option.map(Option.fromNullOr(since), (since) => DateTime.makeUnsafe(since)),
      reached: Position.make(counted_to),
      first: first_position === null ? undefined : Position.make(first_position)
    }))
  })
}

interface EventTypeRow {
  readonly category: string
  readonly type: string
  readonly first_position: bigint
  readonly events: bigint
  /** The number of events by schema version, and by schema version and name of a tag, as JSON: `{"1:": 15, "1:guest": 12}`. */
  readonly versions: string
}

const versionsOf = (text: string): ReadonlyArray<EventTypeVersion> => {
  const versions = new Map<string, { events: number; readonly tagged: Map<string, number> }>()
  for (const [key, events] of Object.entries(parseJson(text) as Readonly<Record<string, number>>)) {
    const colon = key.indexOf(":")
    const [schemaVersion, name] = [key.slice(0, colon), key.slice(colon + 1)]
    const version = versions.get(schemaVersion) ?? { events: 0, tagged: new Map() }
    versions.set(schemaVersion, version)
    if (name === "") version.events = events
    else version.tagged.set(name, events)
  }
  return Array.from(versions, ([schemaVersion, version]) => ({ schemaVersion: Number(schemaVersion), ...version }))
}

const eventTypeOf = ({ category, events, first_position, type, versions }: EventTypeRow): EventType => ({
  category,
  type,
  first: Position.make(first_position),
  events: Number(events),
  versions: versionsOf(versions)
})

interface CountedTypeRow extends Omit<EventTypeRow, "category"> {
  readonly counted_to: bigint
  readonly head: bigint
  /** Null in the single row of a log without events. */
  readonly category: string | null
}

/** The maximum number of events that one statement counts, in some tens of milliseconds. */
const countedEvents = 25_000

const eventTypes = (query: PgStatement, schema: string): EventStoreDriver["eventTypes"] =>
  Effect.map(
    query<CountedTypeRow>(
      `select counted_to, head, category, type, first_position, events, versions::text as versions from ${schema}.count_event_types($1)`,
      [
        countedEvents
      ]
    ),
    (rows) => ({
      position: Position.make(rows[0]!.counted_to),
      head: Position.make(rows[0]!.head),
      types: rows.flatMap(({ category, ...row }) => category === null ? [] : [eventTypeOf({ category, ...row })])
    })
  )

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

const summaryOf = ({ id, position, type, version }: EncodedEvent): Receipt.Receipt["events"][number] => ({
  id,
  type,
  version,
  position
})
