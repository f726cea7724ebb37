/**
 * The tables and functions of evsrc in Postgres, as plain SQL files in `migrations/`, and their runner.
 *
 * @since 0.1.0
 */
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { SqlError } from "effect/sql/SqlError"
import { readFile } from "node:fs/promises"
import { type EventStoreError, storeError, StoreFailure, StoreMisconfigured } from "../core/errors.ts"
import { fromSqlError, mapSqlError } from "./PgErrors.ts"
import { type PgOptions, schemaOf } from "./PgOptions.ts"

/**
 * The names of the migrations, in order. A file of that name with the ending `.sql` is in the folder `migrations/` of the
 * package.
 *
 * @since 0.1.0
 * @category constants
 */
export const names = ["0001_event_store", "0002_projections", "0003_generations", "0004_snapshots"] as const

/**
 * The same of the key store, in the folder `migrations/keys/`.
 *
 * @since 0.1.0
 * @category constants
 */
export const keysNames = ["0001_subject_keys"] as const

/**
 * The schema of the key store, unless another is given.
 *
 * @since 0.1.0
 * @category constants
 */
export const keysSchema = "evsrc_keys"

/** Files of a folder, whose text names the schema `written`. */
interface MigrationSet {
  readonly folder: string
  readonly written: string
  readonly names: ReadonlyArray<string>
  /** Whether the schema stores hashes of text, which depend on the encoding of the database. */
  readonly needsUtf8: boolean
}

const ofStores: MigrationSet = { folder: "", written: "evsrc", names, needsUtf8: true }
const ofKeys: MigrationSet = { folder: "keys/", written: keysSchema, names: keysNames, needsUtf8: false }

const textOf = ({ folder, written }: MigrationSet, name: string, options: PgOptions): Effect.Effect<string> => {
  const { quoted } = schemaOf(options)
  return Effect.map(
    Effect.promise(() => readFile(new URL(`../../migrations/${folder}${name}.sql`, import.meta.url), "utf8")),
    (text) => text.replace(new RegExp(`\\b${written}\\b(?=\\s*[.;])`, "g"), quoted)
  )
}

/**
 * The SQL of a migration for a schema: the file's text with its schema `evsrc` replaced.
 *
 * @since 0.1.0
 * @category getters
 */
export const sqlOf = (name: typeof names[number], options: PgOptions = {}): Effect.Effect<string> =>
  textOf(ofStores, name, options)

/** A file holds several statements, which the extended protocol takes only as the body of one. */
const asOneStatement = (text: string): string => `do $evsrc_migration$ begin\n${text}\nend $evsrc_migration$`

/**
 * Creates or updates the schema. Safe when several processes start at once: they take turns, and all but the first find nothing
 * to do. Answers the names of the migrations that were run.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (options: PgOptions = {}) => runSet(ofStores, options)

/**
 * The same of the key store.
 *
 * @since 0.1.0
 * @category running
 */
export const runKeys = (options: PgOptions) => runSet(ofKeys, options)

const runSet = Effect.fn("PgMigrations.run")(
  function*(
    set: MigrationSet,
    options: PgOptions
  ): Effect.fn.Return<ReadonlyArray<string>, EventStoreError, SqlClient.SqlClient> {
    const sql = yield* SqlClient.SqlClient
    const { name: schema, quoted } = schemaOf(options)
    const loader = Effect.forEach(set.names, (name, index) =>
      Effect.map(textOf(set, name, options), (text) =>
        [
          index + 1,
          name,
          Effect.succeed(sql.unsafe(asOneStatement(text)).unprepared)
        ] as const))
    const migrate = Effect.gen(function*() {
      // The Migrator locks its table, but that and the schema must come to be first, and CREATE … IF NOT EXISTS races.
      yield* sql.unsafe("select pg_advisory_xact_lock(hashtextextended($1, 0))", [`evsrc/migrations/${schema}`])
      yield* sql.unsafe(`create schema if not exists ${quoted}`)
      yield* firstOf(set, options)
      const done = yield* Migrator.make({})({ loader, table: `${schema}.migrations` })
      if (options.hashChain === true) yield* sql.unsafe(`select ${quoted}.enable_hash_chain()`)
      if (options.causationIndex === true) yield* sql.unsafe(`select ${quoted}.create_causation_indexes()`)
      return done
    })
    const done = yield* sql.withTransaction(migrate).pipe(
      Effect.catchTags({
        SqlError: (error) => Effect.fail(fromSqlError(error)),
        MigrationError: (error) =>
          Effect.fail(
            error.cause instanceof SqlError
              ? fromSqlError(error.cause)
              : storeError(new StoreFailure({ message: error.message, cause: error }))
          )
      })
    )
    yield* checkSet(set, options)
    return Array.map(done, ([, name]) => name)
  }
)

/**
 * Fails unless the database has exactly the migrations this version of evsrc needs.
 *
 * @since 0.1.0
 * @category running
 */
export const check = (options: PgOptions = {}) => checkSet(ofStores, options)

/**
 * The same of the key store.
 *
 * @since 0.1.0
 * @category running
 */
export const checkKeys = (options: PgOptions) => checkSet(ofKeys, options)

const checkSet = Effect.fn("PgMigrations.check")(
  function*(set: MigrationSet, options: PgOptions): Effect.fn.Return<void, EventStoreError, SqlClient.SqlClient> {
    const latest = set.names.length
    const sql = yield* SqlClient.SqlClient
    const { name: schema, quoted } = schemaOf(options)
    const present = (yield* firstOf(set, options)) !== undefined
    const [row] = yield* mapSqlError(
      sql.unsafe<{ readonly encoding: string; readonly last: number | null }>(
        `select current_setting('server_encoding') as encoding, (${
          present ? `select max(migration_id) from ${quoted}.migrations` : "null"
        }) as last`
      ).withoutTransform
    )
    if (set.needsUtf8 && row!.encoding !== "UTF8") return yield* wrongEncoding(row!.encoding)
    const last = row!.last ?? 0
    if (last === latest) return options.hashChain === true ? yield* checkChain(quoted) : undefined
    const message = last < latest
      ? `Schema "${schema}" is at migration ${last} of ${latest}; run PgMigrations.layer, or the files of migrations/${set.folder} by hand`
      : `Schema "${schema}" is at migration ${last}, newer than the ${latest} this version of evsrc knows; update evsrc`
    return yield* storeError(new StoreMisconfigured({ message, cause: undefined }))
  }
)

/** The migrations reject such a database too; this finds one into which a dump was restored. */
const wrongEncoding = (encoding: string): EventStoreError =>
  storeError(
    new StoreMisconfigured({
      message: `The event store needs a database with encoding UTF8, but this one has ${encoding}; `
        + "restore it into a database with encoding UTF8, and call rebuild_event_tags() there",
      cause: undefined
    })
  )

/** The name of the first migration that has run, if any has. Fails where it is of another set: each needs a schema of its own. */
const firstOf = Effect.fnUntraced(function*(set: MigrationSet, options: PgOptions) {
  const sql = yield* SqlClient.SqlClient
  const { name: schema, quoted } = schemaOf(options)
  const [found] = yield* mapSqlError(
    sql.unsafe<{ readonly present: boolean }>("select to_regclass($1) is not null as present", [`${quoted}.migrations`])
      .withoutTransform
  )
  const [row] = found?.present === true
    ? yield* mapSqlError(
      sql.unsafe<{ readonly name: string }>(`select name from ${quoted}.migrations where migration_id = 1`)
        .withoutTransform
    )
    : []
  const [first] = set.names
  if (row === undefined || row.name === first) return row?.name
  return yield* storeError(
    new StoreMisconfigured({
      message: `Schema "${schema}" began with the migration ${row.name} and not with ${first}; `
        + "events and the keys of personal data each need a schema of their own: give one of them the option schema",
      cause: undefined
    })
  )
})

const checkChain = Effect.fnUntraced(function*(schema: string) {
  const sql = yield* SqlClient.SqlClient
  const triggers = yield* mapSqlError(
    sql.unsafe(
      "select from pg_trigger where tgrelid = to_regclass($1) and tgname = 'events_hash_chain' and tgenabled <> 'D'",
      [
        `${schema}.events`
      ]
    ).withoutTransform
  )
  if (triggers.length > 0) return
  return yield* storeError(
    new StoreMisconfigured({
      message:
        `Events are not chained, which the option hashChain asks for; run PgMigrations.layer({ hashChain: true }), or "select ${
          schema.replaceAll("\"", "")
        }.enable_hash_chain()"`,
      cause: undefined
    })
  )
})

/**
 * Runs the migrations when the layer is built.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: PgOptions = {}): Layer.Layer<never, EventStoreError, SqlClient.SqlClient> =>
  Layer.effectDiscard(run(options))
