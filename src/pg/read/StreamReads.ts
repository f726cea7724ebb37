/**
 * Reads pages of streams on PostgreSQL, those of several streams by one statement.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type EventStoreError, LogDiverged, storeError } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import * as Version from "../../core/Version.ts"
import type { EventStoreDriver, StreamPage } from "../../eventStore/driver/EventStoreDriver.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import { columnsOf, type EventRow, recordedOf } from "../PgEventRows.ts"
import type { PgStatement } from "../PgStatement.ts"
import * as ReadBatcher from "./ReadBatcher.ts"

/** How many events the pages of a statement have together. */
const maxEvents = 4_096

/** The minimum of what a page may have, however many are in the statement. */
const minEvents = 64

/**
 * How many events the pages of one turn have together, as pages lately were. Measured with 8 readers: a statement for 8 pages of 10 events takes half of the
 * processor time of 8 statements; 8 pages of 100 events are read faster side by side, because decoding takes most of the time.
 */
const maxTurnEvents = 128

/** How many bytes of payload and metadata the pages of a statement have together, if each has more than one event. */
const maxBytes = 4 * 1024 * 1024

interface StreamRow extends EventRow {
  /** The index of the page, from 1. */
  readonly ordinal: number
  /** Whether the page has reached the number of bytes, so that it may have been cut after this event. */
  readonly is_full: boolean
}

/** The beginning of a page. The events that are missing are read by another statement. */
interface Beginning {
  readonly rows: ReadonlyArray<EventRow>
  readonly isComplete: boolean
}

const isForward = ({ direction }: StreamPage): boolean => direction === "forward"

/**
 * Makes the function that reads a page, of a schema given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  { deadlines, sql }: PgConnections,
  query: PgStatement,
  schema: string,
  options?: ReadBatcher.ReadBatcherOptions
): Effect.fn.Return<EventStoreDriver["readStream"], never, Scope.Scope> {
  const { backward, forward, pages } = statementsOf(schema)

  const rowsOf = ({ direction, from, limit, stream }: StreamPage) =>
    query<EventRow>(direction === "forward" ? forward : backward, [stream, BigInt(from), limit])

  const lengths = makeLengths()

  const read = yield* ReadBatcher.make<StreamPage, Beginning>({
    timeout: deadlines.connectionTimeout,
    together: () => Math.max(1, Math.floor(maxTurnEvents / lengths.mean())),
    one: (page) => Effect.map(rowsOf(page), (rows) => ({ rows: lengths.add(rows), isComplete: true })),
    many: (wanted) => {
      const events = Math.max(minEvents, Math.floor(maxEvents / wanted.length))
      const limits = wanted.map(({ limit }) => Math.min(limit, events))
      return Effect.map(
        query<StreamRow>(pages, [
          wanted.map(({ stream }) => stream),
          wanted.map(({ from }) => BigInt(from)),
          limits,
          Math.floor(maxBytes / wanted.length)
        ]),
        (rows) =>
          beginningsOf(wanted, limits, rows).map(({ isComplete, rows }) => ({ rows: lengths.add(rows), isComplete }))
      )
    }
  }, options)

  const readAll = (page: StreamPage): Effect.Effect<ReadonlyArray<EventRow>, EventStoreError> =>
    Effect.flatMap(read(page), ({ isComplete, rows }) => {
      const last = rows.at(-1)
      if (isComplete || last === undefined) return Effect.succeed(rows)
      // The rest begins with the last of these rows, which shows that both are of one log.
      const from = Version.make(Number(last.version))
      return Effect.flatMap(
        rowsOf({ ...page, from, limit: page.limit - rows.length + 1 }),
        ([first, ...rest]) =>
          first?.id === last.id
            ? Effect.succeed([...rows, ...rest])
            : Effect.fail(storeError(
              new LogDiverged({
                eventId: last.id,
                position: Position.make(last.position ?? 0n),
                stream: page.stream,
                version: from
              })
            ))
      )
    })

  return (page) =>
    Effect.withFiber(({ context }) =>
      Effect.map(
        isForward(page) && page.continues !== true &&
          Context.getOrUndefined(context, sql.transactionService) === undefined
          ? readAll(page)
          : rowsOf(page),
        (rows) => rows.map(recordedOf)
      )
    )
})

/** The statements for a page of one stream, and for pages of several streams. */
const statementsOf = (schema: string) => {
  const columns = columnsOf("event")
  const forward =
    `select ${columns} from ${schema}.log event where stream = $1 and version >= $2 order by version limit $3`
  const backward =
    `select ${columns} from ${schema}.log event where stream = $1 and version <= $2 order by version desc limit $3`
  // An event comes with the page if those before it have not reached the number of bytes.
  const pages = `select ${columnsOf("event")}, event.ordinal, event.bytes >= $4 as is_full
    from unnest($1::text[], $2::bigint[], $3::integer[]) with ordinality as wanted(stream, "from", "limit", ordinal)
      cross join lateral (
        select page.*, wanted.ordinal::integer, octet_length(page.data) + octet_length(page.metadata) as own_bytes,
            sum(octet_length(page.data) + octet_length(page.metadata)) over (order by page.version rows unbounded preceding) as bytes
          from (
            select ${columns} from ${schema}.log event
              where event.stream = wanted.stream and event.version >= wanted."from"
              order by event.version limit wanted."limit"
          ) page
      ) event
    where event.bytes - event.own_bytes < $4`
  return { backward, forward, pages }
}

/** Returns the mean length of the pages read lately. */
const makeLengths = () => {
  let mean = 0
  return {
    mean: () => mean,
    add: (rows: ReadonlyArray<EventRow>): ReadonlyArray<EventRow> => {
      mean += (rows.length - mean) / 16
      return rows
    }
  }
}

/** Divides the rows of a statement among its pages. */
const beginningsOf = (
  wanted: ReadonlyArray<StreamPage>,
  limits: ReadonlyArray<number>,
  rows: ReadonlyArray<StreamRow>
): ReadonlyArray<Beginning> => {
  const ofPages = wanted.map((): Array<StreamRow> => [])
  for (const row of rows) ofPages[row.ordinal - 1]!.push(row)
  return ofPages.map((rows, index) => {
    // The server returns them in order, but SQL does not promise it.
    if (!isInOrder(rows)) rows.sort((a, b) => Number(a.version - b.version))
    const isCut = rows.length > 0 && rows.length < wanted[index]!.limit
      && (rows.length === limits[index]! || rows.at(-1)!.is_full)
    return { rows, isComplete: !isCut }
  })
}

const isInOrder = (rows: ReadonlyArray<EventRow>): boolean =>
  rows.every(({ version }, index) => index === 0 || rows[index - 1]!.version < version)
