/**
 * A fresh database for each test, on PGlite or on a PostgreSQL server. They need the optional peer dependencies `@effect/sql-pg` and, for
 * PGlite, `@electric-sql/pglite`, and load them on use.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { PgliteError } from "../pglite/PgliteError.ts"

/**
 * A database of its own on a server.
 *
 * @since 0.1.0
 * @category models
 */
export interface Database {
  readonly name: string
  readonly url: Redacted.Redacted
}

/**
 * Options of {@link postgres} and {@link layerPostgres}.
 *
 * @since 0.1.0
 * @category options
 */
export interface PostgresOptions {
  /** The URL of a database on the server, with a role that may create databases. */
  readonly url: string | Redacted.Redacted
  /** The number of connections of {@link layerPostgres}; 10 by default. */
  readonly maxConnections?: number | undefined
}

/**
 * Creates a database with encoding UTF8 on a server. The end of the scope drops it, also while clients are connected. Use it for a test
 * that starts other processes; they connect to its `url`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const postgres = (options: PostgresOptions): Effect.Effect<Database, SqlError, Scope.Scope> =>
  Effect.flatMap(
    Effect.promise(() => import("../pg/PgTestDatabase.ts")),
    (module) => module.create(options)
  )

/**
 * Provides the client of a fresh database on a server. It is created when the layer is built, and dropped with the layer's scope.
 *
 * **Example** (Stores on a fresh database)
 *
 * ```ts
 * const Stores = PgStores.layer.pipe(Layer.provide(TestDatabase.layerPostgres({ url: process.env.TEST_DATABASE_URL })))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPostgres = (options: PostgresOptions): Layer.Layer<SqlClient, SqlError> =>
  Layer.unwrap(Effect.map(
    Effect.promise(() => import("../pg/PgTestDatabase.ts")),
    (module) => module.layer(options)
  ))

/**
 * Provides the client of a fresh PGlite in memory. The first one of a project takes seconds. An empty database is then kept in
 * `node_modules/.cache/evsrc`, from which later ones are created.
 *
 * **Example** (Stores on a fresh PGlite)
 *
 * ```ts
 * const Stores = PgStores.layer.pipe(Layer.provide(TestDatabase.layerPglite()))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPglite = (): Layer.Layer<SqlClient, PgliteError | SqlError> =>
  Layer.unwrap(Effect.map(
    Effect.promise(() => import("../pglite/PgliteTestDatabase.ts")),
    (module) => module.layer()
  ))
