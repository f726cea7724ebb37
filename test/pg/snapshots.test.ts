import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Deferred, Effect, Fiber, Option, Redacted, References, type Scope } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { Aggregate, EventStore, SnapshotPolicy } from "evsrc"
import { PgEventStore, type PgOptions } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { add, foldedState, startProcess, storedSnapshot, tally } from "../snapshot/SnapshotFixtures.ts"
import { layerPostgres } from "../support/Database.ts"

const keys = [Redacted.make(btoa("k".repeat(32)))]

const decider = tally({ snapshots: SnapshotPolicy.every(5) })

const onPostgres = <A, E>(
  self: Effect.Effect<A, E, EventStore.EventStore | SqlClient | Scope.Scope>,
  options: PgOptions = {}
) =>
  Effect.scoped(self).pipe(
    Effect.provide(PgEventStore.layerWith(options)),
    Effect.provide(layerPostgres()),
    Effect.provideService(References.MinimumLogLevel, "None")
  )

describe("snapshots on PostgreSQL", () => {
  it.live("a caller's transaction writes none, but loads from them", () =>
    onPostgres(Effect.gen(function*() {
      const sql = yield* SqlClient
      const { read, run, settled } = yield* startProcess()
      for (const n of [1, 2, 3]) yield* run(add(decider, "a", n))
      const within = Effect.gen(function*() {
        for (const n of [4, 5, 6]) yield* run(add(decider, "a", n))
        assert.deepStrictEqual((yield* run(Aggregate.load(decider, "a"))).state, { sum: 21 })
      })
      yield* Effect.flip(sql.withTransaction(Effect.andThen(within, Effect.fail("rolled back"))))
      yield* settled
      assert.isUndefined(yield* storedSnapshot(decider, "a"), "rolled back")
      yield* sql.withTransaction(within)
      yield* settled
      assert.isUndefined(yield* storedSnapshot(decider, "a"), "committed")
      yield* run(add(decider, "a", 7))
      yield* settled
      assert.strictEqual(
        (yield* storedSnapshot(decider, "a"))?.version,
        6,
        "the next command, which reads what the transaction wrote, writes it"
      )
      yield* read
      const { state } = yield* sql.withTransaction(run(Aggregate.load(decider, "a")))
      assert.deepStrictEqual(state, { sum: 28 })
      assert.strictEqual(yield* read, 2)
    })))

  it.live("commands succeed without the table of snapshots", () =>
    onPostgres(Effect.gen(function*() {
      const sql = yield* SqlClient
      const { run, settled } = yield* startProcess()
      yield* sql`alter table evsrc.snapshots rename to gone`
      for (let n = 1; n <= 12; n++) yield* run(add(decider, "a", n))
      yield* settled
      yield* sql`alter table evsrc.gone rename to snapshots`
      const { calls, run: again, settled: later } = yield* startProcess()
      assert.deepStrictEqual(yield* again(Aggregate.load(decider, "a")), yield* foldedState(decider, "a"))
      yield* later
      assert.deepStrictEqual(yield* calls, ["read", "write"])
      assert.strictEqual((yield* storedSnapshot(decider, "a"))?.version, 12)
    })))

  it.live("a session that holds the table of snapshots holds up one command, for 2 seconds", () =>
    onPostgres(
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const process = yield* startProcess()
        const [held, mayEnd] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const holder = yield* Effect.forkScoped(sql.withTransaction(Effect.andThen(
          sql`lock table evsrc.snapshots in access exclusive mode`,
          Effect.andThen(Deferred.succeed(held, undefined), Deferred.await(mayEnd))
        )))
        yield* Deferred.await(held)
        const ids = Array.from({ length: 20 }, (_, n) => `held-${n}`)
        // Without a bound of its own, the read would wait for the statementTimeout.
        yield* Effect.timeout(Effect.forEach(ids, (id) => process.run(add(decider, id, 1))), "1 minute")
        yield* Deferred.succeed(mayEnd, undefined)
        yield* Fiber.join(holder)
        assert.deepStrictEqual(yield* process.calls, ["read"])
      }),
      { statementTimeout: "5 minutes", lockTimeout: "5 minutes" }
    ))

  it.live("a row that was written by hand is replaced once, or rejected by the table", () =>
    onPostgres(Effect.gen(function*() {
      const sql = yield* SqlClient
      const { run, settled } = yield* startProcess(undefined, keys)
      for (let n = 1; n <= 6; n++) yield* run(add(decider, "a", n))
      yield* settled
      for (const takenAt of ["2030-01-02 03:04:05.678901+00", "0001-01-01 00:00:00+00", "9999-12-30 23:00:00+00"]) {
        yield* sql`update evsrc.snapshots set state = '{"sum":666}', taken_at = ${takenAt}::timestamptz`
        const process = yield* startProcess(undefined, keys)
        assert.deepStrictEqual((yield* process.run(Aggregate.load(decider, "a"))).state, { sum: 21 })
        yield* process.settled
        assert.deepStrictEqual(yield* process.calls, ["read", "discard", "write"])
        assert.strictEqual((yield* storedSnapshot(decider, "a"))?.version, 6)
      }
      for (
        const change of [
          "version = 9007199254740992",
          "version = 0",
          "position = -1",
          "position = 17592186044416",
          "taken_at = 'infinity'",
          "taken_at = '-infinity'",
          "taken_at = '10000-01-01'"
        ]
      ) {
        const error = yield* Effect.flip(sql.unsafe(`update evsrc.snapshots set ${change}`))
        assert.include(String(error.reason.cause), "violates check constraint", change)
      }
    })))

  it.live("the keys come from the configuration", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const run = (key: string) =>
        Effect.gen(function*() {
          for (let n = 1; n <= 5; n++) yield* add(decider, key, n)
          yield* (yield* EventStore.EventStore)[internals].snapshots.settled
        }).pipe(
          Effect.provide(PgEventStore.layerConfig({ snapshotKeys: Config.all([Config.Redacted("SNAPSHOT_KEY")]) })),
          Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ SNAPSHOT_KEY: key })))
        )
      yield* run(Redacted.value(keys[0]!))
      const rows = yield* sql<{ readonly signature: string | null }>`select signature from evsrc.snapshots`
      assert.match(rows[0]?.signature ?? "", /^1\.[A-Za-z0-9+/]{43}=$/)
      const error = yield* Effect.flip(run("c2hvcnQ="))
      assert.include(String(error), "Key 1 of the option `snapshotKeys` has 5 bytes")
    }).pipe(Effect.provide(layerPostgres())))

  it.live("concurrent writers of one stream leave the latest version", () =>
    onPostgres(Effect.gen(function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      const { run, settled } = yield* startProcess()
      for (let n = 1; n <= 5; n++) yield* run(add(decider, "a", n))
      yield* settled
      const one = (yield* storedSnapshot(decider, "a"))!
      const versions = Array.from({ length: 60 }, (_, n) => (n * 37) % 60 + 1)
      yield* Effect.forEach(
        versions,
        (version) => driver.snapshots.write({ ...one, version: one.version + version as typeof one.version }),
        { concurrency: 20 }
      )
      const last = Option.getOrThrow(yield* driver.snapshots.read(one))
      assert.strictEqual(last.version, one.version + 60)
    })))
})
