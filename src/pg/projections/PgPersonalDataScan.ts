/**
 * Returns all text that projections and consumers store, on PostgreSQL, for the search of an erasure.
 *
 * @since 0.1.0
 */
import type { PersonalDataScanDriver, StoredText, StoredTextSource } from "../../projection/ProjectionStoreDriver.ts"
import type { PgStatement } from "../PgStatement.ts"

/**
 * Makes the scan driver of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): PersonalDataScanDriver => {
  const statements: Record<StoredTextSource, string> = {
    documents: `select generation, key, key as cursor, document::text as text from ${schema}.documents
      where (generation, key) > ($1, $2) order by generation, key limit $3`,
    // In the order of an index, because very many keys may be parked. The partition is last: a key may move to another one between two pages.
    parked:
      `select generation, key, partition || ' ' || key as cursor, concat_ws(' ', error, requested_by, request_reason) as text
      from ${schema}.parked
      where (generation, key) >= ($1, substr($2, strpos($2, ' ') + 1))
        and (generation, key, partition) > ($1, substr($2, strpos($2, ' ') + 1), coalesce(nullif(split_part($2, ' ', 1), '')::integer, -1))
      order by generation, key, partition limit $3`,
    // In the order of ids: a generation may have many entries.
    parkingLog:
      `select generation, key, id::text as cursor, concat_ws(' ', detail, actor) as text from ${schema}.parking_log
      where $1::text is not null and id > case $2::text when '' then 0 else $2::bigint end order by id limit $3`
  }
  return {
    storedTexts: ({ after, in: source, limit }) =>
      query<StoredText>(statements[source], [after?.generation ?? "", after?.cursor ?? "", limit])
  }
}
