/**
 * All that projections and followers keep, on PostgreSQL, for those who look for something in it.
 *
 * @since 0.1.0
 */
import type { KeptDriver, KeptIn, KeptText } from "../store/ProjectionStoreDriver.ts"
import type { PgQuery } from "./PgQuery.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgQuery, schema: string): KeptDriver => {
  const statements: Record<KeptIn, string> = {
    documents: `select projection as target, key, key as cursor, document::text as text from ${schema}.documents
      where (projection, key) > ($1, $2) order by projection, key limit $3`,
    parked: `select target, stream as key, stream as cursor, concat_ws(' ', error, requested_by, request_reason) as text
      from ${schema}.parked where (target, stream) > ($1, $2) order by target, stream limit $3`,
    // By number, and not by target: there it is long.
    parkingLog:
      `select target, stream as key, id::text as cursor, concat_ws(' ', detail, actor) as text from ${schema}.parking_log
      where $1::text is not null and id > case $2::text when '' then 0 else $2::bigint end order by id limit $3`
  }
  return {
    kept: ({ after, in: place, limit }) =>
      query<KeptText>(statements[place], [after?.target ?? "", after?.cursor ?? "", limit])
  }
}
