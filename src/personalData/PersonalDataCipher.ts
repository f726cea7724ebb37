/**
 * Encrypts and decrypts one value of personal data, by AES-256-GCM under the key of its subject.
 *
 * @since 0.1.0
 */
import * as Aead from "effect/crypto/Aead"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { type EventStoreError, storeError, StoreFailure } from "../core/errors.ts"
import * as JsonText from "../core/json/JsonText.ts"
import { parseJson } from "../core/json/parseJson.ts"
import * as EncryptedValue from "./EncryptedValue.ts"

const nonceLength = Aead.aes256Gcm.nonceLength

/** The version of the form that `EncryptedValue.EncryptedMarker` documents. */
const prefix = "1."

const utf8 = new TextEncoder()

/**
 * Encrypts and decrypts values.
 *
 * @since 0.1.0
 * @category models
 */
export interface PersonalDataCipher {
  /** Returns a new random key, as bytes. */
  readonly newKey: Effect.Effect<Uint8Array>
  /** Returns the marker of an encrypted value. The subject's name is authenticated with it. */
  readonly encrypt: (subject: string, value: Schema.Json, key: Aead.Key) => Effect.Effect<Schema.JsonObject>
  /** Returns the value of a marker, or a message that says why it cannot be decrypted. */
  readonly decrypt: (
    marker: EncryptedValue.EncryptedMarker,
    key: Aead.Key
  ) => Effect.Effect<Result.Result<Schema.Json, string>>
}

/**
 * Makes a cipher from the cryptography of the context.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<PersonalDataCipher, never, Aead.Aead | SecureRandom.SecureRandom> = Effect.gen(
  function*() {
    const aead = yield* Aead.Aead
    const random = yield* SecureRandom.SecureRandom
    return {
      newKey: Effect.orDie(random.randomBytes(Aead.aes256Gcm.keyLength)),
      // The arguments are our own, so a failure of the cryptography is a defect.
      encrypt: Effect.fnUntraced(function*(subject, value, key) {
        const nonce = yield* random.randomBytes(nonceLength)
        const ciphertext = yield* aead.encrypt(key, utf8.encode(JsonText.make(value)), {
          nonce,
          aad: utf8.encode(subject)
        })
        const bytes = new Uint8Array(nonceLength + ciphertext.length)
        bytes.set(nonce)
        bytes.set(ciphertext, nonceLength)
        return EncryptedValue.encrypted(subject, prefix + Base64.encode(bytes))
      }, Effect.orDie),
      decrypt: ({ subject, "~encrypted": text }, key) => {
        const bytes = text.startsWith(prefix) ? Base64.decode(text.slice(prefix.length)) : undefined
        if (bytes === undefined || Result.isFailure(bytes) || bytes.success.length < nonceLength) {
          return Effect.succeed(
            Result.fail("it is in a form that this program does not know; deploy a newer release")
          )
        }
        const nonce = bytes.success.subarray(0, nonceLength)
        return Effect.match(
          aead.decrypt(key, bytes.success.subarray(nonceLength), { nonce, aad: utf8.encode(subject) }),
          {
            onFailure: () => Result.fail(`it was changed, or encrypted under another key of the subject "${subject}"`),
            // `encrypt` made it, and it is authentic.
            onSuccess: (plain) => Result.succeed(parseJson(new TextDecoder().decode(plain)))
          }
        )
      }
    }
  }
)

/**
 * Imports the bytes of a key.
 *
 * @since 0.1.0
 * @category constructors
 */
export const importKey = (subject: string, bytes: Uint8Array): Effect.Effect<Aead.Key, EventStoreError> =>
  Effect.mapError(Aead.key(Aead.aes256Gcm, bytes), (cause) =>
    storeError(
      new StoreFailure({
        message:
          `The key store returned ${bytes.length} bytes as the key of the subject "${subject}"; a key has 32. Repair the `
          + `key store`,
        cause
      })
    ))
