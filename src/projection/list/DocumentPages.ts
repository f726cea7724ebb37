/**
 * Pages of documents in memory.
 *
 * @since 0.1.0
 */
import * as KeyOrder from "../KeyOrder.ts"
import type { DocumentPage, EntryCondition, PagePlace } from "../ProjectionStoreDriver.ts"
import type { IndexedField } from "./IndexedFields.ts"
import * as IndexEntry from "./IndexEntry.ts"

/**
 * A document with its index entries, the first of which names all its indexes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Indexed {
  readonly key: string
  readonly indexed: ReadonlyArray<string>
}

/**
 * Returns the fields whose indexes a page uses.
 *
 * @since 0.1.0
 * @category accessors
 */
export const fieldsOf = ({ order, where }: Pick<DocumentPage, "order" | "where">): ReadonlyArray<string> =>
  Array.from(new Set([...where.map(({ field }) => field), ...(order.field === undefined ? [] : [order.field])]))

/**
 * Returns the names of the indexes that a page uses, of those of a projection.
 *
 * @since 0.1.0
 * @category accessors
 */
export const indexesOf = (
  fields: ReadonlyArray<IndexedField>,
  page: Pick<DocumentPage, "order" | "where">
): ReadonlyArray<string> => {
  const used = fieldsOf(page)
  return fields.flatMap(({ field, index }) => used.includes(field) ? [index] : [])
}

/**
 * Returns whether a document has all of these indexes.
 *
 * @since 0.1.0
 * @category guards
 */
export const isIndexedBy = (indexes: ReadonlyArray<string>) => ({ indexed: [names] }: Indexed): boolean =>
  indexes.every((name) => IndexEntry.hasName(names, name))

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
