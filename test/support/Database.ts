/** A separate database for each test. */
import type { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { inject } from "vitest"
import * as PgTestDatabase from "../../src/pg/PgTestDatabase.ts"
import type * as PgliteClient from "../../src/pglite/PgliteClient.ts"
import type { PgliteError } from "../../src/pglite/PgliteError.ts"
import * as PgliteTestDatabase from "../../src/pglite/PgliteTestDatabase.ts"

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

/** Returns a client of a fresh PGlite in memory. */
export const layerPglite: (
  config?: PgliteClient.ClientOptions
) => Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, PgliteError | SqlError> = PgliteTestDatabase.layer
