/**
 * The documents of projections on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { EncodedDocument } from "../../consumer/CheckpointDriver.ts"
import type { DocumentsDriver, StoredDocument } from "../../projection/ProjectionStoreDriver.ts"
import type { PgStatement } from "../PgStatement.ts"

/** Separates the indexed entries of a document. JSON escapes it, so no entry contains it. */
const unitSeparator = "\u001f"

/**
 * A row of a document.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentRow {
  readonly key: string
  readonly document: unknown
  readonly revision: bigint
}

/**
 * Returns the document of a row.
 *
 * @since 0.1.0
 * @category accessors
 */
export const documentOf = ({ document, key, revision }: DocumentRow): StoredDocument => ({
  key,
  // The column was written from text that JSON.stringify made.
  document: document as Schema.Json,
  revision
})

/**
 * Makes the documents driver of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): DocumentsDriver => {
  const select = `select key, document, revision from ${schema}.documents`
  const active = `generation = ${schema}.active_generation($1)`
  const documents = (text: string, params: ReadonlyArray<unknown>) =>
    Effect.map(query<DocumentRow>(text, params), (rows) => rows.map(documentOf))

  return {
    load: (generation, keys) =>
      documents(`${select} where generation = $1 and key = any ($2::text[])`, [generation, keys]),
    lock: (generation, keys) =>
      documents(`select key, document, revision from ${schema}.lock_documents($1, $2::text[])`, [generation, keys]),
    write: (writes) =>
      Effect.forEach(
        writes,
        ({ changes, generation }) =>
          query(`select ${schema}.write_documents($1, $2::text[], $3::text[], $4::text[], $5::text[])`, [
            generation,
            ...changeParameters(changes)
          ]),
        { discard: true }
      ),
    get: (consumer, key) =>
      Effect.map(
        documents(`${select} where ${active} and key = $2`, [consumer, key]),
        ([found]) => Option.fromUndefinedOr(found)
      ),
    list: ({ after, limit, consumer, where }) =>
      where.length === 0
        ? documents(`${select} where ${active} and key > $2 order by key limit $3`, [consumer, after ?? "", limit])
        : documents(
          // The last condition lets the planner use the partial index.
          `${select} where ${active} and key > $2 and indexed @> $4::text[] and indexed <> '{}' order by key limit $3`,
          [consumer, after ?? "", limit, where]
        )
  }
}

/**
 * Returns changes as the parameters `p_put_keys`, `p_put_documents`, `p_put_indexed` and `p_removed_keys`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const changeParameters = (changes: ReadonlyArray<EncodedDocument>): ReadonlyArray<unknown> => {
  const put = changes.filter((change) => change.document !== undefined)
  const removed = changes.filter((change) => change.document === undefined)
  return [
    put.map((change) => change.key),
    put.map((change) => change.document),
    put.map((change) => change.indexed.join(unitSeparator)),
    removed.map((change) => change.key)
  ]
}
