/**
 * SHA-256 without a promise. The web's `crypto.subtle` answers asynchronously, which would let appends of one fiber overtake each other.
 *
 * @since 0.1.0
 */
const primes = (count: number): ReadonlyArray<number> => {
  const found: Array<number> = []
  for (let candidate = 2; found.length < count; candidate++) {
    if (found.every((prime) => candidate % prime !== 0)) found.push(candidate)
  }
  return found
}

/** Returns the first 32 bits of the fraction of a root. */
const fractionOf = (root: number): number => ((root - Math.floor(root)) * 2 ** 32) >>> 0

const initial = Uint32Array.from(primes(8), (prime) => fractionOf(Math.sqrt(prime)))
const constants = Uint32Array.from(primes(64), (prime) => fractionOf(Math.cbrt(prime)))

const utf8 = new TextEncoder()
// One call ends before the next begins, so all of them share this memory.
const words = new Uint32Array(64)

const rotate = (word: number, bits: number): number => (word >>> bits) | (word << (32 - bits))

/**
 * Returns the SHA-256 of a text in UTF-8, 32 bytes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofText = (text: string): Uint8Array => {
  const message = utf8.encode(text)
  const padded = new Uint8Array((message.length + 9 + 63) & ~63)
  padded.set(message)
  padded[message.length] = 0x80
  const view = new DataView(padded.buffer)
  view.setUint32(padded.length - 8, Math.floor(message.length / 2 ** 29))
  view.setUint32(padded.length - 4, message.length << 3)
  const hash = initial.slice()
  for (let offset = 0; offset < padded.length; offset += 64) addBlock(hash, view, offset)
  const bytes = new Uint8Array(32)
  const result = new DataView(bytes.buffer)
  hash.forEach((word, index) => result.setUint32(index * 4, word))
  return bytes
}

const addBlock = (hash: Uint32Array, view: DataView, offset: number): void => {
  for (let i = 0; i < 16; i++) words[i] = view.getUint32(offset + i * 4)
  for (let i = 16; i < 64; i++) {
    const [early, late] = [words[i - 15]!, words[i - 2]!]
    words[i] = (rotate(late, 17) ^ rotate(late, 19) ^ (late >>> 10)) + words[i - 7]!
      + (rotate(early, 7) ^ rotate(early, 18) ^ (early >>> 3)) + words[i - 16]!
  }
  let a = hash[0]!, b = hash[1]!, c = hash[2]!, d = hash[3]!, e = hash[4]!, f = hash[5]!, g = hash[6]!, h = hash[7]!
  for (let i = 0; i < 64; i++) {
    const first =
      (h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + constants[i]! + words[i]!)
      | 0
    const second = ((rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0
    h = g
    g = f
    f = e
    e = (d + first) | 0
    d = c
    c = b
    b = a
    a = (first + second) | 0
  }
  const added = [a, b, c, d, e, f, g, h]
  for (let i = 0; i < 8; i++) hash[i] = hash[i]! + added[i]!
}
