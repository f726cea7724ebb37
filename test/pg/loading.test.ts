import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { Aggregate, CommandBus, Version } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import * as Bank from "../../examples/bank-account.ts"
import { freshDatabase } from "../support/Database.ts"

it.live("a rolled-back transaction leaves nothing in the cached state", () =>
  Effect.gen(function*() {
    const { url } = yield* freshDatabase
    yield* Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const deposit = (amount: number) => CommandBus.dispatch(Bank.Deposit, { account: "ann", amount })
      const load = (options?: Aggregate.LoadOptions) => Aggregate.load(Bank.Account, "ann", options)
      yield* CommandBus.dispatch(Bank.Open, { account: "ann" })
      yield* deposit(1)
      yield* Effect.flip(sql.withTransaction(Effect.gen(function*() {
        yield* deposit(10)
        assert.strictEqual((yield* load({ policy: "stale" })).state, 11, "within the transaction a stale load is fresh")
        yield* deposit(100)
        assert.strictEqual((yield* load()).state, 111)
        return yield* Effect.fail("rolled back")
      })))
      assert.strictEqual((yield* load({ policy: "stale" })).state, 1)
      assert.strictEqual((yield* deposit(2)).version, Version.make(3))
      assert.strictEqual((yield* load()).state, 3)
      yield* sql.withTransaction(deposit(4))
      assert.strictEqual(
        (yield* load({ policy: "stale" })).state,
        3,
        "the cached state, which no command has refreshed"
      )
      assert.strictEqual((yield* deposit(8)).version, Version.make(5))
      assert.strictEqual((yield* load({ policy: "stale" })).state, 15)
    }).pipe(
      Effect.provide(Aggregate.layer(Bank.Account)),
      Effect.provide(PgEventStore.layer),
      Effect.provide(PgClient.layer({ url: Redacted.make(url) }))
    )
  }))
