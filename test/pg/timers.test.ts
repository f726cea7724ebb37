import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer } from "effect"
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
})
