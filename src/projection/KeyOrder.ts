/**
 * The order of document keys.
 *
 * @since 0.1.0
 */

/**
 * Compares two keys by code point, as the collation "C" of PostgreSQL does. JavaScript's own order is by UTF-16 code unit.
 *
 * @since 0.1.0
 * @category ordering
 */
export const compare = (a: string, b: string): number => {
  const as = Array.from(a)
  const bs = Array.from(b)
  for (let i = 0; i < as.length && i < bs.length; i++) {
    const difference = as[i]!.codePointAt(0)! - bs[i]!.codePointAt(0)!
    if (difference !== 0) return difference
  }
  return as.length - bs.length
}
