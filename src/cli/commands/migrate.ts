/**
 * `evsrc migrate`: runs the migrations, checks them, or prints their SQL.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as PgMigrations from "../../pg/migrations/PgMigrations.ts"
import { BadVerdict, WrongUse } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import * as Stores from "../session/Stores.ts"

/**
 * The report of `migrate`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Migrate = Schema.toCodecJson(Schema.Struct({
  schema: Schema.String,
  /** The migrations that this command has run. */
  ran: Schema.Array(Schema.String),
  /** The last migration of this version of evsrc. */
  latest: Schema.String
}))

/**
 * The report of `migrate --check`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const MigrateCheck = Schema.toCodecJson(Schema.Struct({
  schema: Schema.String,
  /** Whether the schema has exactly the migrations of this version of evsrc. */
  isCurrent: Schema.Boolean,
  /** Why not; `null` if it is. */
  reason: Schema.NullOr(Schema.String)
}))

/**
 * The report of `migrate --sql`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const MigrateSql = Schema.toCodecJson(
  Schema.Array(Schema.Struct({ migration: Schema.String, sql: Schema.String }))
)

const latest = PgMigrations.names[PgMigrations.names.length - 1]!

const run = Effect.gen(function*() {
  const { options } = yield* Stores.target
  const { schema = "evsrc" } = options
  const ran = yield* PgMigrations.run(options)
  yield* Output.document(Migrate, { schema, ran, latest }, (style) =>
    ran.length === 0
      ? [`Schema "${schema}" is at migration ${latest}; nothing to run`]
      : [...ran.map((name) => `${style.as("green", "ran")} ${name}`), `Schema "${schema}" is at migration ${latest}`])
})

const check = Effect.gen(function*() {
  const { options } = yield* Stores.target
  const { schema = "evsrc" } = options
  const reason = yield* PgMigrations.check(options).pipe(
    Effect.as(null),
    Effect.catchReason(
      "EventStoreError",
      "StoreMisconfigured",
      // A migration that cannot connect has not seen the schema.
      (found, error) => found.cause === undefined ? Effect.succeed(found.message) : Effect.fail(error)
    )
  )
  yield* Output.document(MigrateCheck, { schema, isCurrent: reason === null, reason }, (style) => [
    reason === null
      ? `Schema "${schema}" is at migration ${latest}, the latest of this version`
      : style.as("red", reason)
  ])
  if (reason !== null) return yield* new BadVerdict()
})

const print = Effect.gen(function*() {
  const { options } = yield* Stores.settings
  const all = yield* Effect.forEach(
    PgMigrations.names,
    (migration) => Effect.map(PgMigrations.sqlOf(migration, options), (sql) => ({ migration, sql }))
  )
  yield* Output.document(
    MigrateSql,
    all,
    () => all.flatMap(({ migration, sql }) => [`-- ${migration}`, sql.trimEnd(), ""])
  )
})

/**
 * The command `migrate`.
 *
 * @since 0.1.0
 * @category commands
 */
export const migrate = Command.make(
  "migrate",
  {
    check: Flag.Boolean("check").pipe(
      Flag.withDescription(
        "Run nothing; the exit code is 1 unless the schema has exactly the migrations of this version"
      ),
      Flag.withoutNegation,
      Flag.withDefault(false)
    ),
    sql: Flag.Boolean("sql").pipe(
      Flag.withDescription("Run nothing; print the SQL of all migrations, with the name of the schema"),
      Flag.withoutNegation,
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function*(flags) {
    if (flags.check && flags.sql) {
      return yield* new WrongUse({ detail: "--check and --sql exclude each other; give one of them" })
    }
    // No database is needed to print what would run.
    if (flags.sql) return yield* print
    yield* Effect.provide(flags.check ? check : run, Stores.layerClient)
  })
).pipe(
  Command.withDescription("Run the missing migrations"),
  Command.withExamples([
    { command: "evsrc migrate", description: "Update the schema to this version; concurrent runs wait for each other" },
    { command: "evsrc migrate --check", description: "In a deployment, check whether the migrations have run" },
    { command: "evsrc migrate --sql > evsrc.sql", description: "For an administrator who runs them" }
  ])
)
