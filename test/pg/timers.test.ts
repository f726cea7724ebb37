import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer } from "effect"
import { Reactivity } from "effect/reactivity"
import { ProjectionStore } from "evsrc"
import { PgProjectionStore } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { layerPostgres } from "../support/Database.ts"

describe("claims of timers", () => {
  it.live("leave out a claim that another transaction has locked, without waiting for it", () =>
    Effect.gen(function*() {
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const sql = yield* PgClient.PgClient
      const other = yield* PgClient.makeClient(sql.config)
      const claim = (owner: string, millis: number) =>
        driver.claimTimers({ group: "g", keys: ["a", "b"], owner, duration: Duration.millis(millis) })
      assert.deepStrictEqual((yield* claim("one", 0)).toSorted(), ["a", "b"])
      yield* other.withTransaction(Effect.gen(function*() {
        yield* other`select 1 from evsrc.timer_claims where key = 'a' for update`
        assert.deepStrictEqual(yield* Effect.timeout(claim("two", 60_000), "20 seconds"), ["b"])
      }))
      assert.deepStrictEqual(yield* claim("two", 60_000), ["a", "b"])
    }).pipe(
      Effect.scoped,
      Effect.provide([PgProjectionStore.layer.pipe(Layer.provideMerge(layerPostgres())), Reactivity.layer])
    ))

  it.live("of several transactions never wait for each other", () =>
    Effect.gen(function*() {
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const sql = yield* PgClient.PgClient
      const other = yield* PgClient.makeClient(sql.config)
      const claim = (owner: string, keys: ReadonlyArray<string>, millis = 60_000) =>
        driver.claimTimers({ group: "g", keys, owner, duration: Duration.millis(millis) })
      const inOther = (keys: ReadonlyArray<string>) =>
        other<{ readonly key: string }>`
          select key from evsrc.claim_timers('g', ${keys as Array<string>}::text[], 'two', '1 minute') as key`
      // After a crash there is an expired claim of "b", and none of "a".
      yield* claim("crashed", ["b"], 0)
      yield* other.withTransaction(Effect.gen(function*() {
        assert.deepStrictEqual(yield* inOther(["b"]), [{ key: "b" }])
        const third = yield* Effect.forkChild(claim("three", ["a", "b"]))
        // Either it has ended, or it waits for the lock of "b" while it holds that of "a".
        yield* Effect.repeat(
          sql<{ readonly waits: boolean }>`
            select exists (
              select from pg_stat_activity where wait_event_type = 'Lock' and query like '%claim_timers%' and pid <> pg_backend_pid()
            ) as waits`,
          { until: ([row]) => row!.waits || third.pollUnsafe() !== undefined }
        )
        assert.deepStrictEqual(yield* inOther(["a"]), [])
        assert.deepStrictEqual(yield* Fiber.join(third), ["a"])
      }))
    }).pipe(
      Effect.scoped,
      Effect.timeout("1 minute"),
      Effect.provide([PgProjectionStore.layer.pipe(Layer.provideMerge(layerPostgres())), Reactivity.layer])
    ))
})
