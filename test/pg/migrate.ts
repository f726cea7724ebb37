/** Waits for a line of input, runs the migrations, and prints how many it ran. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Redacted } from "effect"
import { PgMigrations } from "evsrc/pg"
import { once } from "node:events"

const program = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* sql`select 1`
  console.log("ready")
  yield* Effect.promise(() => once(process.stdin, "data"))
  const ran = yield* PgMigrations.run()
  console.log(`ran ${ran.length}`)
})

await Effect.runPromise(
  program.pipe(Effect.provide(PgClient.layer({ url: Redacted.make(process.env["DATABASE_URL"] ?? "") })))
)
process.exit(0)
