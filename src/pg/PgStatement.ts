/**
 * A statement of the store, with its errors as the store's.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { EventStoreError } from "../core/errors.ts"
import { mapSqlError } from "./PgErrors.ts"

/**
 * The rows that a statement answers, with the columns' own names.
 *
 * @since 0.1.0
 * @category models
 */
export type PgStatement = <Row extends object>(
  text: string,
  params: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<Row>, EventStoreError>

/**
 * @since 0.1.0
 * @category constructors
 */
export const make =
  (sql: SqlClient): PgStatement => <Row extends object>(text: string, params: ReadonlyArray<unknown>) =>
    mapSqlError(sql.unsafe<Row>(text, params).withoutTransform)
