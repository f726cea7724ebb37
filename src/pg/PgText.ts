/**
 * Values as texts in parameters, because all elements of a PostgreSQL array have the same length.
 *
 * @since 0.1.0
 */

/** Separates the elements of `indexed`, none of which contains it. */
const unitSeparator = "\u001f"

/**
 * Returns the indexed entries of a document as a parameter.
 *
 * @since 0.1.0
 * @category accessors
 */
export const indexedText = (indexed: ReadonlyArray<string>): string => indexed.join(unitSeparator)
