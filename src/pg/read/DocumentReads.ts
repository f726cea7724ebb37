/**
 * Reads the documents that the inline projections of appends change, for several appends by one statement.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { EventStoreError } from "../../core/errors.ts"
import type { DocumentsDriver } from "../../projection/ProjectionStoreDriver.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import type { PgStatement } from "../PgStatement.ts"
import { documentOf, type DocumentRow } from "../projections/PgDocuments.ts"
import * as ReadBatcher from "./ReadBatcher.ts"

/** The maximum number of documents for which a statement of several reads asks. */
const maxKeys = 512

/** The number of bytes, over all reads of a statement, after which it returns no further document. */
const maxBytes = 4 * 1024 * 1024

type Wanted = Parameters<DocumentsDriver["loadAll"]>[0]

interface WantedRow extends DocumentRow {
  /** The index of the generation, from 0. */
  readonly number: number
}

/** The rows of a read; `"cut"` if they have to be read by another statement, because the documents before them have reached the number of bytes. */
type Found = ReadonlyArray<WantedRow> | "cut"

/**
 * Makes the function that reads documents of several generations, of a schema given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  { deadlines, sql }: PgConnections,
  query: PgStatement,
  schema: string,
  options: ReadBatcher.ReadBatcherOptions = {}
): Effect.fn.Return<DocumentsDriver["loadAll"], never, Scope.Scope> {
  const found = `from unnest($1::integer[], $2::text[], $3::text[]) as wanted(number, generation, key)
    join ${schema}.documents stored on stored.generation = wanted.generation and stored.key = wanted.key`
  const one =
    `select wanted.number, stored.key, stored.document::text as document, stored.revision, stored.stream ${found}`
  const several = `select number, key, case when bytes < $4 then document end as document, revision, stream
    from (
      select read.*, sum(octet_length(document)) over (order by number, key rows unbounded preceding) - octet_length(document) as bytes
        from (${one} offset 0) as read
    ) as read`

  const rowsOf = (wanted: Wanted): Effect.Effect<ReadonlyArray<WantedRow>, EventStoreError> =>
    query<WantedRow>(one, parametersOf(wanted))

  const read = yield* ReadBatcher.make<Wanted, Found>({
    timeout: deadlines.connectionTimeout,
    sizeOf: (wanted) => wanted.reduce((keys, one) => keys + one.keys.length, 0),
    maxSize: maxKeys,
    one: rowsOf,
    many: (requests) => {
      const all = requests.flat()
      return Effect.map(query<MaybeCutRow>(several, [...parametersOf(all), maxBytes]), (rows) => divide(requests, rows))
    }
  }, { ...options, alone: options.alone ?? 1 })

  return (wanted) =>
    Effect.withFiber(({ context }) =>
      Effect.map(
        // What the transaction of the caller has written is visible to it alone.
        Context.getOrUndefined(context, sql.transactionService) === undefined
          ? Effect.flatMap(read(wanted), (rows) => rows === "cut" ? rowsOf(wanted) : Effect.succeed(rows))
          : rowsOf(wanted),
        (rows) => wanted.map((_, number) => rows.filter((row) => row.number === number).map(documentOf))
      )
    )
})

const parametersOf = (wanted: Wanted): ReadonlyArray<unknown> => [
  wanted.flatMap(({ keys }, number) => keys.map(() => number)),
  wanted.flatMap(({ generation, keys }) => keys.map(() => generation)),
  wanted.flatMap(({ keys }) => keys)
]

type MaybeCutRow = WantedRow | Omit<WantedRow, "document"> & { readonly document: null }

const isWhole = (row: MaybeCutRow): row is WantedRow => row.document !== null

/** Divides the rows of a statement among its reads, each with its own numbers of generations. */
const divide = (requests: ReadonlyArray<Wanted>, rows: ReadonlyArray<MaybeCutRow>): ReadonlyArray<Found> => {
  const byNumber = Map.groupBy(rows, ({ number }) => number)
  let first = 0
  return requests.map((wanted): Found => {
    const start = first
    first += wanted.length
    const own = wanted.flatMap((_, index) =>
      (byNumber.get(start + index) ?? []).map((row): MaybeCutRow => ({ ...row, number: index }))
    )
    return own.every(isWhole) ? own : "cut"
  })
}
