/**
 * A fresh database on a PostgreSQL server for a test.
 *
 * @since 0.1.0
 */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { randomUUID } from "node:crypto"
import type { Database, PostgresOptions } from "../testing/TestDatabase.ts"

const runOn = (url: Redacted.Redacted, statement: string): Effect.Effect<void, SqlError> =>
  PgClient.makeClient({ url }).pipe(
    Effect.flatMap((sql) => sql.unsafe(statement)),
    Effect.scoped,
    Effect.provide(Reactivity.layer),
    Effect.asVoid
  )

/**
 * Creates a database on the server. The end of the scope drops it, also while clients are connected.
 *
 * @since 0.1.0
 * @category constructors
 */
export const create = ({ url: given }: PostgresOptions): Effect.Effect<Database, SqlError, Scope.Scope> =>
  Effect.suspend(() => {
    const server = typeof given === "string" ? Redacted.make(given) : given
    const name = `evsrc_${randomUUID().replaceAll("-", "")}`
    const url = new URL(Redacted.value(server))
    url.pathname = `/${name}`
    return Effect.acquireRelease(
      Effect.as(runOn(server, `CREATE DATABASE ${name} ENCODING 'UTF8' TEMPLATE template0`), {
        name,
        url: Redacted.make(url.href)
      }),
      () => Effect.orDie(runOn(server, `DROP DATABASE ${name} WITH (FORCE)`))
    )
  })

/**
 * Provides the client of a fresh database.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: PostgresOptions,
  config: Omit<PgClient.PgPoolConfig, "url" | "maxConnections"> = {}
): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, SqlError> =>
  Layer.unwrap(Effect.map(
    create(options),
    ({ url }) => PgClient.layer({ ...config, url, maxConnections: options.maxConnections ?? 10 })
  ))
