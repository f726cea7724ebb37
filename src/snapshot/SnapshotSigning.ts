/**
 * Signs snapshots by HMAC-SHA-256, so that no state is believed that a program without the key wrote, changed or moved.
 *
 * @since 0.1.0
 */
import * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { type EventStoreError, storeError, StoreMisconfigured } from "../core/errors.ts"
import type { Snapshot, SnapshotDriver } from "./SnapshotDriver.ts"

/** RFC 2104 recommends keys at least as long as the hash. */
const minKeyBytes = 32

/** The version of the form of a signature. */
const prefix = "1."

const utf8 = new TextEncoder()

/**
 * Returns a driver that signs every snapshot it writes, and verifies those it reads. Without keys it returns the driver itself.
 *
 * Each key is at least 32 random bytes in Base64. The first key signs; a signature by any of them is valid. Fails with `StoreMisconfigured` when a
 * key is not valid.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withKeys = Effect.fnUntraced(
  function*(
    driver: SnapshotDriver,
    keys: ReadonlyArray<Redacted.Redacted> | undefined
  ): Effect.fn.Return<SnapshotDriver, EventStoreError, Mac.Mac> {
    if (keys === undefined) return driver
    const mac = yield* Mac.Mac
    const [first, ...others] = yield* Effect.forEach(keys, importKey)
    if (first === undefined) {
      return yield* misconfigured(
        "The option `snapshotKeys` has no key; give it at least one, or leave it out to use unsigned snapshots"
      )
    }
    return {
      ...driver,
      write: (snapshot, drops) =>
        Effect.flatMap(
          Effect.orDie(mac.sign(first, signedText(snapshot))),
          (tag) => driver.write({ ...snapshot, signature: prefix + Base64.encode(tag) }, drops)
        ),
      isAuthentic: Effect.fnUntraced(function*(snapshot) {
        const { signature } = snapshot
        const tag = signature?.startsWith(prefix) === true ? Base64.decode(signature.slice(prefix.length)) : undefined
        if (tag === undefined || Result.isFailure(tag)) return false
        const text = signedText(snapshot)
        for (const key of [first, ...others]) {
          if (yield* Effect.orDie(mac.verify(key, tag.success, text))) return true
        }
        return false
      })
    }
  },
  Effect.provide(Mac.layerWebCrypto.pipe(Layer.provide(SecureRandom.layerWebCrypto)))
)

/**
 * Returns what a signature covers: all that a load relies on. The id of the event binds it to one log, because the load looks for that event
 * in the stream. The time is left out; it decides only when a snapshot is removed.
 */
const signedText = ({ eventId, fingerprint, position, state, stream, version }: Snapshot): Uint8Array =>
  utf8.encode(
    JSON.stringify([
      "evsrc snapshot",
      prefix,
      stream,
      fingerprint,
      version,
      String(position),
      eventId.toLowerCase(),
      state
    ])
  )

const importKey = (key: Redacted.Redacted, index: number): Effect.Effect<Mac.Key, EventStoreError> => {
  const bytes = Base64.decode(Redacted.value(key).trim())
  const length = Result.isSuccess(bytes) ? bytes.success.length : undefined
  return Result.isFailure(bytes) || bytes.success.length < minKeyBytes
    ? misconfigured(
      `Key ${index + 1} of the option \`snapshotKeys\` ${
        length === undefined ? "is not Base64" : `has ${length} bytes`
      }; a `
        + `key has at least ${minKeyBytes} random bytes in Base64, such as the output of \`openssl rand -base64 32\``
    )
    // An HMAC key may have any length.
    : Effect.orDie(Mac.key(Mac.hmacSha256, bytes.success))
}

const misconfigured = (message: string): Effect.Effect<never, EventStoreError> =>
  Effect.fail(storeError(new StoreMisconfigured({ message, cause: undefined })))
