/**
 * Which inline projections are complete, on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { InlineProjectionsDriver } from "../../projection/ProjectionStoreDriver.ts"
import type { PgStatement } from "../PgStatement.ts"

/**
 * Makes the driver of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): InlineProjectionsDriver => ({
  completeTypes: (projection) =>
    Effect.map(
      query<{ readonly types: ReadonlyArray<string> }>(
        `select types from ${schema}.inline_projections where projection = $1`,
        [projection]
      ),
      ([row]) => row?.types
    ),
  setComplete: (projection, types) =>
    Effect.asVoid(query(
      `insert into ${schema}.inline_projections (projection, types) values ($1, $2::text[]) `
        + "on conflict (projection) do update set types = excluded.types",
      [projection, types]
    ))
})
