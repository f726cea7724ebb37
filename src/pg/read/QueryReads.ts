/**
 * Reads pages by queries on PostgreSQL, for several queries by one statement. Decisions read their events in this way.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { EventStoreError } from "../../core/errors.ts"
import type { LogPosition } from "../../core/LogPosition.ts"
import type { EventStoreDriver, PageOfEvents, QueryPage } from "../../eventStore/driver/EventStoreDriver.ts"
import * as Limits from "../../eventStore/Limits.ts"
import { arrayText, nullable, queryParameters } from "../append/AppendParameters.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import type { PgStatement } from "../PgStatement.ts"
import * as LogPages from "./LogPages.ts"
import * as ReadBatcher from "./ReadBatcher.ts"

/** The maximum number of events of all pages of a statement together, unless `minEvents` allows more. */
const maxEvents = 1_024

/** The number of events that every page may have, however many pages are in the statement. */
const minEvents = 16

interface Request {
  readonly page: QueryPage
  /** The limits of the caller. */
  readonly limits: Limits.Limits
}

/** What a page is; `"long"` if it has more events than the statement may return for it, so that it is read by another. */
type Answer = Effect.Effect<PageOfEvents, EventStoreError> | "long"

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
  { mark, readByQuery }: { readonly mark: LogPages.LastMark; readonly readByQuery: EventStoreDriver["readByQuery"] },
  options?: ReadBatcher.ReadBatcherOptions
): Effect.fn.Return<EventStoreDriver["readByQuery"], never, Scope.Scope> {
  // The queries share one reading of the high-water mark, which takes a tenth of the time of each.
  const statement = `with log as materialized (select ${schema}.high_water_mark_after($11, $12::uuid) as mark)
    select wanted.ordinal::integer as number, ${LogPages.pageColumns}
    from log cross join unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::integer[], $8::integer[], $9::text[], $10::text[])
      with ordinality as wanted(items, type_items, types, tag_items, tags, "after", "limit", scan, positions, ids, ordinal)
    cross join lateral ${schema}.read_query(
      wanted.items, wanted.type_items::integer[], wanted.types::text[], wanted.tag_items::integer[], wanted.tags::text[], wanted."after",
      wanted."limit", wanted.scan, wanted.positions::bigint[], wanted.ids::uuid[], null, null, log.mark
    ) page`

  const one = ({ limits, page }: Request): Effect.Effect<Answer, EventStoreError> =>
    Effect.map(Effect.provideService(readByQuery(page), Limits.Limits, limits), Effect.succeed)

  const many = (requests: ReadonlyArray<Request>): Effect.Effect<ReadonlyArray<Answer>, EventStoreError> => {
    const most = Math.max(minEvents, Math.floor(maxEvents / requests.length))
    const limits = requests.map(({ page }) => Math.min(page.limit, most))
    return Effect.map(
      query<LogPages.PageRow & { readonly number: number }>(statement, [
        ...parametersOf(requests, limits),
        ...mark.last()
      ]),
      (rows) => {
        const byNumber = Map.groupBy(rows, ({ number }) => number)
        return requests.map(({ page }, index): Answer => {
          const own = byNumber.get(index + 1)!
          mark.read(own[0]!)
          const limit = limits[index]!
          return own.length >= limit && limit < page.limit ? "long" : LogPages.queryPageOf(own, page)
        })
      }
    )
  }

  const read = yield* ReadBatcher.make<Request, Answer>({ timeout: deadlines.connectionTimeout, one, many }, options)

  return (page) =>
    Effect.withFiber(({ context }) =>
      // What the transaction of the caller has appended is visible to it alone.
      Context.getOrUndefined(context, sql.transactionService) === undefined
        ? Effect.flatMap(
          Limits.Limits,
          (limits) => Effect.flatMap(read({ page, limits }), (answer) => answer === "long" ? readByQuery(page) : answer)
        )
        : readByQuery(page)
    )
})

const parametersOf = (requests: ReadonlyArray<Request>, limits: ReadonlyArray<number>): ReadonlyArray<unknown> => {
  const queries = requests.map(({ page }) => queryParameters(page.query))
  const known = requests.map(({ page: { basis = [] } }) => LogPages.knownOf(basis))
  const arrays = (position: 1 | 2 | 3 | 4) => queries.map((parameters) => arrayText(parameters[position].map(String)))
  const ofBasis = (textOf: (event: LogPosition) => string) =>
    known.map((basis) => basis.length === 0 ? null : arrayText(basis.map(textOf)))
  return [
    queries.map(([items]) => items),
    arrays(1),
    arrays(2),
    arrays(3),
    arrays(4),
    requests.map(({ page }) => page.after),
    limits,
    requests.map(({ limits }) => limits.scannedPositions),
    nullable(ofBasis(({ position }) => String(position))),
    nullable(ofBasis(({ eventId }) => eventId!))
  ]
}
