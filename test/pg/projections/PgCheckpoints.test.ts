/** Two partitions of one projection that write the same documents, as the statements themselves meet. */
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Schedule } from "effect"
import { Reactivity } from "effect/reactivity"
import { PgMigrations } from "evsrc/pg"
import { layerPostgres } from "../../support/Database.ts"

const elsewhere = Effect.flatMap(PgClient.PgClient, ({ config }) => PgClient.makeClient(config)).pipe(
  Effect.provide(Reactivity.layer)
)

/** Until a statement waits for another's lock. */
const aStatementWaits = Effect.flatMap(
  PgClient.PgClient,
  (sql) =>
    sql`select 1 from pg_locks where not granted and database = (select oid from pg_database where datname = current_database())
    union all select 1 from pg_locks where not granted and locktype = 'transactionid'`
).pipe(
  Effect.repeat({ until: (rows) => rows.length > 0, schedule: Schedule.spaced("10 millis") }),
  Effect.timeout("1 minute")
)

const begun = (generation: string) =>
  Effect.flatMap(
    PgClient.PgClient,
    (sql) =>
      sql`insert into evsrc.checkpoints (generation, partition, partitions, partitioned_by, reads, epoch, owner)
        values (${generation}, 0, 2, 'stream', '', 1, 'a'), (${generation}, 1, 2, 'stream', '', 1, 'b')`
  )

/** Of a document `k` that was not there when it was read. */
const advance = (sql: PgClient.PgClient, generation: string, partition: number, document: string | undefined) =>
  Effect.map(
    sql.unsafe<{ readonly outcome: string }>(
      "select evsrc.advance_partition_if_unchanged($1, $2, 1, 0, 10, array['k'], array[0]::bigint[], "
        + "$3::text[], $4::text[], $5::text[], $6::text[], '{}', '{}', '{}') as outcome",
      [generation, partition, ...document === undefined ? [[], [], [], ["k"]] : [["k"], [document], [""], []]]
    ),
    ([row]) => row!.outcome
  )

const migrated = Layer.effectDiscard(PgMigrations.run()).pipe(Layer.provideMerge(layerPostgres()))

layer(migrated, { excludeTestServices: true })("two partitions with one document", (it) => {
  it.effect("a partition that leaves it absent does not remove the other's document", () =>
    Effect.gen(function*() {
      yield* begun("p@1")
      const sql = yield* PgClient.PgClient
      const [holder, slow] = [yield* elsewhere, yield* elsewhere]
      yield* holder`begin`
      yield* holder`select from evsrc.checkpoints where generation = 'p@1' and partition = 0 for update`
      const first = yield* Effect.forkChild(advance(slow, "p@1", 0, undefined))
      yield* aStatementWaits
      assert.strictEqual(yield* advance(sql, "p@1", 1, "1"), "advanced")
      yield* holder`commit`
      assert.strictEqual(yield* Fiber.join(first), "advanced")
      assert.strictEqual((yield* sql`select from evsrc.documents where generation = 'p@1'`).length, 1)
    }).pipe(Effect.scoped))

  it.effect("the later of two concurrent inserts returns changed", () =>
    Effect.gen(function*() {
      yield* begun("q@1")
      const [first, second] = [yield* elsewhere, yield* elsewhere]
      yield* first`begin`
      assert.strictEqual(yield* advance(first, "q@1", 0, "1"), "advanced")
      const later = yield* Effect.forkChild(advance(second, "q@1", 1, "2"))
      yield* aStatementWaits
      yield* first`commit`
      assert.strictEqual(yield* Fiber.join(later), "changed")
    }).pipe(Effect.scoped))
})
