/**
 * A fresh PGlite in memory for a test.
 *
 * @since 0.1.0
 */
import type { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as EmptyDatabase from "./EmptyDatabase.ts"
import * as PgliteClient from "./PgliteClient.ts"
import type { PgliteError } from "./PgliteError.ts"

/**
 * Provides the client of a fresh PGlite in memory, which the end of the layer's scope removes.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: PgliteClient.ClientOptions = {}
): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, PgliteError | SqlError> =>
  Layer.unwrap(Effect.map(EmptyDatabase.dump, (loadDataDir) => PgliteClient.layer({ ...options, loadDataDir })))
