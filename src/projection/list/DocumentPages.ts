/**
 * Pages of documents in memory.
 *
 * @since 0.1.0
 */
import * as KeyOrder from "../KeyOrder.ts"
import type { DocumentPage, EntryCondition, PagePlace } from "../ProjectionStoreDriver.ts"
import * as IndexEntry from "./IndexEntry.ts"

/**
 * A document with its index entries, the first of which names all indexed fields.
 *
 * @since 0.1.0
 * @category models
 */
export interface Indexed {
  readonly key: string
  readonly indexed: ReadonlyArray<string>
}

/**
 * Returns the fields whose indexes a page needs.
 *
 * @since 0.1.0
 * @category accessors
 */
export const fieldsOf = ({ order, where }: Pick<DocumentPage, "order" | "where">): ReadonlyArray<string> =>
  Array.from(new Set([...where.map(({ field }) => field), ...(order.field === undefined ? [] : [order.field])]))

/**
 * Returns whether a document is indexed by all of these fields.
 *
 * @since 0.1.0
 * @category guards
 */
export const isIndexedBy = (fields: ReadonlyArray<string>) => ({ indexed: [names] }: Indexed): boolean =>
  fields.every((field) => IndexEntry.hasName(names, IndexEntry.nameOf(field)))

/**
 * Returns whether a document satisfies all conditions.
 *
 * @since 0.1.0
 * @category guards
 */
export const isMatch = (document: Indexed, where: ReadonlyArray<EntryCondition>): boolean =>
  where.every(satisfies(document))

const satisfies = ({ indexed: [, ...entries] }: Indexed) => (condition: EntryCondition): boolean =>
  entries.some((entry) =>
    condition._tag === "OneOf"
      ? condition.entries.includes(entry)
      : KeyOrder.compare(entry, condition.from) >= 0 && KeyOrder.compare(entry, condition.to) < 0
  )

/**
 * Returns a comparison of two places in the order of a page.
 *
 * @since 0.1.0
 * @category ordering
 */
export const comparison =
  ({ order: { isDescending } }: Pick<DocumentPage, "order">) => (a: PagePlace, b: PagePlace) => {
    const ascending = KeyOrder.compare(a.entry ?? "", b.entry ?? "") || KeyOrder.compare(a.key, b.key)
    return isDescending ? -ascending : ascending
  }

/**
 * Returns the documents of a page, each with the entry that it is ordered by.
 *
 * @since 0.1.0
 * @category accessors
 */
export const pageOf = <A extends Indexed>(
  documents: Iterable<A>,
  page: Pick<DocumentPage, "where" | "order" | "after" | "limit">
): ReadonlyArray<A & { readonly entry: string | undefined }> => {
  const { after, limit, order: { field }, where } = page
  const compare = comparison(page)
  const prefix = field === undefined ? undefined : IndexEntry.allOf(field).from
  return Array.from(documents)
    .filter((document) => isMatch(document, where))
    .map((document) => ({
      ...document,
      entry: prefix === undefined ? undefined : document.indexed.find((entry) => entry.startsWith(prefix))
    }))
    .filter((place) =>
      (prefix === undefined || place.entry !== undefined) && (after === undefined || compare(place, after) > 0)
    )
    .toSorted(compare)
    .slice(0, limit)
}
