/** How many rows a page of documents reads on a PostgreSQL server, however many documents there are. */
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { DateTime, Effect, Layer, Option, Result, Schema } from "effect"
import { Projection, ProjectionStore } from "evsrc"
import { PgProjectionStore } from "evsrc/pg"
import * as DocumentListModel from "../../../src/conformance/DocumentListModel.ts"
import * as DocumentSamples from "../../../src/conformance/DocumentSamples.ts"
import { internals } from "../../../src/core/internals.ts"
import * as PgDocumentPages from "../../../src/pg/projections/PgDocumentPages.ts"
import * as DocumentCodec from "../../../src/projection/DocumentCodec.ts"
import * as DocumentFilter from "../../../src/projection/list/DocumentFilter.ts"
import * as DocumentPages from "../../../src/projection/list/DocumentPages.ts"
import type { ListOptions } from "../../../src/projection/ProjectionReader.ts"
import type { DocumentPage } from "../../../src/projection/ProjectionStoreDriver.ts"
import { layerPostgres } from "../../support/Database.ts"
import { scale } from "../../support/scale.ts"

const size = 50_000

const Order = Schema.Struct({
  id: Schema.String,
  customer: Schema.String,
  status: Schema.Literals(["placed", "shipped"]),
  total: Schema.Int,
  placedAt: Schema.DateTimeUtc
})

const Orders = Projection.make("orders", {
  events: Schema.TaggedUnion({ Placed: { id: Schema.String } }),
  document: Order,
  index: ["customer", "status", "total", "placedAt"],
  key: ({ id }) => id,
  evolve: { Placed: Projection.ignore }
})

type Options = ListOptions<typeof Orders>

/** 5,000 customers with 10 orders each; 10 orders of each total; times in an order of their own. */
const orders = Array.from({ length: size }, (_, n) =>
  Order.make({
    id: `order-${String(n).padStart(6, "0")}`,
    customer: `customer-${n % 5000}`,
    status: n % 3 === 0 ? "shipped" : "placed",
    total: Math.imul(n, 48_271) % 5000,
    placedAt: DateTime.makeUnsafe(1_700_000_000_000 + (n * 7919 % size) * 1000)
  }))

const fill = Effect.gen(function*() {
  const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
  const { encode } = DocumentCodec.of(Orders)
  for (let n = 0; n < size; n += 2000) {
    const changes = orders.slice(n, n + 2000).map((order) => Result.getOrThrow(encode(order.id, order)))
    yield* driver.write([{ generation: Orders.id, changes }])
  }
})

const pageOf = ({ limit = 20, orderBy, where }: Options): DocumentPage => {
  const { fields } = DocumentCodec.of(Orders)
  const list = {
    where: Result.getOrThrow(DocumentFilter.compile(Orders, fields, where)).where,
    order: Result.getOrThrow(DocumentFilter.order(Orders, fields, orderBy))
  }
  return { ...list, consumer: Orders.id, indexes: DocumentPages.indexesOf(fields, list), limit }
}

/** Returns the number of rows that a page reads of both tables, and the number of blocks that its statement reads. */
const readsOf = Effect.fnUntraced(function*(options: Options, place?: typeof Order.Type) {
  const sql = yield* PgClient.PgClient
  const { encode } = DocumentCodec.of(Orders)
  const indexed = place === undefined ? [] : Result.getOrThrow(encode(place.id, place)).indexed
  const field = options.orderBy?.field
  const { params, text } = PgDocumentPages.read("\"evsrc\"", {
    ...pageOf(options),
    after: place && {
      key: place.id,
      entry: field === undefined ? undefined : indexed.find((entry) => entry.startsWith(`${field}=`))
    }
  })
  const rows = Effect.map(
    sql<
      { readonly rows: number }
    >`select sum(seq_tup_read + idx_tup_fetch)::integer as rows from pg_stat_xact_user_tables
      where relname in ('documents', 'document_entries')`,
    ([row]) => row!.rows
  )
  const explained = sql.unsafe<
    { readonly "QUERY PLAN": ReadonlyArray<{ readonly Plan: Record<string, number> }> }
  >(`explain (analyze, buffers, format json) ${text}`, params)
  return yield* sql.withTransaction(Effect.gen(function*() {
    // A connection reads the catalog once, and the server may replace one at any time.
    yield* explained
    const before = yield* rows
    const [row] = yield* explained
    const plan = row!["QUERY PLAN"][0]!.Plan
    return {
      rows: (yield* rows) - before,
      blocks: plan["Shared Hit Blocks"]! + plan["Shared Read Blocks"]!
    }
  }))
})

const deep = orders[size / 2]!
const limit = 20

/** The pages, and the most rows that one of them may read. */
const pages: ReadonlyArray<readonly [name: string, options: Options, rows: number]> = [
  ["by total", { orderBy: { field: "total" } }, 2 * limit],
  ["by total, descending", { orderBy: { field: "total", direction: "desc" } }, 2 * limit],
  ["of a range, by it", { where: { total: { gte: 100, lt: 4900 } }, orderBy: { field: "total" } }, 2 * limit],
  [
    "of a range, by it, descending",
    { where: { total: { between: [100, 4900] } }, orderBy: { field: "total", direction: "desc" } },
    2 * limit
  ],
  ["the newest", { orderBy: { field: "placedAt", direction: "desc" } }, 2 * limit],
  ["by key", {}, limit],
  ["by key, descending", { orderBy: { direction: "desc" } }, limit],
  ["of a frequent value", { where: { status: "placed" } }, 2 * limit],
  [
    "of a frequent value, the newest",
    { where: { status: "shipped" }, orderBy: { field: "placedAt", direction: "desc" } },
    // Counts up to 1,001 first, then skips two of three.
    1001 + 10 * limit
  ],
  ["of a rare value, the newest", { where: { customer: deep.customer }, orderBy: { field: "placedAt" } }, 40],
  [
    "of a rare value among frequent ones",
    { where: { status: "placed", customer: deep.customer }, orderBy: { field: "total" } },
    1001 + 40
  ],
  ["of a small range, by key", { where: { total: { between: [10, 12] } } }, 100],
  ["of a large range, by key", { where: { total: { gte: 2500 } } }, 1001 + 10 * limit]
]

const Samples = Projection.make("samples" as string, DocumentSamples.definition)

/** Returns the keys of a list, page by page, as they are read when each condition is satisfied by too many documents to sort them. */
const keysInOrder = Effect.fnUntraced(function*(options: ListOptions<typeof Samples> & { readonly limit: number }) {
  const sql = yield* PgClient.PgClient
  const { fields } = DocumentCodec.of(Samples)
  const order = Result.getOrThrow(DocumentFilter.order(Samples, fields, options.orderBy))
  const { where } = Result.getOrThrow(DocumentFilter.compile(Samples, fields, options.where))
  const keys: Array<string> = []
  let after: DocumentPage["after"]
  while (true) {
    const indexes = DocumentPages.indexesOf(fields, { where, order })
    const page = { consumer: Samples.id, where, order, indexes, after, limit: options.limit }
    const { params, text } = PgDocumentPages.read("\"evsrc\"", page)
    const rows = yield* sql.unsafe<{ readonly key: string | null; readonly entry: string }>(text, [
      ...params.slice(0, -1),
      -1
    ])
    const found = rows.flatMap(({ entry, key }) =>
      key === null ? [] : [{ key, entry: order.field === undefined ? undefined : entry }]
    )
    keys.push(...found.map(({ key }) => key))
    after = found.at(-1)
    if (found.length < options.limit) return keys
  }
})

const database = layerPostgres()

layer(PgProjectionStore.layer.pipe(Layer.provideMerge(database)), {
  excludeTestServices: true,
  timeout: "5 minutes"
})(
  "a page of 50,000 documents",
  (it) => {
    it.effect(
      "reads a bounded number of rows, before and after statistics, at the beginning and deep within",
      () =>
        Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          // The server would make statistics by itself in a run that takes a minute, and of one of the two tables first.
          for (const table of ["documents", "document_entries"]) {
            yield* sql.unsafe(`alter table evsrc.${table} set (autovacuum_enabled = off)`)
          }
          yield* fill
          for (const statistics of ["without", "with"]) {
            if (statistics === "with") yield* sql`analyze evsrc.documents, evsrc.document_entries`
            for (const [name, options, most] of pages) {
              for (const place of [undefined, deep]) {
                const { blocks, rows } = yield* readsOf({ ...options, limit }, place)
                const what = `${name}, ${statistics} statistics, ${place === undefined ? "first" : "deep"}`
                // An entry that is not yet known to be visible counts twice. Lookups in indexes and in the catalog read blocks too.
                assert.isAtMost(rows, 2 * most, what)
                assert.isAtMost(blocks, 5 * most + 300, what)
              }
            }
          }
        }),
      300_000
    )

    it.effect("has the documents of a filter and a sort when they are read in order", () =>
      Effect.gen(function*() {
        const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
        const ids = ["Z", "a", "\uff5a", "𝔘"].flatMap((prefix) => Array.from({ length: 10 }, (_, n) => `${prefix}${n}`))
        const samples = ids.map(DocumentSamples.sampleOf)
        const { encode } = DocumentCodec.of(Samples)
        const changes = samples.map((sample) => Result.getOrThrow(encode(sample.id, sample)))
        yield* driver.write([{ generation: Samples.id, changes }])
        for (let seed = 0; seed < scale(150, 1_000); seed++) {
          const options = DocumentListModel.randomList(seed)
          // The index has a prefix of a long text; the whole is compared when the documents are returned.
          if (options.where?.text !== undefined) continue
          assert.deepStrictEqual(
            yield* keysInOrder(options),
            DocumentListModel.expected(samples, options),
            `seed ${seed}`
          )
        }
      }), 300_000)

    it.effect("has the documents of a filter and a sort, whichever way it is read", () =>
      Effect.gen(function*() {
        const millis = ({ placedAt }: typeof Order.Type) => DateTime.toEpochMillis(placedAt)
        const by = (compare: (a: typeof Order.Type, b: typeof Order.Type) => number, direction: 1 | -1) =>
          orders.toSorted((a, b) => direction * (compare(a, b) || (a.id < b.id ? -1 : 1)))
        const byTotal = by((a, b) => a.total - b.total, 1)
        const newest = by((a, b) => millis(a) - millis(b), -1)
        const cases: ReadonlyArray<readonly [Options, ReadonlyArray<typeof Order.Type>]> = [
          [
            { where: { total: { gte: 4990 }, status: "placed" }, orderBy: { field: "total" } },
            byTotal.filter(({ status, total }) => total >= 4990 && status === "placed")
          ],
          [
            { where: { status: "shipped", total: { lt: 2500 } }, orderBy: { field: "placedAt", direction: "desc" } },
            newest.filter(({ status, total }) => total < 2500 && status === "shipped")
          ],
          [
            { where: { status: { in: ["shipped"] }, total: { lt: 2500 } } },
            orders.filter(({ status, total }) => total < 2500 && status === "shipped")
          ],
          [{ where: { total: { gte: 100, lt: 4000 } } }, orders.filter(({ total }) => total >= 100 && total < 4000)],
          [{
            where: { customer: { in: ["customer-7", "customer-8"] } },
            orderBy: { field: "placedAt", direction: "desc" }
          }, newest.filter(({ customer }) => customer === "customer-7" || customer === "customer-8")],
          [
            { where: { status: { in: ["placed", "shipped"] } }, orderBy: { field: "status", direction: "desc" } },
            by((a, b) => a.status < b.status ? -1 : a.status > b.status ? 1 : 0, -1)
          ]
        ]
        for (const [options, expected] of cases) {
          const first = yield* ProjectionStore.list(Orders, { ...options, limit: 300 })
          const second = Option.isNone(first.next)
            ? []
            : (yield* ProjectionStore.list(Orders, { ...options, limit: 300, after: first.next.value })).items
          assert.deepStrictEqual(
            [...first.items, ...second].map(({ id }) => id),
            expected.slice(0, 600).map(({ id }) => id),
            JSON.stringify(options)
          )
        }
      }), 300_000)
  }
)
