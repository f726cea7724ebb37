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

// Signed, because engines compute with signed 32-bit integers and would box half of the unsigned ones.
const initial = Int32Array.from(primes(8), (prime) => fractionOf(Math.sqrt(prime)))
const constants = Int32Array.from(primes(64), (prime) => fractionOf(Math.cbrt(prime)))

const utf8 = new TextEncoder()
// One call ends before the next begins, so all of them share this memory. To allocate it took longer than to hash a short text.
const words = new Int32Array(64)
const hash = new Int32Array(8)
const shortMessage = new Uint8Array(4096)

const rotate = (word: number, bits: number): number => (word >>> bits) | (word << (32 - bits))

/**
 * Returns the SHA-256 of a text in UTF-8, 32 bytes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofText = (text: string): Uint8Array => {
  // A code unit takes at most 3 bytes, and the padding at most 72.
  const maxLength = text.length * 3 + 72
  const message = maxLength <= shortMessage.length ? shortMessage : new Uint8Array(maxLength)
  const { written } = utf8.encodeInto(text, message)
  const end = pad(message, written)
  hash.set(initial)
  for (let offset = 0; offset < end; offset += 64) addBlock(message, offset)
  const bytes = new Uint8Array(32)
  for (let i = 0; i < 8; i++) writeWord(bytes, i * 4, hash[i]!)
  return bytes
}

/** Pads a message to whole blocks, and returns where it then ends. */
const pad = (message: Uint8Array, length: number): number => {
  const end = (length + 9 + 63) & ~63
  message.fill(0, length, end)
  message[length] = 0x80
  writeWord(message, end - 8, Math.floor(length / 2 ** 29))
  writeWord(message, end - 4, length << 3)
  return end
}

const writeWord = (bytes: Uint8Array, at: number, word: number): void => {
  bytes[at] = word >>> 24
  bytes[at + 1] = word >>> 16
  bytes[at + 2] = word >>> 8
  bytes[at + 3] = word
}

const readWord = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!

const addBlock = (message: Uint8Array, offset: number): void => {
  for (let i = 0; i < 16; i++) words[i] = readWord(message, offset + i * 4)
  for (let i = 16; i < 64; i++) {
    const early = words[i - 15]!
    const late = words[i - 2]!
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
  hash[0]! += a
  hash[1]! += b
  hash[2]! += c
  hash[3]! += d
  hash[4]! += e
  hash[5]! += f
  hash[6]! += g
  hash[7]! += h
}
