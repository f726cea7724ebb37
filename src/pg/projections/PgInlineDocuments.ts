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
 * Makes the driver of a schema, given by its quoted name. `maintenanceTimeout` is in milliseconds.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string, maintenanceTimeout: number): InlineDocumentsDriver => ({
  inlineProjection: PgInlineProjections.make(query, schema, maintenanceTimeout).find,
  readInlineFrom: () => Effect.void,
  keysPage: ({ after, generations: [one, other], limit }) =>
    Effect.map(
      query<{ readonly key: string }>(keysIn(schema), [one, other, after, limit]),
      (rows) => rows.map(({ key }) => key)
    ),
  copyDocuments: (generation, from, keys) => Effect.asVoid(query(copyIn(schema), [generation, from, keys]))
})

const keysIn = (schema: string): string => {
  const keysOf = (parameter: string) =>
    `(select key from ${schema}.documents where generation = ${parameter} and key > $3 order by key limit $4)`
  return `select key from (${keysOf("$1")} union ${keysOf("$2")}) as keys order by key limit $4`
}

const copyIn = (schema: string): string => {
  const same = "stored.document::text = made.document::text and stored.indexed = made.indexed "
    + "and stored.stream is not distinct from made.stream"
  return `with removed as (
    delete from ${schema}.documents stored
      where stored.generation = $1 and stored.key = any ($3::text[])
        and not exists (select from ${schema}.documents made where made.generation = $2 and made.key = stored.key)
  )
  insert into ${schema}.documents as stored (generation, key, document, indexed, revision, stream)
    select $1, made.key, made.document, made.indexed, made.revision, made.stream from ${schema}.documents made
      where made.generation = $2 and made.key = any ($3::text[])
        and not exists (
          select from ${schema}.documents stored where stored.generation = $1 and stored.key = made.key and ${same}
        )
    on conflict (generation, key) do update
      set document = excluded.document, indexed = excluded.indexed, revision = excluded.revision, stream = excluded.stream`
}
