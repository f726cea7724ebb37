import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { SqlClient } from "effect/sql/SqlClient"
import { layerPostgres } from "./Database.ts"

it.live("a fresh database is on PostgreSQL 18, empty and distinct", () =>
  Effect.gen(function*() {
    const inspect = Effect.gen(function*() {
      const sql = yield* SqlClient
      assert.isDefined((yield* PgClient.PgClient).config.url)
      const [row] = yield* sql<{ readonly name: string; readonly major: number; readonly tables: number }>`
        SELECT current_database()::text AS name, current_setting('server_version_num')::int / 10000 AS major,
          (SELECT count(*)::int FROM pg_tables WHERE schemaname = 'public') AS tables`
      yield* sql`CREATE TABLE left_behind (id int)`
      return row!
    }).pipe(Effect.provide(Layer.fresh(layerPostgres())))
    const first = yield* inspect
    const second = yield* inspect
    assert.deepStrictEqual([first.major, first.tables, second.tables], [18, 0, 0])
    assert.notStrictEqual(first.name, second.name)
  }))
