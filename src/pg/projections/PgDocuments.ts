/**
 * The documents of projections on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { EncodedDocument } from "../../consumer/CheckpointDriver.ts"
import { parseJson } from "../../core/json/parseJson.ts"
import * as LogPosition from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import * as IndexEntry from "../../projection/list/IndexEntry.ts"
import type { DocumentsDriver, FoundDocument, StoredDocument } from "../../projection/ProjectionStoreDriver.ts"
import { nullable } from "../append/AppendParameters.ts"
import type { PgStatement } from "../PgStatement.ts"
import { indexedText } from "../PgText.ts"
import * as PgDocumentPages from "./PgDocumentPages.ts"
import * as PgReached from "./PgReached.ts"

const unitSeparatorEscape = "\\x1f"

/**
 * A row of a document.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentRow {
  readonly key: string
  /** As text, because the SQL client parses JSON with `JSON.parse`. */
  readonly document: string
  readonly revision: bigint
  readonly stream?: string | null
}

/**
 * Returns the document of a row.
 *
 * @since 0.1.0
 * @category accessors
 */
export const documentOf = ({ document, key, revision, stream }: DocumentRow): StoredDocument => ({
  key,
  document: parseJson(document),
  revision,
  ...stream === undefined || stream === null ? {} : { stream }
})

/**
 * Makes the documents driver of a schema, given by its quoted name, without `loadAll`, which `DocumentReads` makes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): Omit<DocumentsDriver, "loadAll"> => {
  const documents = (text: string, params: ReadonlyArray<unknown>) =>
    Effect.map(query<DocumentRow>(text, params), (rows) => rows.map(documentOf))

  return {
    load: (generation, keys) =>
      documents(
        `select key, document::text as document, revision, stream from ${schema}.documents where generation = $1 and key = any ($2::text[])`,
        [generation, keys]
      ),
    toStored: Effect.succeed,
    write: (writes) => {
      const changes = writes.flatMap(({ changes, generation }) => changes.map((change) => ({ ...change, generation })))
      return changes.length === 0 ? Effect.void : Effect.asVoid(
        query(`select ${schema}.write_documents_of($1::text[], $2::text[], $3::text[], $4::text[])`, [
          changes.map(({ generation }) => generation),
          changes.map(({ key }) => key),
          nullable(changes.map(({ document }) => document ?? null)),
          changes.map(({ indexed }) => indexedText(indexed))
        ])
      )
    },
    get: (consumer, key, after) => {
      const document = `select active.generation, document.key, document.document::text as document, document.revision`
      const found = `from (select ${schema}.active_generation($1) as generation offset 0) as active
              left join ${schema}.documents document on document.generation = active.generation and document.key = $2`
      return after === undefined
        ? Effect.map(query<GenerationRow>(`${document} ${found}`, [consumer, key]), foundOf)
        : Effect.map(
          query<GenerationRow & PgReached.ReachedRow>(
            `${document}, reached.*, lost.* ${found} cross join ${PgReached.after(schema, 3)}`,
            [consumer, key, ...PgReached.parametersOf(after)]
          ),
          (rows) => ({ ...foundOf(rows), reached: PgReached.reachedOf(rows[0]!) })
        )
    },
    list: listWith(query, schema),
    unindexed: (consumer, indexes, limit) =>
      Effect.map(
        query<GenerationRow>(unindexed(schema), [
          consumer,
          indexes.map((name) => IndexEntry.namesOf([name])),
          limit
        ]),
        (rows) => ({ generation: rows[0]!.generation, documents: rows.filter(isDocumentRow).map(documentOf) })
      ),
    reindex: (generation, documents) =>
      Effect.asVoid(query(reindex(schema), [
        generation,
        documents.map(({ key }) => key),
        documents.map(({ revision }) => revision),
        documents.map(({ indexed }) => indexedText(indexed))
      ]))
  }
}

const foundOf = (rows: ReadonlyArray<GenerationRow>): FoundDocument => ({
  generation: rows[0]!.generation,
  document: Option.fromUndefinedOr(rows.filter(isDocumentRow).map(documentOf)[0])
})

const listWith = (query: PgStatement, schema: string): DocumentsDriver["list"] => (page) =>
  Effect.gen(function*() {
    const { params, text } = PgDocumentPages.read(schema, page)
    const rows = yield* query<PageRow>(text, params)
    const { event_id, generation, is_indexed, position } = rows[0]!
    return {
      generation,
      isIndexed: is_indexed,
      position: position === null
        ? LogPosition.start
        : LogPosition.make(Position.make(position), event_id ?? undefined),
      documents: rows.filter(isDocumentRow).map((row) => ({
        ...documentOf(row),
        entry: page.order.field === undefined ? undefined : row.entry ?? undefined
      }))
    }
  })

/** The row of a document, or without one where there is none. */
type MaybeDocumentRow = DocumentRow | { readonly key: null; readonly document: null; readonly revision: null }

type PageRow = MaybeDocumentRow & {
  readonly generation: string
  readonly is_indexed: boolean
  readonly position: bigint | null
  readonly event_id: string | null
  readonly entry: string | null
}

type GenerationRow = MaybeDocumentRow & { readonly generation: string }

const isDocumentRow = <Row extends MaybeDocumentRow>(row: Row): row is Row & DocumentRow => row.key !== null

const unindexed = (schema: string): string =>
  `select target.generation, page.key, page.document::text as document, page.revision
    from (select ${schema}.active_generation($1) as generation offset 0) as target left join lateral (
      select document.key, document.document, document.revision
        from ${schema}.indexed_names(target.generation) as found(names) cross join lateral (
          select stored.key, stored.document, stored.revision from ${schema}.documents stored
            where stored.generation = target.generation and coalesce(stored.indexed[1], '') = found.names limit $3::integer
        ) as document
        where exists (select from unnest($2::text[]) as needed(name) where position(needed.name in found.names) = 0)
        limit $3::integer
    ) as page on true`

/** Locks the documents in the order in which batches are written. */
const reindex = (schema: string): string =>
  `with locked as materialized (
      select key from ${schema}.documents where generation = $1 and key = any ($2::text[]) order by key for update
    )
    update ${schema}.documents document set indexed = coalesce(string_to_array(nullif(put.indexed, ''), E'${unitSeparatorEscape}'), '{}')
      from unnest($2::text[], $3::bigint[], $4::text[]) as put(key, revision, indexed) join locked on locked.key = put.key
      where document.generation = $1 and document.key = put.key and document.revision = put.revision`

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
    put.map((change) => indexedText(change.indexed)),
    removed.map((change) => change.key)
  ]
}
