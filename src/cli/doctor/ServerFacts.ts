/**
 * What `doctor` reads from the server.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { monotonicMillis } from "../../core/monotonic.ts"
import { mapSqlError } from "../../pg/PgErrors.ts"

/**
 * The server, the database and the role.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerFacts {
  readonly version: string
  readonly number: number
  readonly encoding: string
  readonly isStandby: boolean
  readonly database: string
  readonly role: string
  readonly isSuperuser: boolean
  readonly readsAllStats: boolean
  /** How many sessions of clients the server accepts from roles without special rights, and how many it has. */
  readonly maxSessions: number
  readonly sessions: number
  /** How many sessions of this database have been idle for an hour, and the application that has most of them. */
  readonly unused: number
  readonly unusedBy: string | null
  /** The age in seconds of the oldest transaction of another session, and its pid. */
  readonly oldestTransaction: number | null
  readonly oldestPid: number | null
  readonly preparedTransactions: number
  /** The age of the oldest transaction id that is not frozen, of the 2^31 after which the server accepts no writes. */
  readonly transactionIds: number
}

const facts = `
  with others as (
    select * from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
  ), unused as (
    select application_name from others
    where datname = current_database() and state = 'idle' and state_change < now() - interval '1 hour'
  ), oldest as (
    select pid, extract(epoch from clock_timestamp() - xact_start)::float8 as age from others
    where xact_start is not null order by xact_start limit 1
  )
  select current_setting('server_version') as version,
    current_setting('server_version_num')::integer as number,
    current_setting('server_encoding') as encoding,
    pg_is_in_recovery() as "isStandby",
    current_database()::text as database,
    current_user::text as role,
    (select rolsuper from pg_roles where rolname = current_user) as "isSuperuser",
    pg_has_role(current_user, 'pg_read_all_stats', 'usage') as "readsAllStats",
    current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer as "maxSessions",
    (select count(*) from others)::integer as sessions,
    (select count(*) from unused)::integer as unused,
    (select application_name from unused group by 1 order by count(*) desc limit 1) as "unusedBy",
    (select age from oldest) as "oldestTransaction",
    (select pid from oldest) as "oldestPid",
    (select count(*) from pg_prepared_xacts where database = current_database())::integer as "preparedTransactions",
    (select age(datfrozenxid)::integer from pg_database where datname = current_database()) as "transactionIds"`

/**
 * Reads the facts.
 *
 * @since 0.1.0
 * @category accessors
 */
export const read = (sql: SqlClient.SqlClient) =>
  Effect.map(mapSqlError(sql.unsafe<ServerFacts>(facts).withoutTransform), ([row]) => row!)

/**
 * Reads settings of the server for this session, by their names. Those that the server does not have are missing.
 *
 * @since 0.1.0
 * @category accessors
 */
export const readSettings = (sql: SqlClient.SqlClient, names: ReadonlyArray<string>) =>
  Effect.map(
    mapSqlError(
      sql.unsafe<{ readonly name: string; readonly setting: string }>(
        "select name, setting from pg_settings where name = any($1::text[])",
        [names]
      ).withoutTransform
    ),
    (rows) => new Map(rows.map(({ name, setting }) => [name, setting]))
  )

/**
 * Returns by how many milliseconds the clock of the server is ahead of this machine's, and half of the round trip, which is the error of the measurement.
 *
 * @since 0.1.0
 * @category accessors
 */
export const readClock = Effect.fnUntraced(function*(sql: SqlClient.SqlClient) {
  const statement = mapSqlError(
    sql.unsafe<{ readonly millis: number }>("select extract(epoch from clock_timestamp())::float8 * 1000 as millis")
      .withoutTransform
  )
  // The first one prepares the statement, and may open a connection.
  yield* statement
  const began = yield* monotonicMillis
  const before = DateTime.toEpochMillis(yield* DateTime.now)
  const [row] = yield* statement
  const half = ((yield* monotonicMillis) - began) / 2
  return { ahead: row!.millis - (before + half), half }
})

/** The rights of a program that appends and runs consumers, as docs/reference.md grants them. */
const needed = [
  ["function", "append", "execute"],
  ["function", "append_one", "execute"],
  ["function", "lock_stream", "execute"],
  ...["migrations", "hash_check", "log", "events", "archived_events", "event_tags", "closed_streams"].map((name) => [
    "table",
    name,
    "select"
  ]),
  ...["active_generations", "generations"].map((name) => ["table", name, "select"]),
  ...["checkpoints", "delivery_log"].flatMap((name) =>
    ["select", "insert", "update"].map((right) => ["table", name, right])
  ),
  ...["documents", "workers", "parked", "inline_projections", "inline_gaps", "snapshots"].flatMap((name) =>
    ["select", "insert", "update", "delete"].map((right) => ["table", name, right])
  ),
  ...["select", "insert"].map((right) => ["table", "parking_log", right]),
  ["sequence", "positions", "select"],
  ["sequence", "revisions", "usage"],
  ["sequence", "snapshot_drop_count", "usage"]
]

/**
 * Returns the rights of a program that the role lacks in a schema.
 *
 * @since 0.1.0
 * @category accessors
 */
export const readMissingRights = (sql: SqlClient.SqlClient, schema: string) =>
  mapSqlError(
    sql.unsafe<{ readonly kind: string; readonly object: string; readonly right: string }>(
      `with needed as (
        select kind, format('%I.%I', $1::text, name) as object, privilege
        from unnest($2::text[], $3::text[], $4::text[]) as needed(kind, name, privilege)
      )
      select kind, object, privilege as right from needed
      where case
        when not has_schema_privilege(to_regnamespace(quote_ident($1::text)), 'usage') then true
        when kind = 'table' then to_regclass(object) is not null and not has_table_privilege(to_regclass(object), privilege)
        when kind = 'sequence' then to_regclass(object) is not null and not has_sequence_privilege(to_regclass(object), privilege)
        else exists (
          select from pg_proc where pronamespace = to_regnamespace(quote_ident($1::text)) and format('%I.%I', $1::text, proname) = object
            and not has_function_privilege(oid, privilege)
        )
      end`,
      [schema, needed.map(([kind]) => kind), needed.map(([, name]) => name), needed.map(([, , right]) => right)]
    ).withoutTransform
  )

/**
 * A table of a schema whose vacuum is behind.
 *
 * @since 0.1.0
 * @category models
 */
export interface Bloat {
  readonly table: string
  readonly deadRows: number
  readonly liveRows: number
}

/**
 * Returns the tables of a schema that have more dead rows than live ones, and at least 10,000, by the server's own statistics.
 *
 * @since 0.1.0
 * @category accessors
 */
export const readBloat = (sql: SqlClient.SqlClient, schema: string) =>
  mapSqlError(
    sql.unsafe<Bloat>(
      `select relname::text as table, n_dead_tup::float8 as "deadRows", n_live_tup::float8 as "liveRows" from pg_stat_user_tables
        where schemaname = $1 and n_dead_tup >= 10000 and n_dead_tup > n_live_tup order by n_dead_tup desc`,
      [schema]
    ).withoutTransform
  )

/**
 * Returns the indexes of a schema that the server does not use, because their creation has failed.
 *
 * @since 0.1.0
 * @category accessors
 */
export const readInvalidIndexes = (sql: SqlClient.SqlClient, schema: string) =>
  Effect.map(
    mapSqlError(
      sql.unsafe<{ readonly name: string }>(
        `select format('%I.%I', $1::text, relname) as name from pg_index join pg_class on pg_class.oid = indexrelid
          where not indisvalid and relnamespace = to_regnamespace(quote_ident($1::text)) order by 1`,
        [schema]
      ).withoutTransform
    ),
    (rows) => rows.map(({ name }) => name)
  )
