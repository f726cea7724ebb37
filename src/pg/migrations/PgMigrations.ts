/**
 * Runs and checks the migrations: the plain SQL files in `migrations/` that create the tables and functions in PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Array from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, SqlError } from "effect/sql/SqlError"
import { type EventStoreError, storeError, StoreFailure, StoreMisconfigured } from "../../core/errors.ts"
import * as PgConnections from "../connections/PgConnections.ts"
import { isNoResponse } from "../connections/StatementDeadline.ts"
import * as PgDeadlines from "../PgDeadlines.ts"
import { fromSqlError, isConnectionLost, mapSqlError, sqlErrorOf } from "../PgErrors.ts"
import { type PgOptions, type SchemaName, schemaOf } from "../PgOptions.ts"
import {
  checkContents,
  checksumOf,
  inSchema,
  type MigrationRow,
  type MigrationSet,
  rowsOf,
  textOf
} from "./MigrationContents.ts"
import * as MigrationLock from "./MigrationLock.ts"
import { checkCopies, checkHashes, checkSequence, checkServer } from "./PgServerCheck.ts"

/**
 * The names of the migrations, in order. Each is a file `migrations/<name>.sql` of the package.
 *
 * @since 0.1.0
 * @category references
 */
export const names = [
  "0001_event_store",
  "0002_projections",
  "0003_generations",
  "0004_snapshots",
  "0005_timers"
] as const

/**
 * The names of the key store's migrations, in order. Each is a file `migrations/keys/<name>.sql`.
 *
 * @since 0.1.0
 * @category references
 */
export const keysNames = ["0001_subject_keys"] as const

/**
 * The default schema of the key store.
 *
 * @since 0.1.0
 * @category references
 */
export const keysSchema = "evsrc_keys"

const ofStores: MigrationSet = {
  folder: "",
  run: "evsrc migrate, PgMigrations.layer",
  written: "evsrc",
  names,
  needsUtf8: true
}
const ofKeys: MigrationSet = {
  folder: "keys/",
  run: "PgKeyStore.layer",
  written: keysSchema,
  names: keysNames,
  needsUtf8: false
}

/**
 * Returns the SQL of a migration, with the schema name of the options.
 *
 * @since 0.1.0
 * @category accessors
 */
export const sqlOf = (
  name: typeof names[number],
  options: PgOptions = {}
): Effect.Effect<string, EventStoreError> =>
  Effect.flatMap(
    schemaOf(options),
    ({ quoted }) => Effect.map(textOf(ofStores, name), (text) => inSchema(text, ofStores, quoted))
  )

/** A file has several statements. The extended protocol accepts them only as the body of a single one. */
const asOneStatement = (text: string): string => `do $evsrc_migration$ begin\n${text}\nend $evsrc_migration$`

/**
 * Runs the migrations that are missing, and returns their names. Processes that call it at once take turns.
 *
 * @since 0.1.0
 * @category constructors
 */
export const run = (options: PgOptions = {}) => runSet(ofStores, options)

/**
 * Runs the migrations of the key store that are missing, and returns their names.
 *
 * @since 0.1.0
 * @category constructors
 */
export const runKeys = (options: PgOptions) => runSet(ofKeys, options)

const runSet = Effect.fn("PgMigrations.run")(
  function*(
    set: MigrationSet,
    options: PgOptions
  ): Effect.fn.Return<ReadonlyArray<string>, EventStoreError, SqlClient.SqlClient> {
    const sql = yield* SqlClient.SqlClient
    yield* checkCopies(sql)
    const { name: schema, quoted } = yield* schemaOf(options)
    const connections = PgConnections.make(sql, yield* PgDeadlines.make(options))
    yield* requireTransactions(connections)
    if (yield* inSession(connections, hasRun(sql, set, options, { name: schema, quoted }), schema)) return []
    const texts = yield* Effect.forEach(set.names, (name) => textOf(set, name))
    const loader = Effect.succeed(set.names.map((name, index) =>
      [
        index + 1,
        name,
        Effect.succeed(sql.unsafe(asOneStatement(inSchema(texts[index]!, set, quoted))).unprepared)
      ] as const
    ))
    const own: MigrationLock.OwnSession = { pid: undefined }
    const migrate = Effect.gen(function*() {
      yield* MigrationLock.limit(connections, own)
      // The Migrator locks its table. Before that, the schema and the table are created, and CREATE … IF NOT EXISTS has a race.
      yield* sql.unsafe("select pg_advisory_xact_lock(hashtextextended($1, 0))", [`evsrc/migrations/${schema}`])
      yield* sql.unsafe(`create schema if not exists ${quoted}`)
      const rows = yield* rowsOf(sql, quoted)
      yield* checkOwner(set, schema, rows)
      yield* checkContents(sql, set, schema, rows)
      const done = yield* Migrator.make({})({ loader, table: `${schema}.migrations` })
      for (const [id] of done) {
        const checksum = checksumOf(texts[id - 1]!)
        yield* sql.unsafe(`update ${quoted}.migrations set checksum = $1 where migration_id = $2`, [checksum, id])
      }
      if (options.hashChain === true) yield* sql.unsafe(`select ${quoted}.enable_hash_chain()`)
      if (options.causationIndex === true) yield* sql.unsafe(`select ${quoted}.create_causation_indexes()`)
      return done
    })
    const done = yield* connections.session(sql.withTransaction(migrate), connections.deadlines.maintenanceTimeout)
      .pipe(
        Effect.catchTags({
          SqlError: (error) => Effect.fail(fromSqlError(error)),
          MigrationError: (error) =>
            Effect.fail(
              error.cause instanceof SqlError
                ? fromSqlError(error.cause)
                : storeError(new StoreFailure({ message: error.message, cause: error }))
            )
        }),
        MigrationLock.nameHolder(connections, schema, own)
      )
    yield* checkSet(set, options)
    return Array.map(done, ([, name]) => name)
  }
)

/**
 * Fails with `StoreMisconfigured` unless the schema has exactly the migrations of this version of evsrc, in a UTF8 database.
 *
 * @since 0.1.0
 * @category constructors
 */
export const check = (options: PgOptions = {}) => checkSet(ofStores, options)

/**
 * Fails with `StoreMisconfigured` unless the schema has exactly the key store's migrations of this version.
 *
 * @since 0.1.0
 * @category constructors
 */
export const checkKeys = (options: PgOptions) => checkSet(ofKeys, options)

/** After so many transactions in a row that were lost, it is the pooler that closes their connections. */
const maxLostTransactions = 5

/**
 * A pooler in statement mode closes the connection when a transaction begins, without a word that the client receives. So this fails with
 * `StoreMisconfigured` if that happens again and again, and each plain statement in between succeeds: a server that restarts, or a bad network, does not do
 * so.
 */
const requireTransactions = Effect.fnUntraced(function*(
  connections: PgConnections.PgConnections
): Effect.fn.Return<void, EventStoreError> {
  const select = connections.sql.unsafe("select 1").unprepared
  const empty = Effect.sandbox(connections.transaction(select, { isLimited: false })).pipe(
    Effect.as(true),
    Effect.catch((cause) => {
      const error = sqlErrorOf(cause)
      return error === undefined
        ? Effect.failCause(Cause.map(cause, fromSqlError))
        : isConnectionLost(error) && !isNoResponse(error)
        ? Effect.succeed(false)
        : Effect.fail(fromSqlError(error))
    })
  )
  for (let lost = 0; lost < maxLostTransactions; lost++) {
    if (yield* empty) return
    yield* mapSqlError(connections.statement(select))
  }
  return yield* storeError(
    new StoreMisconfigured({
      message: "The connection is closed whenever a transaction begins, as a connection pooler in statement mode does; "
        + "set its pool_mode to session, or to transaction with the client's option prepare: false",
      cause: undefined
    })
  )
})

const checkSet = Effect.fn("PgMigrations.check")(
  function*(set: MigrationSet, options: PgOptions): Effect.fn.Return<void, EventStoreError, SqlClient.SqlClient> {
    const sql = yield* SqlClient.SqlClient
    yield* checkCopies(sql)
    const names = yield* schemaOf(options)
    const connections = PgConnections.make(sql, yield* PgDeadlines.make(options))
    yield* requireTransactions(connections)
    yield* inSession(connections, checkSetIn(sql, set, options, names), names.name)
  }
)

/** Runs statements that change nothing in a transaction. One that waits for a lock fails after the `lockTimeout`, or the `statementTimeout` if shorter. */
const inSession = <A, R>(
  connections: PgConnections.PgConnections,
  effect: Effect.Effect<A, EventStoreError, R>,
  schema: string
): Effect.Effect<A, EventStoreError, R> => {
  const own: MigrationLock.OwnSession = { pid: undefined }
  const began = (pid: number) => {
    own.pid = pid
  }
  return Effect.catchIf(
    connections.transaction(effect, { began }),
    isSqlError,
    (error) => Effect.fail(fromSqlError(error))
  ).pipe(MigrationLock.nameHolder(connections, schema, own))
}

/** Returns whether nothing is left to run. The lock of migrations, which another session may hold, is not needed to see that. */
const hasRun = Effect.fnUntraced(function*(
  sql: SqlClient.SqlClient,
  set: MigrationSet,
  options: PgOptions,
  { name: schema, quoted }: SchemaName
): Effect.fn.Return<boolean, EventStoreError> {
  yield* checkServer(sql, set)
  const rows = yield* rowsOf(sql, quoted)
  if (rows.length === 0 || rows.at(-1)!.id !== set.names.length) return false
  yield* checkOwner(set, schema, rows)
  yield* checkContents(sql, set, schema, rows)
  if (set.needsUtf8) yield* checkLog(sql, quoted)
  return (options.hashChain !== true || (yield* hasChain(sql, quoted)))
    && (options.causationIndex !== true || (yield* hasCausationIndexes(sql, quoted)))
})

const checkLog = (sql: SqlClient.SqlClient, quoted: string): Effect.Effect<void, EventStoreError> =>
  Effect.andThen(checkHashes(sql, quoted), checkSequence(sql, quoted))

const hasCausationIndexes = (sql: SqlClient.SqlClient, quoted: string): Effect.Effect<boolean, EventStoreError> =>
  Effect.map(
    mapSqlError(
      sql.unsafe("select from unnest($1::text[]) as name where to_regclass(name) is null", [
        ["events_correlation", "events_id", "archived_events_correlation", "archived_events_id"]
          .map((name) => `${quoted}.${name}`)
      ]).withoutTransform
    ),
    (missing) => missing.length === 0
  )

const checkSetIn = Effect.fnUntraced(
  function*(
    sql: SqlClient.SqlClient,
    set: MigrationSet,
    options: PgOptions,
    { name: schema, quoted }: SchemaName
  ): Effect.fn.Return<void, EventStoreError, SqlClient.SqlClient> {
    const latest = set.names.length
    yield* checkServer(sql, set)
    const rows = yield* rowsOf(sql, quoted)
    yield* checkOwner(set, schema, rows)
    const last = rows.at(-1)?.id ?? 0
    if (last === latest) {
      yield* checkContents(sql, set, schema, rows)
      if (set.needsUtf8) yield* checkLog(sql, quoted)
      return options.hashChain === true ? yield* checkChain(sql, quoted) : undefined
    }
    const message = last < latest
      ? `Schema "${schema}" is at migration ${last} of ${latest}; run ${set.run}, or the files of migrations/${set.folder} by hand`
      : `Schema "${schema}" is at migration ${last}, newer than migration ${latest} of this version of evsrc; update evsrc`
    return yield* storeError(new StoreMisconfigured({ message, cause: undefined }))
  }
)

/** Fails if the schema has the migrations of the other set. */
const checkOwner = (
  set: MigrationSet,
  schema: string,
  [first]: ReadonlyArray<MigrationRow>
): Effect.Effect<void, EventStoreError> =>
  first === undefined || first.id !== 1 || first.name === set.names[0] ? Effect.void : Effect.fail(storeError(
    new StoreMisconfigured({
      message: `Schema "${schema}" has the migration ${first.name} where ${set.names[0]} is expected; `
        + "the event store and the key store each need a schema of their own: set the option schema of one of them",
      cause: undefined
    })
  ))

const hasChain = (sql: SqlClient.SqlClient, quoted: string): Effect.Effect<boolean, EventStoreError> =>
  Effect.map(
    mapSqlError(
      sql.unsafe(
        "select from pg_trigger where tgrelid = to_regclass($1) and tgname = 'events_hash_chain' and tgenabled <> 'D'",
        [`${quoted}.events`]
      ).withoutTransform
    ),
    (triggers) => triggers.length > 0
  )

const checkChain = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, schema: string) {
  if (yield* hasChain(sql, schema)) return
  return yield* storeError(
    new StoreMisconfigured({
      message:
        `The option hashChain is set, but the hash chain is not enabled in the database; run PgMigrations.layer({ hashChain: true }), or "select ${
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
