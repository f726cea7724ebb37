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
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const [left, right] = [a.charCodeAt(i), b.charCodeAt(i)]
    if (left !== right) return rank(left) - rank(right)
  }
  return a.length - b.length
}

/** A code unit by the code points that it can begin or end: halves of surrogate pairs are above all others. */
const rank = (unit: number): number => unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit
