/**
 * Reads `event_tags`, the index by which events are found by tag.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Position from "../core/Position.ts"
import type { EventStoreDriver, TagIndexRow } from "../eventStore/driver/EventStoreDriver.ts"
import type { PgStatement } from "./PgStatement.ts"

const firstTagIndexRow: TagIndexRow = { hash: -(2n ** 63n), position: Position.start }

/**
 * Makes the reader of the index in a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): Pick<EventStoreDriver, "unindexedTags" | "tagIndex"> => {
  // Each row of the index and each tag costs one lookup, whatever the planner estimates, because a scalar subquery is no join.
  const unindexed = `select given.ordinal::integer as ordinal
    from unnest($1::bigint[], $2::text[]) with ordinality as given(position, tag, ordinal)
    where (select true from ${schema}.event_tags tagged
      where tagged.tag_hash = hashtextextended(given.tag, 0) and tagged.position = given.position limit 1) is null
    order by given.ordinal`
  const page = `select tag_hash, position, is_extra from (
      select tagged.tag_hash, tagged.position, lead(tagged.position) over (order by tagged.tag_hash, tagged.position) is null as is_last,
          (select true from ${schema}.log event where event.position = tagged.position
            and tagged.tag_hash in (select hashtextextended(tag, 0) from unnest(event.tags) as tag) limit 1) is null as is_extra
        from (
          select tag_hash, position from ${schema}.event_tags where (tag_hash, position) > ($1::bigint, $2::bigint)
            order by tag_hash, position limit $3
        ) as tagged
    ) as checked where is_extra or is_last order by tag_hash, position`
  return {
    unindexedTags: (tags) =>
      Effect.map(
        query<{ readonly ordinal: number }>(unindexed, [
          tags.map(({ position }) => position),
          tags.map(({ tag }) => tag)
        ]),
        (rows) => rows.map(({ ordinal }) => tags[ordinal - 1]!)
      ),
    tagIndex: ({ after = firstTagIndexRow, limit }) =>
      Effect.map(
        query<{ readonly tag_hash: bigint; readonly position: bigint; readonly is_extra: boolean }>(page, [
          after.hash,
          after.position,
          limit
        ]),
        (rows) => {
          const found = rows.map(({ is_extra, position, tag_hash }) => ({
            row: { hash: tag_hash, position: Position.make(position) },
            isExtra: is_extra
          }))
          return { extra: found.flatMap(({ isExtra, row }) => isExtra ? [row] : []), last: found.at(-1)?.row }
        }
      )
  }
}
