import { PgClient } from "@effect/sql-pg"
import { Effect } from "effect"

/** Returns how many deadlocks the database has had. */
export const deadlocks = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  // Another session sees the statistics of a back end once it has reported them.
  yield* sql`select pg_stat_force_next_flush()`
  const [found] = yield* sql<{ readonly deadlocks: bigint }>`
    select deadlocks from pg_stat_database where datname = current_database()`
  return Number(found!.deadlocks)
})
