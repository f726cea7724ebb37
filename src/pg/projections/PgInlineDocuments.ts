/**
 * The documents of inline projections on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { InlineDocumentsDriver } from "../../projection/ProjectionStoreDriver.ts"
import * as PgInlineProjections from "../PgInlineProjections.ts"
import type { PgStatement } from "../PgStatement.ts"

/**
 * Makes the driver of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): InlineDocumentsDriver => ({
  inlineProjection: PgInlineProjections.make(query, schema).find,
  readInlineFrom: () => Effect.void,
  replaceDocuments: (generation, by) =>
    Effect.andThen(
      query(`delete from ${schema}.documents where generation = $1`, [generation]),
      Effect.asVoid(query(`update ${schema}.documents set generation = $1 where generation = $2`, [generation, by]))
    )
})
