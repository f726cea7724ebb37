/**
 * All that projections and consumers keep, on PostgreSQL, for those who look for something in it.
 *
 * @since 0.1.0
 */
import type { PersonalDataScanDriver, StoredText, StoredTextSource } from "../projection/ProjectionStoreDriver.ts"
import type { PgStatement } from "./PgStatement.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): PersonalDataScanDriver => {
  const statements: Record<StoredTextSource, string> = {
    documents: `select generation, key, key as cursor, document::text as text from ${schema}.documents
      where (generation, key) > ($1, $2) order by generation, key limit $3`,
    parked:
      `select generation, stream as key, stream as cursor, concat_ws(' ', error, requested_by, request_reason) as text
      from ${schema}.parked where (generation, stream) > ($1, $2) order by generation, stream limit $3`,
    // By number, and not by generation: there it is long.
    parkingLog:
      `select generation, stream as key, id::text as cursor, concat_ws(' ', detail, actor) as text from ${schema}.parking_log
      where $1::text is not null and id > case $2::text when '' then 0 else $2::bigint end order by id limit $3`
  }
  return {
    storedTexts: ({ after, in: place, limit }) =>
      query<StoredText>(statements[place], [after?.generation ?? "", after?.cursor ?? "", limit])
  }
}
