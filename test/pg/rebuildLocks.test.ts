import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Schedule } from "effect"
import { Reactivity } from "effect/reactivity"
import { Position, ProjectionStore } from "evsrc"
import { PgProjectionStore } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import * as Discard from "../../src/projection/rebuild/Discard.ts"
import { layerPostgres } from "../support/Database.ts"

const connection = Effect.flatMap(PgClient.PgClient, ({ config }) => PgClient.makeClient(config)).pipe(
  Effect.provide(Reactivity.layer)
)

/** Waits until `sessions` sessions of this database wait for an advisory lock. */
const untilBlocked = (sql: PgClient.PgClient, sessions: number) =>
  sql`select 1 from pg_locks where locktype = 'advisory' and not granted
    and database = (select oid from pg_database where datname = current_database())`.pipe(
    Effect.repeat({ until: (rows) => rows.length === sessions, schedule: Schedule.spaced("5 millis") }),
    Effect.timeout("1 minute")
  )

const services = PgProjectionStore.layer.pipe(Layer.provideMerge(layerPostgres()))

const begin = { consumer: "f@1", head: Position.start }

const claim = {
  consumer: "f@1",
  owner: "worker",
  partitions: 1,
  partitionedBy: "document",
  reads: "",
  lease: Duration.minutes(1)
}

describe("concurrent rebuilds", () => {
  it.live("gives callers that begin at the same time one generation", () =>
    Effect.gen(function*() {
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const sql = yield* PgClient.PgClient
      const other = yield* connection
      yield* driver.claim(claim)
      yield* other`begin`
      yield* other`select * from evsrc.begin_generation('f@1', 0)`
      const second = yield* Effect.forkChild(driver.beginGeneration(begin))
      yield* untilBlocked(sql, 1)
      yield* other`commit`
      assert.strictEqual((yield* Fiber.join(second)).generation, "f@1~1")
    }).pipe(Effect.scoped, Effect.provide(services)))

  it.live("a claim waits for a cut-over and gets partitions of the new generation", () =>
    Effect.gen(function*() {
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const sql = yield* PgClient.PgClient
      const other = yield* connection
      yield* driver.claim(claim)
      yield* driver.claim({
        ...claim,
        owner: "builder",
        generation: (yield* driver.beginGeneration(begin)).generation
      })
      yield* other`begin`
      yield* other`select * from evsrc.cut_over('f@1', 'f@1~1', false, null)`
      assert.strictEqual(yield* driver.activeGeneration("f@1"), "f@1", "readers do not wait for the cut-over")
      const claiming = yield* Effect.forkChild(driver.claim(claim))
      const discarding = yield* Effect.forkChild(driver.discard("f@1", "f@1~1", ["previous", "leased"]))
      yield* untilBlocked(sql, 2)
      yield* other`commit`
      assert.strictEqual((yield* Fiber.join(claiming)).generation, "f@1~1")
      assert.strictEqual(yield* Fiber.join(discarding), "active", "the active generation cannot be discarded")
    }).pipe(Effect.scoped, Effect.provide(services)))

  it.live("a cut-over waits for an open batch and sees its checkpoint", () =>
    Effect.gen(function*() {
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const sql = yield* PgClient.PgClient
      const other = yield* connection
      const { assigned } = yield* driver.claim(claim)
      yield* driver.claim({
        ...claim,
        owner: "builder",
        generation: (yield* driver.beginGeneration(begin)).generation
      })
      yield* other`begin`
      yield* other`select evsrc.advance_partition('f@1', 0, ${
        assigned[0]!.epoch
      }, 0, 7, '{}', '{}', '{}', '{}', '{}', '{}', '{}')`
      const request = { consumer: "f@1", to: "f@1~1", ifBehind: "reject" } as const
      const cuttingOver = yield* Effect.forkChild(driver.cutOver(request))
      yield* sql`select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%cut_over%'
        and datname = current_database()`.pipe(
        Effect.repeat({ until: (rows) => rows.length > 0, schedule: Schedule.spaced("5 millis") }),
        Effect.timeout("1 minute")
      )
      yield* other`commit`
      assert.deepStrictEqual(yield* Fiber.join(cuttingOver), { _tag: "Behind", missing: 7n })
    }).pipe(Effect.scoped, Effect.provide(services)))

  it.live("discards a generation in parts, and continues after an interruption", () =>
    Effect.gen(function*() {
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const sql = yield* PgClient.PgClient
      yield* driver.claim(claim)
      const { generation } = yield* driver.beginGeneration(begin)
      yield* driver.claim({ ...claim, owner: "builder", generation })
      const fill = (generation: string) =>
        sql`insert into evsrc.documents (generation, key, document, revision)
          select ${generation}, 'k' || n, '1', n from generate_series(1, 12000) as n`
      const remaining = (generation: string) => driver.generationPage({ generation, limit: 20_000 })
      for (const one of ["f@1", generation]) yield* fill(one)
      // As after a process that died behind the first part.
      yield* sql`select evsrc.discard_generation('f@1', ${generation}), evsrc.remove_discarded(${generation}, 5000)`
      assert.strictEqual((yield* remaining(generation)).length, 7000)
      assert.strictEqual(yield* Discard.discard(driver, "f@1", generation), "discarded")
      assert.strictEqual((yield* remaining(generation)).length, 0)
      assert.strictEqual((yield* remaining("f@1")).length, 12_000)
      yield* sql`select evsrc.remove_discarded('f@1', 5000)`
      assert.strictEqual((yield* remaining("f@1")).length, 12_000, "documents of the active generation")
    }).pipe(Effect.provide(services)))
})
