/** Open transactions that do not write to the log. They must not hold back its readers. */
import { PgClient } from "@effect/sql-pg"
import { assert } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { Reactivity } from "effect/reactivity"

const connection = (url: string) => PgClient.makeClient({ url: Redacted.make(url) })

/**
 * Opens a transaction that has written to another table, and one that holds a snapshot of the log. The scope closes both. `areOpen`
 * asserts that both are unchanged.
 */
export const open = Effect.fnUntraced(function*(url: string) {
  const writer = yield* connection(url)
  yield* writer`create table if not exists bystanders (n int)`
  yield* writer`begin`
  yield* writer`insert into bystanders values (1)`
  const transaction = writer<{ readonly id: string }>`select pg_current_xact_id_if_assigned()::text as id`
  const id = yield* transaction

  const reader = yield* connection(url)
  yield* reader`begin isolation level repeatable read`
  const snapshot = reader<{ readonly last: bigint | null; readonly snapshot: string }>`
    select max(position) as last, pg_current_snapshot()::text as snapshot from evsrc.events`
  const before = yield* snapshot

  const areOpen = Effect.gen(function*() {
    assert.deepStrictEqual(yield* transaction, id)
    assert.deepStrictEqual(yield* snapshot, before)
  })
  return { areOpen }
}, Effect.provide(Reactivity.layer))
