/**
 * Runs SQL statements of the stores.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { EventStoreError } from "../core/errors.ts"
import { mapSqlError } from "./PgErrors.ts"

/**
 * Runs a statement and returns its rows, with the column names of the database whatever the client's transforms.
 *
 * @since 0.1.0
 * @category models
 */
export type PgStatement = <Row extends object>(
  text: string,
  params: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<Row>, EventStoreError>

/**
 * Returns a function that runs statements with a client.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make =
  (sql: SqlClient): PgStatement => <Row extends object>(text: string, params: ReadonlyArray<unknown>) =>
    mapSqlError(sql.unsafe<Row>(text, params).withoutTransform)
