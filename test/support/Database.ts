/** A separate database for each test. */
import type { PgClient } from "@effect/sql-pg"
import { PGlite } from "@electric-sql/pglite"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { inject } from "vitest"
import * as PgTestDatabase from "../../src/pg/PgTestDatabase.ts"
import * as EmptyDatabase from "../../src/pglite/EmptyDatabase.ts"
import * as PgliteClient from "../../src/pglite/PgliteClient.ts"
import type { PgliteError } from "../../src/pglite/PgliteError.ts"

export interface Database {
  readonly name: string
  readonly url: string
}

/** Creates a database on the server of this run. Closing the scope drops it, also while clients are connected. */
export const freshDatabase: Effect.Effect<Database, SqlError, Scope.Scope> = Effect.suspend(() =>
  Effect.map(
    PgTestDatabase.create({ url: inject("postgresUrl") }),
    ({ name, url }) => ({ name, url: Redacted.value(url) })
  )
)

export interface PostgresOptions extends Omit<PgClient.PgPoolConfig, "url" | "maxConnections"> {
  /** The number of connections; 20 by default. */
  readonly poolSize?: number
}

/** Returns a client of a fresh database on the server of this run. */
export const layerPostgres = (
  { poolSize = 20, ...config }: PostgresOptions = {}
): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, SqlError> =>
  Layer.unwrap(
    Effect.sync(() => PgTestDatabase.layer({ url: inject("postgresUrl"), maxConnections: poolSize }, config))
  )

interface Pooled {
  readonly pglite: PGlite
  /** What {@link contents} returned when it was created. */
  readonly empty: string
}

/** The PGlites of this process that no test uses. To empty one costs a tenth of creating one. */
const unused: Array<Pooled> = []

const catalogs =
  `pg_namespace pg_class pg_type pg_proc pg_operator pg_cast pg_language pg_extension pg_event_trigger pg_largeobject_metadata
  pg_default_acl pg_authid pg_auth_members pg_tablespace pg_db_role_setting pg_parameter_acl pg_prepared_xacts`
    .split(/\s+/)

/** Returns the size of each catalog that a test may have extended, and the settings of the database. */
const contents = async (pglite: PGlite): Promise<string> => {
  const { rows } = await pglite.query(`
    select array[${catalogs.map((name) => `(select count(*) from ${name})`).join(", ")}] as sizes,
      array(select d::text from pg_database d order by datname) as databases,
      array(select s::text from pg_file_settings s order by sourcefile, seqno) as settings`)
  return JSON.stringify(rows)
}

/** Removes what tests have left in a PGlite. */
const emptied = async ({ empty, pglite }: Pooled): Promise<boolean> => {
  await pglite.exec("rollback")
  await pglite.exec("discard all")
  await pglite.exec(`
    do $$
    declare
      name text;
    begin
      for name in select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' loop
        execute format('drop schema %I cascade', name);
      end loop;
      for name in select rolname from pg_authid where oid >= 16384 loop
        execute format('drop owned by %I cascade', name);
        execute format('drop role %I', name);
      end loop;
      create schema public authorization pg_database_owner;
      grant usage on schema public to public;
    end $$`)
  return await contents(pglite) === empty
}

const createPglite = async (dump: Blob): Promise<Pooled> => {
  const pglite = await PGlite.create({ loadDataDir: dump })
  return { pglite, empty: await contents(pglite) }
}

/** Returns an unused PGlite that is like a new one. */
const takeUnused = async (): Promise<Pooled | undefined> => {
  for (let pooled = unused.pop(); pooled !== undefined; pooled = unused.pop()) {
    if (await emptied(pooled).catch(() => false)) return pooled
    await pooled.pglite.close().catch(() => {})
  }
  return undefined
}

/** Returns a PGlite in memory that is empty. Another test may get it when the scope ends. */
export const freshPglite: Effect.Effect<PGlite, PgliteError, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.flatMap(EmptyDatabase.dump, (dump) => Effect.promise(async () => await takeUnused() ?? createPglite(dump))),
    (pooled) => Effect.sync(() => unused.push(pooled))
  ),
  ({ pglite }) => pglite
)

/** Returns a client of a PGlite in memory that is empty. */
export const layerPglite = (
  config: PgliteClient.ClientOptions = {}
): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, PgliteError | SqlError> =>
  Layer.unwrap(Effect.map(freshPglite, (pglite) => PgliteClient.layer({ ...config, pglite })))
