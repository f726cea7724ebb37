/**
 * Pages of the log on PostgreSQL: all events that pass a filter, and those that match a query.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { type EventStoreError, LogDiverged, storeError } from "../../core/errors.ts"
import * as LogPosition from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import type {
  EventStoreDriver,
  LogFilter,
  LogPage,
  PageOfEvents,
  QueryPage
} from "../../eventStore/driver/EventStoreDriver.ts"
import { Limits } from "../../eventStore/Limits.ts"
import { queryParameters } from "../append/AppendParameters.ts"
import { columnsOf, type EventRow, recordedOf } from "../PgEventRows.ts"
import type { PgStatement } from "../PgStatement.ts"

/**
 * A row of a page.
 *
 * @since 0.1.0
 * @category models
 */
export interface PageRow extends EventRow {
  /** Null in a single row, when the log does not have what the page starts after. */
  readonly head: bigint | null
  readonly head_id: string | null
  readonly since_events: bigint | null
  readonly assigned: bigint | null
  /** Null when the page has examined the log up to the high-water mark. */
  readonly scanned_to: bigint | null
  readonly scanned_to_id: string | null
}

/**
 * The columns of a page.
 *
 * @since 0.1.0
 * @category constants
 */
export const pageColumns = `${
  columnsOf("page")
}, page.head, page.head_id, page.since_events, page.assigned, page.scanned_to, page.scanned_to_id`

const selectPage = `select ${pageColumns} from`

/**
 * Fails because the log does not have one of these events.
 *
 * @since 0.1.0
 * @category errors
 */
export const divergedFrom = (basis: ReadonlyArray<LogPosition.LogPosition>): Effect.Effect<never, EventStoreError> => {
  const { eventId = "", position } = basis.at(-1)!
  return Effect.fail(storeError(new LogDiverged({ eventId, position })))
}

/** Returns the page of these rows: rows with the high-water mark, or one row without an event. */
const pageOf = (
  rows: ReadonlyArray<PageRow>,
  { after, afterEventId, countSince: since, limit }: Pick<LogPage, "after" | "afterEventId" | "countSince" | "limit">
): PageOfEvents => {
  const { assigned, head, head_id, position, scanned_to, scanned_to_id, since_events } = rows[0]!
  const events = position === null ? [] : rows.map(recordedOf)
  return {
    events,
    reached: events.length >= limit
      ? LogPosition.ofEvent(events.at(-1)!)
      : scanned_to !== null
      ? LogPosition.make(Position.make(scanned_to), scanned_to_id ?? undefined)
      : head! > after
      ? LogPosition.make(Position.make(head!), head_id ?? undefined)
      : LogPosition.make(after, afterEventId),
    head: Position.make(head!),
    headEventId: head_id ?? undefined,
    ...(since === undefined || since_events === null ? {} : { headCount: { since, events: Number(since_events) } }),
    ...(assigned === null ? {} : { assigned: Position.make(assigned) })
  }
}

/**
 * The high-water mark of the last page. With it the server need not read the list of all its locks, if no append is in flight since.
 *
 * @since 0.1.0
 * @category models
 */
export interface LastMark {
  /** Returns the parameters of a statement. */
  readonly last: () => readonly [bigint | null, string | null]
  readonly read: (page: Pick<PageRow, "head" | "head_id">) => void
}

/**
 * Returns the mark of a reader that has read no page.
 *
 * @since 0.1.0
 * @category constructors
 */
export const lastMark = (): LastMark => {
  let last: readonly [bigint | null, string | null] = [null, null]
  return {
    last: () => last,
    // After the log was set back, the mark of the page is lower.
    read: ({ head, head_id }) => {
      if (head !== null && head_id !== null) last = [head, head_id]
    }
  }
}

/**
 * Returns the function that reads a page of the events that match a query, of a schema given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const readByQuery = (query: PgStatement, schema: string, mark: LastMark): EventStoreDriver["readByQuery"] => {
  const queryPage =
    `${selectPage} ${schema}.read_query($1::integer, $2::integer[], $3::text[], $4::integer[], $5::text[], $6, $7, $8, $9::bigint[], $10::uuid[], $11, $12::uuid) page`
  return ({ after, basis = [], limit, query: items }) =>
    Effect.gen(function*() {
      const { scannedPositions } = yield* Limits
      const known = knownOf(basis)
      const rows = yield* query<PageRow>(queryPage, [
        ...queryParameters(items),
        after,
        limit,
        scannedPositions,
        known.length === 0 ? null : known.map(({ position }) => position),
        known.length === 0 ? null : known.map(({ eventId }) => eventId),
        ...mark.last()
      ])
      mark.read(rows[0]!)
      return yield* queryPageOf(rows, { after, basis, limit })
    })
}

/**
 * Returns the events of a basis that the log can be checked for: the id of each is known.
 *
 * @since 0.1.0
 * @category accessors
 */
export const knownOf = (basis: ReadonlyArray<LogPosition.LogPosition>): ReadonlyArray<LogPosition.LogPosition> =>
  basis.filter(({ eventId }) => eventId !== undefined)

/**
 * Returns the page of a query. Fails with `LogDiverged` if the log does not have an event of its basis.
 *
 * @since 0.1.0
 * @category constructors
 */
export const queryPageOf = (
  rows: ReadonlyArray<PageRow>,
  { after, basis = [], limit }: Pick<QueryPage, "after" | "basis" | "limit">
): Effect.Effect<PageOfEvents, EventStoreError> =>
  rows[0]!.head === null ? divergedFrom(knownOf(basis)) : Effect.succeed(pageOf(rows, { after, limit }))

/**
 * Returns the function that reads a page of the log, of a schema given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const readAll = (query: PgStatement, schema: string, mark: LastMark): EventStoreDriver["readAll"] => {
  const statement =
    `${selectPage} ${schema}.read_all($1, $2, $3, $4, $5, $6, $7, $8, $9::uuid, $10, $11, $12, $13, $14, $15::uuid) page`
  return Effect.fnUntraced(function*(page): Effect.fn.Return<PageOfEvents, EventStoreError> {
    const { after, afterCount, afterEventId, countSince, limit, ...filter } = page
    const { scannedPositions } = yield* Limits
    const rows = yield* query<PageRow>(statement, [
      after,
      limit,
      ...filterParameters(filter),
      afterEventId ?? null,
      afterCount?.since ?? null,
      afterCount?.events ?? null,
      countSince ?? null,
      scannedPositions,
      ...mark.last()
    ])
    const { head, since_events } = rows[0]!
    mark.read(rows[0]!)
    if (head !== null) return pageOf(rows, page)
    const missing = since_events === null ? {} : { missing: afterCount!.events - Number(since_events) }
    return yield* storeError(new LogDiverged({ eventId: afterEventId ?? "", position: after, ...missing }))
  })
}

/**
 * Returns a filter as the parameters of the functions that read the log.
 *
 * @since 0.1.0
 * @category accessors
 */
export const filterParameters = ({ partition, streamPrefix, tags, types }: LogFilter): ReadonlyArray<unknown> => [
  types ?? null,
  tags?.length ? tags : null,
  streamPrefix ?? null,
  partition?.index ?? 0,
  partition?.of ?? 1,
  partition?.tag ?? null
]
