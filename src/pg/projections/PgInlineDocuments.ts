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
  replaceDocuments: Effect.fnUntraced(function*(generation, by, pageSize) {
    let from: string | null = ""
    while (from !== null) {
      const rows: ReadonlyArray<NextRow> = yield* query<NextRow>(statementIn(schema), [
        generation,
        by,
        from,
        pageSize
      ])
      from = rows[0]?.next ?? null
    }
  })
})

interface NextRow {
  readonly next: string | null
}

/**
 * Replaces the documents of a page of keys, and returns where the next page begins; null after the last one. It leaves documents that are the same:
 * a repair changes few of many.
 */
const statementIn = (schema: string): string => {
  const same = "stored.document::text = made.document::text and stored.indexed = made.indexed "
    + "and stored.stream is not distinct from made.stream"
  const keysOf = (parameter: string) =>
    `(select key from ${schema}.documents where generation = ${parameter} and key >= $3 order by key limit $4)`
  return `with page as (
    select max(key) as last from (
      select key from (${keysOf("$1")} union ${keysOf("$2")}) as keys order by key limit $4
    ) as first
  ), removed as (
    delete from ${schema}.documents stored
      where stored.generation = $1 and stored.key >= $3 and stored.key <= (select last from page)
        and not exists (select from ${schema}.documents made where made.generation = $2 and made.key = stored.key)
  ), written as (
    insert into ${schema}.documents as stored (generation, key, document, indexed, revision, stream)
      select $1, made.key, made.document, made.indexed, made.revision, made.stream from ${schema}.documents made
        where made.generation = $2 and made.key >= $3 and made.key <= (select last from page)
          and not exists (
            select from ${schema}.documents stored where stored.generation = $1 and stored.key = made.key and ${same}
          )
      on conflict (generation, key) do update
        set document = excluded.document, indexed = excluded.indexed, revision = excluded.revision, stream = excluded.stream
  )
  select last || chr(1) as next from page`
}
