/**
 * The statement that reads a page of documents on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as IndexEntry from "../../projection/list/IndexEntry.ts"
import type { DocumentPage, EntryCondition } from "../../projection/ProjectionStoreDriver.ts"

/**
 * A statement with its parameters.
 *
 * @since 0.1.0
 * @category models
 */
export interface Statement {
  readonly text: string
  readonly params: ReadonlyArray<unknown>
}

/** How many documents a page sorts at most; beyond it, documents are read in order. */
const maxSorted = 1000

/** Above every key, which has at most 512 UTF-16 code units. */
const aboveAllKeys = "\u{10ffff}".repeat(257)

const rangesOf = (condition: EntryCondition): ReadonlyArray<IndexEntry.EntryRange> =>
  condition._tag === "Range"
    ? [condition]
    : condition.entries.map((entry) => ({ from: entry, to: IndexEntry.after(entry) }))

/** What a page is ordered by: the entries of a field, or of one value of a field, whose documents are in the order of their keys. */
const orderedBy = (
  { order: { field }, where }: Pick<DocumentPage, "order" | "where">
): { readonly range: IndexEntry.EntryRange | undefined; readonly by: EntryCondition | undefined } => {
  if (field !== undefined) {
    const by = where.find((condition) => condition._tag === "Range" && condition.field === field)
    return { by, range: by === undefined ? IndexEntry.allOf(field) : rangesOf(by)[0] }
  }
  const [only, ...others] = where
  const ranges = only?._tag === "OneOf" && others.length === 0 ? rangesOf(only) : []
  return ranges.length === 1 ? { by: only, range: ranges[0] } : { by: undefined, range: undefined }
}

/** Returns the place after which a page begins, also a first page. */
const placeOf = ({ after, order }: DocumentPage, range: IndexEntry.EntryRange | undefined) => {
  if (after !== undefined) return { entry: after.entry ?? range?.from ?? "", key: after.key }
  if (range !== undefined) return { entry: order.isDescending ? range.to : range.from, key: "" }
  return { entry: "", key: order.isDescending ? aboveAllKeys : "" }
}

/**
 * Returns the statement that reads a page. It reads one row without a document when the page is empty.
 *
 * @since 0.1.0
 * @category constructors
 */
export const read = (schema: string, page: DocumentPage): Statement => {
  const { by, range } = orderedBy(page)
  const place = placeOf(page, range)
  const conditions = page.where.filter((condition) => condition !== by)
  // A condition without a range is satisfied by no document.
  const ranges = conditions.flatMap((condition, index) => {
    const found = rangesOf(condition)
    return (found.length === 0 ? [{ from: "", to: "" }] : found).map((range) => ({ number: index + 1, ...range }))
  })
  const direction = page.order.isDescending ? " desc" : ""
  return {
    // Not inlined, because the generation would then be looked up again for each use.
    text:
      `select target.generation, ${schema}.is_indexed(target.generation, $2::text[]) as is_indexed, checkpoint.position,`
      + ` checkpoint.event_id, page.key, page.document::text as document, page.revision, page.entry`
      + ` from (select ${schema}.active_generation($1) as generation offset 0) as target`
      + ` left join lateral (select position, event_id from ${schema}.checkpoints where generation = target.generation`
      + ` order by position limit 1) as checkpoint on true`
      + ` left join lateral ${schema}.list_documents(target.generation, $3, $4, $5, $6, $7, $8::integer, $9::integer[], $10::text[],`
      + ` $11::text[], $12::integer) as page on true`
      + ` order by page.entry collate "C"${direction}, page.key collate "C"${direction}`,
    params: [
      page.consumer,
      page.indexes.map((name) => IndexEntry.namesOf([name])),
      range?.from ?? null,
      range?.to ?? null,
      page.order.isDescending,
      place.entry,
      place.key,
      page.limit,
      ranges.map(({ number }) => number),
      ranges.map(({ from }) => from),
      ranges.map(({ to }) => to),
      maxSorted
    ]
  }
}
