/**
 * The checksums of an export. Each line ends with one, of its text, its number and all that came before its block of lines; so whatever
 * happens to a line shows at that very line. Within a block they do not depend on each other, so that they are made at the same time.
 *
 * @since 0.1.0
 */
import * as WebCrypto from "effect/crypto/WebCrypto"
import * as Effect from "effect/Effect"
import * as Hex from "effect/encoding/Hex"

/**
 * - `line`: how many lines came before
 * - `anchor`: what the lines of this block begin with: the digest of all checksums before it, in hexadecimal digits; empty in the first
 * - `sums`: the checksums of this block so far
 *
 * @since 0.1.0
 * @category models
 */
export interface ChecksumState {
  readonly line: number
  readonly anchor: string
  readonly sums: ReadonlyArray<string>
}

/**
 * Before the first line.
 *
 * @since 0.1.0
 * @category constants
 */
export const start: ChecksumState = { line: 0, anchor: "", sums: [] }

/** Part of the format: how many lines have an anchor in common. */
const block = 512

const encoder = new TextEncoder()

/**
 * - `digest`: of all checksums so far
 * - `sums`: the checksums of the next lines, given without them, and the seal after these
 *
 * @since 0.1.0
 * @category models
 */
export interface Checksummer {
  readonly digest: (checksum: ChecksumState) => Effect.Effect<string>
  readonly sums: (
    checksum: ChecksumState,
    bodies: ReadonlyArray<string>
  ) => Effect.Effect<readonly [sums: ReadonlyArray<string>, after: ChecksumState]>
}

/**
 * SHA-256, of which a line carries the first 64 bits.
 *
 * @since 0.1.0
 * @category constructors
 */
export const checksummer: Effect.Effect<Checksummer> = Effect.map(WebCrypto.WebCrypto, ({ subtle }): Checksummer => {
  // All at once and not an effect each, which would take longer than the digests.
  const sha256 = (texts: ReadonlyArray<string>) =>
    Effect.promise(() => Promise.all(texts.map((text) => subtle.digest("SHA-256", encoder.encode(text)))))
  const digest: Checksummer["digest"] = ({ anchor, sums }) =>
    Effect.map(sha256([`${anchor}\n${sums.join("")}`]), ([digest]) => hexOf(digest!, 32))
  return {
    digest,
    sums: Effect.fnUntraced(function*(checksum, bodies) {
      const all: Array<string> = []
      let { anchor, line, sums } = checksum
      for (let from = 0; from < bodies.length;) {
        const part = bodies.slice(from, from + block - sums.length)
        const digests: ReadonlyArray<ArrayBuffer> = yield* sha256(
          part.map((body, index) => `${anchor}\n${line + 1 + index}\n${body}`)
        )
        const made = digests.map((digest) => hexOf(digest, 8))
        for (const sum of made) all.push(sum)
        from += part.length
        line += part.length
        sums = [...sums, ...made]
        if (sums.length === block) {
          anchor = yield* digest({ line, anchor, sums })
          sums = []
        }
      }
      return [all, { line, anchor, sums }] as const
    })
  }
})

/** The first bytes of a digest in hexadecimal digits. */
const hexOf = (digest: ArrayBuffer, bytes: number): string => Hex.encode(new Uint8Array(digest, 0, bytes))

/**
 * The line of a body, which is a JSON object, with its checksum as the last member.
 *
 * @since 0.1.0
 * @category lines
 */
export const withChecksum = (body: string, sum: string): string => `${body.slice(0, -1)},"sum":"${sum}"}`

const suffix = /,"sum":"([0-9a-f]{16})"\}$/

/**
 * The body and the checksum of a line, or undefined when it has none.
 *
 * @since 0.1.0
 * @category lines
 */
export const splitChecksum = (line: string): { readonly body: string; readonly sum: string } | undefined => {
  const match = suffix.exec(line.slice(-26))
  return match === null ? undefined : { body: `${line.slice(0, -26)}}`, sum: match[1]! }
}
