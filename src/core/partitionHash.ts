/**
 * The keys of events, and the hash by which they are spread over partitions.
 *
 * @since 0.1.0
 */

const utf8 = new TextEncoder()

const rotate = (x: number, bits: number): number => (x << bits) | (x >>> (32 - bits))

/**
 * Returns the partition of a key, counted from 0: the same one that PostgreSQL finds by `hashtextextended(key, 0)`, so that SQL and
 * TypeScript agree. It is the hash of Bob Jenkins (lookup3) on UTF-8.
 *
 * @since 0.1.0
 * @category accessors
 */
export const partitionOf = (key: string, partitions: number): number =>
  partitions === 1 ? 0 : (hashOf(key) & 0x7fffffff) % partitions

/**
 * Returns the low 32 bits of PostgreSQL's `hashtextextended(key, 0)`, signed.
 *
 * @since 0.1.0
 * @category accessors
 */
export const hashOf = (key: string): number => {
  const bytes = utf8.encode(key)
  const word = (at: number): number => {
    let value = 0
    for (let i = 0; i < 4; i++) value |= (bytes[at + i] ?? 0) << (8 * i)
    return value
  }
  let at = 0
  let a = (0x9e3779b9 + bytes.length + 3923095) | 0
  let b = a
  let c = a
  for (; bytes.length - at >= 12; at += 12) {
    a = (a + word(at)) | 0
    b = (b + word(at + 4)) | 0
    c = (c + word(at + 8)) | 0
    a = ((a - c) | 0) ^ rotate(c, 4)
    c = (c + b) | 0
    b = ((b - a) | 0) ^ rotate(a, 6)
    a = (a + c) | 0
    c = ((c - b) | 0) ^ rotate(b, 8)
    b = (b + a) | 0
    a = ((a - c) | 0) ^ rotate(c, 16)
    c = (c + b) | 0
    b = ((b - a) | 0) ^ rotate(a, 19)
    a = (a + c) | 0
    c = ((c - b) | 0) ^ rotate(b, 4)
    b = (b + a) | 0
  }
  // The lowest byte of c is reserved for the length.
  a = (a + word(at)) | 0
  b = (b + word(at + 4)) | 0
  c = (c + (word(at + 8) << 8)) | 0
  c = ((c ^ b) - rotate(b, 14)) | 0
  a = ((a ^ c) - rotate(c, 11)) | 0
  b = ((b ^ a) - rotate(a, 25)) | 0
  c = ((c ^ b) - rotate(b, 16)) | 0
  a = ((a ^ c) - rotate(c, 4)) | 0
  b = ((b ^ a) - rotate(a, 14)) | 0
  return ((c ^ b) - rotate(b, 24)) | 0
}

/**
 * Returns the keys of an event by which partitions are divided: its tags of a name, or the name of its stream.
 *
 * @since 0.1.0
 * @category accessors
 */
export const partitionKeys = (
  { stream, tags }: { readonly stream: string; readonly tags: ReadonlyArray<string> },
  tag: string | undefined
): ReadonlyArray<string> => {
  if (tag === undefined) return [stream]
  const found = tags.filter((one) => one.startsWith(`${tag}:`))
  return found.length === 0 ? [stream] : Array.from(new Set(found))
}

/**
 * Returns whether an event has a key in a partition.
 *
 * @since 0.1.0
 * @category guards
 */
export const isInPartition = (
  event: Parameters<typeof partitionKeys>[0],
  { index, of, tag }: { readonly index: number; readonly of: number; readonly tag?: string | undefined }
): boolean => partitionKeys(event, tag).some((key) => partitionOf(key, of) === index)
