/** How many blocks the server reads for a page of rare events in a long log: a bounded number, by any filter and whatever the statistics are. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { PgStores } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const events = 60_000

/** One event in 20,000 is rare. Every second one has the tag "common". */
const fill = [
  "alter table evsrc.events disable trigger user",
  "alter table evsrc.event_tags disable trigger user",
  `insert into evsrc.events (position, stream, version, type, schema_version, id, data, metadata, recorded_at, tags)
    select p, 'Order-' || p, 1, case when p % 20000 = 19990 then 'Rare' else 'Common' end, 1, gen_random_uuid(), '{"n":1}', '{}', now(),
        case when p % 20000 = 19990 then array['common', 'rare'] when p % 2 = 0 then array['common'] end
      from generate_series(1, ${events}) as p`,
  "insert into evsrc.event_tags select hashtextextended(tag, 0), position from evsrc.events, unnest(tags) as tag",
  "alter table evsrc.events enable trigger user",
  "alter table evsrc.event_tags enable trigger user",
  `select setval('evsrc.positions', ${events})`,
  "analyze evsrc.events",
  "analyze evsrc.event_tags"
]

interface Plan {
  readonly "Shared Hit Blocks": number
  readonly "Shared Read Blocks": number
}

/** Returns how many blocks a call reads, in its statements too. */
const blocksOf = Effect.fnUntraced(function*(call: string) {
  const sql = yield* PgClient.PgClient
  // A first call plans, and reads the catalog.
  yield* sql.unsafe(`select * from evsrc.${call}`)
  const [row] = yield* sql.unsafe<{ readonly "QUERY PLAN": readonly [{ readonly Plan: Plan }] }>(
    `explain (analyze, buffers, format json) select * from evsrc.${call}`
  )
  const { Plan } = row!["QUERY PLAN"][0]
  return Plan["Shared Hit Blocks"] + Plan["Shared Read Blocks"]
})

const query = (types: string, tags: string) =>
  `read_query(1, array_fill(1, array[cardinality(${types})]), ${types}, array_fill(1, array[cardinality(${tags})]), ${tags}, 0, 500, 1000)`

const none = "array[]::text[]"

const calls: Readonly<Record<string, string>> = {
  "a page by type": "read_all(0, 500, array['Rare'], null, null, 0, 1, p_scan => 1000)",
  "a page by prefix": "read_all(0, 500, null, null, 'Customer-', 0, 1, p_scan => 1000)",
  "a page of a partition": "read_all(0, 500, array['Rare'], null, null, 3, 8, p_scan => 1000)",
  "a page by a rare tag": "read_all(0, 500, null, array['rare'], null, 0, 1, p_scan => 1000)",
  "a page by type and a common tag": "read_all(0, 500, array['Rare'], array['common'], null, 0, 1, p_scan => 1000)",
  "a count by type": `count_lag(0, ${events}, 500, array['Rare'], null, null, 0, 1, null, 1000)`,
  "a count by a common tag": `count_lag(0, ${events}, 500, array['Rare'], array['common'], null, 0, 1, null, 1000)`,
  "a query by type": query("array['Rare']", none),
  "a query by a rare tag": query(none, "array['rare']"),
  "a query by type and a common tag": query("array['Rare']", "array['common']")
}

describe("a page of rare events", () => {
  it.live("reads a bounded number of blocks of a long log", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      for (const statement of fill) yield* sql.unsafe(statement)
      const [table] = yield* sql.unsafe<{ readonly blocks: number }>(
        "select (pg_relation_size('evsrc.events') / current_setting('block_size')::integer)::integer as blocks"
      )
      assert.isAbove(table!.blocks, 900)
      // Positions that are side by side share blocks; each event that is found by its tag is looked up in both tables of the log.
      for (const [name, call] of Object.entries(calls)) assert.isBelow(yield* blocksOf(call), 800, name)
      const whole = yield* blocksOf(`read_all(0, 500, array['Rare'], null, null, 0, 1, p_scan => ${events})`)
      assert.isAtLeast(whole, table!.blocks, "a page that examines the whole log")
    }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(layerPostgres())))))
})
