import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Schedule } from "effect"
import { Reactivity } from "effect/reactivity"
import { Position, ProjectionStore } from "evsrc"
import { PgProjectionStore } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const connection = Effect.flatMap(PgClient.PgClient, ({ config }) => PgClient.makeClient(config)).pipe(
  Effect.provide(Reactivity.layer)
)

/** Waits until so many sessions of this database wait for an advisory lock. */
const untilBlocked = (sql: PgClient.PgClient, sessions: number) =>
  sql`select 1 from pg_locks where locktype = 'advisory' and not granted
    and database = (select oid from pg_database where datname = current_database())`.pipe(
    Effect.repeat({ until: (rows) => rows.length === sessions, schedule: Schedule.spaced("5 millis") }),
    Effect.timeout("30 seconds")
  )

const services = PgProjectionStore.layer.pipe(Layer.provideMerge(layerPostgres()))

const claim = { follower: "f@1", owner: "worker", partitions: 1, lease: Duration.minutes(1) }

describe("builds, and who comes in between", () => {
  it.live("whoever begins a build while another does gets the same", () =>
    Effect.gen(function*() {
      const { driver } = yield* ProjectionStore.ProjectionStore
      const sql = yield* PgClient.PgClient
      const other = yield* connection
      yield* driver.claim(claim)
      yield* other`begin`
      yield* other`select evsrc.begin_build('f@1', 0)`
      const second = yield* Effect.forkChild(driver.beginBuild("f@1", Position.start))
      yield* untilBlocked(sql, 1)
      yield* other`commit`
      assert.strictEqual(yield* Fiber.join(second), "f@1~1")
    }).pipe(Effect.scoped, Effect.provide(services)))

  it.live("who claims partitions during a switch waits for it, and gets those of the new target", () =>
    Effect.gen(function*() {
      const { driver } = yield* ProjectionStore.ProjectionStore
      const sql = yield* PgClient.PgClient
      const other = yield* connection
      yield* driver.claim(claim)
      yield* driver.claim({ ...claim, owner: "builder", target: yield* driver.beginBuild("f@1", Position.start) })
      yield* other`begin`
      yield* other`select * from evsrc.switch_target('f@1', 'f@1~1', false, null)`
      assert.strictEqual(yield* driver.activeTarget("f@1"), "f@1", "readers do not wait")
      const claiming = yield* Effect.forkChild(driver.claim(claim))
      const discarding = yield* Effect.forkChild(driver.discard("f@1", "f@1~1"))
      yield* untilBlocked(sql, 2)
      yield* other`commit`
      assert.strictEqual((yield* Fiber.join(claiming)).target, "f@1~1")
      assert.strictEqual(yield* Fiber.join(discarding), "active", "nor can what has become active be discarded")
    }).pipe(Effect.scoped, Effect.provide(services)))

  it.live("a switch waits for a batch that is being written, and sees how far it has come", () =>
    Effect.gen(function*() {
      const { driver } = yield* ProjectionStore.ProjectionStore
      const sql = yield* PgClient.PgClient
      const other = yield* connection
      const { held } = yield* driver.claim(claim)
      yield* driver.claim({ ...claim, owner: "builder", target: yield* driver.beginBuild("f@1", Position.start) })
      yield* other`begin`
      yield* other`select evsrc.advance_partition('f@1', 0, ${
        held[0]!.epoch
      }, 0, 7, '{}', '{}', '{}', '{}', '{}', '{}', '{}')`
      const request = { follower: "f@1", to: "f@1~1", whenBehind: "refuse" } as const
      const switching = yield* Effect.forkChild(driver.switchTarget(request))
      yield* sql`select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%switch_target%'
        and datname = current_database()`.pipe(
        Effect.repeat({ until: (rows) => rows.length > 0, schedule: Schedule.spaced("5 millis") }),
        Effect.timeout("30 seconds")
      )
      yield* other`commit`
      assert.deepStrictEqual(yield* Fiber.join(switching), { _tag: "Behind", missing: 7n })
    }).pipe(Effect.scoped, Effect.provide(services)))

  it.live("what is discarded goes in parts, and what is left of it goes when it is asked for again", () =>
    Effect.gen(function*() {
      const { driver } = yield* ProjectionStore.ProjectionStore
      const sql = yield* PgClient.PgClient
      yield* driver.claim(claim)
      const build = yield* driver.beginBuild("f@1", Position.start)
      yield* driver.claim({ ...claim, owner: "builder", target: build })
      const fill = (target: string) =>
        sql`insert into evsrc.documents (projection, key, document, revision)
          select ${target}, 'k' || n, '1', n from generate_series(1, 12000) as n`
      const left = (target: string) => driver.targetPage({ target, limit: 20_000 })
      for (const target of ["f@1", build]) yield* fill(target)
      // Cut off after the first part.
      yield* sql`select evsrc.discard_target('f@1', ${build}), evsrc.remove_discarded(${build}, 5000)`
      assert.strictEqual((yield* left(build)).length, 7000)
      assert.strictEqual(yield* driver.discard("f@1", build), "discarded")
      assert.strictEqual((yield* left(build)).length, 0)
      assert.strictEqual((yield* left("f@1")).length, 12_000)
      yield* sql`select evsrc.remove_discarded('f@1', 5000)`
      assert.strictEqual((yield* left("f@1")).length, 12_000, "nothing goes that was not discarded")
    }).pipe(Effect.provide(services)))
})
