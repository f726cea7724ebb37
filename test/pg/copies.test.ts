/** Two copies of the package `effect` in one process. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { type Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { EventStoreError } from "evsrc"
import { PgMigrations, PgStores } from "evsrc/pg"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import { pathToFileURL } from "node:url"
import { layerPostgres } from "../support/Database.ts"

/** Another copy of effect, in a folder of its own. */
const otherCopy = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evsrc-effect-"))
    const copy = Path.join(folder, "node_modules/effect")
    const effect = Path.dirname(createRequire(import.meta.url).resolve("effect/package.json"))
    Fs.cpSync(effect, copy, {
      recursive: true,
      filter: (file) => !/\.(ts|map|md)$|effect\/src$/.test(file)
    })
    return { folder, copy }
  }),
  ({ folder }) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
).pipe(Effect.flatMap(({ copy }) =>
  Effect.promise(async () => ({
    effect: await import(pathToFileURL(Path.join(copy, "dist/Effect.js")).href) as typeof Effect,
    context: await import(pathToFileURL(Path.join(copy, "dist/Context.js")).href) as typeof Context
  }))
))

const assertNamed = (error: unknown, who: string) => {
  assert.instanceOf(error, EventStoreError)
  assert.strictEqual(error.reason._tag, "StoreMisconfigured")
  assert.include(error.message, "Two copies of the package effect")
  assert.include(error.message, `${who} and evsrc`)
}

describe("two copies of effect", () => {
  it.live("are named when the program or its SQL client uses another one than evsrc", () =>
    Effect.gen(function*() {
      const client = yield* Effect.context<SqlClient.SqlClient>()
      const { context, effect } = yield* otherCopy
      yield* PgMigrations.run()
      for (
        const check of [
          PgMigrations.check(),
          Effect.asVoid(PgMigrations.run()),
          Effect.asVoid(Effect.scoped(Layer.build(Layer.fresh(PgStores.layer))))
        ]
      ) {
        const exit = yield* Effect.promise(() => effect.runPromiseExit(Effect.provide(check, client)))
        const [reason] = exit._tag === "Failure" ? exit.cause.reasons : []
        assertNamed(reason?._tag === "Fail" ? reason.error : reason, "the program")
      }
      const sql = yield* PgClient.PgClient
      const foreign = Object.assign(Object.create(sql), sql, { transactionService: context.Service("foreign") })
      const error = yield* Effect.flip(PgMigrations.check()).pipe(
        Effect.provideService(SqlClient.SqlClient, foreign as SqlClient.SqlClient)
      )
      assertNamed(error, "@effect/sql-pg")
    }).pipe(Effect.provide(layerPostgres())))
})
