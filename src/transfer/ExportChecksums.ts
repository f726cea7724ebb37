/**
 * The checksums of an export. Each line ends with a checksum of its text, its line number and all lines before its block, so damage shows at
 * the damaged line. Checksums within a block do not depend on each other, so they are computed concurrently.
 *
 * @since 0.1.0
 */
import * as WebCrypto from "effect/crypto/WebCrypto"
import * as Effect from "effect/Effect"
import * as Hex from "effect/encoding/Hex"

/**
 * The state from which the next line's checksum continues.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChecksumState {
  /** The number of lines so far. */
  readonly line: number
  /** The digest of all checksums before this block, in hexadecimal digits, which goes into each checksum of the block; empty in the first. */
  readonly anchor: string
  /** The checksums of this block so far. */
  readonly sums: ReadonlyArray<string>
}

/**
 * The state before the first line.
 *
 * @since 0.1.0
 * @category constants
 */
export const start: ChecksumState = { line: 0, anchor: "", sums: [] }

/** The number of lines that share an anchor. It is part of the format. */
const blockLines = 512

const encoder = new TextEncoder()

/**
 * Computes the checksums of lines.
 *
 * @since 0.1.0
 * @category models
 */
export interface Checksummer {
  /** Returns the digest of all checksums so far. */
  readonly digest: (checksum: ChecksumState) => Effect.Effect<string>
  /** Returns the checksums of the next lines, and the state after these. */
  readonly sums: (
    checksum: ChecksumState,
    bodies: ReadonlyArray<string>
  ) => Effect.Effect<readonly [sums: ReadonlyArray<string>, after: ChecksumState]>
}

/**
 * Returns a checksummer by SHA-256, of which each line carries the first 64 bits.
 *
 * @since 0.1.0
 * @category constructors
 */
export const checksummer: Effect.Effect<Checksummer> = Effect.map(WebCrypto.WebCrypto, ({ subtle }): Checksummer => {
  // One promise for all, because an effect for each would cost more than the digests themselves.
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
        const part = bodies.slice(from, from + blockLines - sums.length)
        const digests: ReadonlyArray<ArrayBuffer> = yield* sha256(
          part.map((body, index) => `${anchor}\n${line + 1 + index}\n${body}`)
        )
        const made = digests.map((digest) => hexOf(digest, 8))
        for (const sum of made) all.push(sum)
        from += part.length
        line += part.length
        sums = [...sums, ...made]
        if (sums.length === blockLines) {
          anchor = yield* digest({ line, anchor, sums })
          sums = []
        }
      }
      return [all, { line, anchor, sums }] as const
    })
  }
})

/** Returns the first bytes of a digest in hexadecimal digits. */
const hexOf = (digest: ArrayBuffer, bytes: number): string => Hex.encode(new Uint8Array(digest, 0, bytes))

/**
 * Returns the line of a body, which is a JSON object, with the checksum as the last member.
 *
 * @since 0.1.0
 * @category accessors
 */
export const withChecksum = (body: string, sum: string): string => `${body.slice(0, -1)},"sum":"${sum}"}`

const suffix = /,"sum":"([0-9a-f]{16})"\}$/

/**
 * Returns the body and the checksum of a line; undefined if it has none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const splitChecksum = (line: string): { readonly body: string; readonly sum: string } | undefined => {
  const match = suffix.exec(line.slice(-26))
  return match === null ? undefined : { body: `${line.slice(0, -26)}}`, sum: match[1]! }
}
