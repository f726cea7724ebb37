import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Schedule } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import * as PgConnections from "../../../src/pg/connections/PgConnections.ts"
import * as PgLockObserver from "../../../src/pg/locks/PgLockObserver.ts"
import * as PgDeadlines from "../../../src/pg/PgDeadlines.ts"
import { layerPostgres } from "../../support/Database.ts"

const waiters = 60

describe("PgLockObserver", () => {
  it.live("names the session that holds a row for which many others wait", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table counters (n int)`
      yield* sql`insert into counters values (0)`
      const increment = sql`update counters set n = n + 1 returning pg_backend_pid() as pid`
      const held = yield* Deferred.make<unknown>()
      yield* Effect.forkScoped(sql.withTransaction(
        Effect.flatMap(increment, ([row]) => Effect.andThen(Deferred.succeed(held, row!["pid"]), Effect.never))
      ))
      const holder = yield* Deferred.await(held)
      const waiting = sql<{ readonly pid: number }>`select pid from pg_locks join pg_stat_activity using (pid)
        where not granted and datname = current_database() order by waitstart desc`
      for (let n = 1; n <= waiters; n++) {
        yield* Effect.forkScoped(increment)
        yield* Effect.repeat(waiting, { until: (rows) => rows.length === n, schedule: Schedule.spaced("5 millis") })
      }
      const [last] = yield* waiting
      const observe = PgLockObserver.make(PgConnections.make(sql, yield* PgDeadlines.make()))
      const wait = yield* observe(last!.pid)
      assert.isTrue(wait?.isOfRow)
      assert.include(wait?.holder, `the session ${holder} (`)
    }).pipe(Effect.scoped, Effect.provide(layerPostgres({ poolSize: waiters + 4 }))))
})
