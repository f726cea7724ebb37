/** A separate database for each test. */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import { inject } from "vitest"
import * as PgliteClient from "../../src/pglite/PgliteClient.ts"
import type { PgliteError } from "../../src/pglite/PgliteError.ts"

export interface Database {
  readonly name: string
  readonly url: string
}

const onServer = (statement: string): Effect.Effect<void, SqlError> =>
  PgClient.makeClient({ url: Redacted.make(inject("postgresUrl")) }).pipe(
    Effect.flatMap((sql) => sql.unsafe(statement)),
    Effect.scoped,
    Effect.provide(Reactivity.layer),
    Effect.asVoid
  )

/** Creates a database on the server of this run. Closing the scope drops it, also while clients are connected. */
export const freshDatabase: Effect.Effect<Database, SqlError, Scope.Scope> = Effect.suspend(() => {
  const name = `evsrc_${randomUUID().replaceAll("-", "")}`
  const url = new URL(inject("postgresUrl"))
  url.pathname = `/${name}`
  return Effect.acquireRelease(
    Effect.as(onServer(`CREATE DATABASE ${name}`), { name, url: url.href }),
    () => Effect.orDie(onServer(`DROP DATABASE ${name} WITH (FORCE)`))
  )
})

export interface PostgresOptions extends Omit<PgClient.PgPoolConfig, "url" | "maxConnections"> {
  /** The number of connections; 20 by default. */
  readonly poolSize?: number
}

/** Returns a client of a fresh database on the server of this run. */
export const layerPostgres = (
  { poolSize = 20, ...config }: PostgresOptions = {}
): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, SqlError> =>
  Layer.unwrap(Effect.map(
    freshDatabase,
    ({ url }) => PgClient.layer({ ...config, url: Redacted.make(url), maxConnections: poolSize })
  ))

/** Returns a client of a fresh PGlite in memory. */
export const layerPglite = (
  config: PgliteClient.ClientOptions = {}
): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, PgliteError | SqlError> =>
  Layer.unwrap(Effect.map(
    Effect.promise(() => Fs.openAsBlob(inject("pgliteSnapshot"))),
    (loadDataDir) => PgliteClient.layer({ ...config, loadDataDir })
  ))
