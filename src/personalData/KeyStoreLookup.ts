/**
 * What the event store and the projection store share in encrypting personal data.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type EventStoreError, storeError, StoreMisconfigured } from "../core/errors.ts"
import * as DecryptedValues from "./DecryptedValues.ts"
import * as EncryptedValue from "./EncryptedValue.ts"
import { KeyStore } from "./KeyStore.ts"
import type * as PersonalFields from "./PersonalFields.ts"
import * as SubjectName from "./SubjectName.ts"

/**
 * What a store needs of a key store.
 *
 * @since 0.1.0
 * @category models
 */
export type Keys = Pick<KeyStore["Service"], "encrypt" | "decrypt" | "erased" | "lastErasure">

/** Tells the handler that is running what it reads. */
const recording = ({ decrypt, encrypt, erased, lastErasure }: Keys): Keys => ({
  encrypt,
  erased,
  lastErasure,
  decrypt: (encoded) => Effect.tap(decrypt(encoded), (decrypted) => DecryptedValues.add(encoded, decrypted))
})

/**
 * Returns the key store of the context. Without one, every use of personal data fails: no store keeps it in plaintext.
 *
 * @since 0.1.0
 * @category constructors
 */
export const keyStore: Effect.Effect<Keys> = Effect.map(
  Effect.serviceOption(KeyStore),
  Option.match({
    onSome: recording,
    onNone: () => {
      const missing = Effect.fail(storeError(
        new StoreMisconfigured({
          message:
            "These events, documents or payloads of commands have personal data, and the store was built without a KeyStore; provide one "
            + "to its layer, such as PgKeyStore.layer or KeyStore.layerMemory",
          cause: undefined
        })
      ))
      return { encrypt: () => missing, decrypt: () => missing, erased: () => missing, lastErasure: missing }
    }
  })
)

/**
 * Reads, and reads again if a subject was erased during the read: the first pages may have its data. `read` gets the id of the last erasure before it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const readUpToDate = <A, E, R>(
  keys: Pick<Keys, "lastErasure">,
  read: (lastErasure: string) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | EventStoreError, R> =>
  Effect.flatMap(keys.lastErasure, (lastErasure) =>
    Effect.flatMap(read(lastErasure), (found) =>
      Effect.flatMap(
        keys.lastErasure,
        (now) => now === lastErasure ? Effect.succeed(found) : readUpToDate(keys, read)
      )))

/** Personal fields, each with its parent object. */
export type Fields = ReadonlyArray<PersonalFields.LocatedField>

/**
 * Returns the subjects of fields, each once.
 *
 * @since 0.1.0
 * @category accessors
 */
export const subjectsOf = (fields: Fields): ReadonlyArray<string> =>
  // Each is a string, or encryption had failed.
  Array.from(new Set(fields.map(({ subject }) => subject as string)))

/**
 * Returns why the personal fields of JSON text cannot be encrypted, or `undefined`: the text contains the marker of encrypted data, or a subject
 * cannot have a key.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = (text: string, fields: Fields): string | undefined =>
  validateUnencrypted(text) ?? fields.map(SubjectName.validateField).find((message) => message !== undefined)

/**
 * Returns what is wrong with JSON text that contains the marker of encrypted data, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateUnencrypted = (text: string): string | undefined =>
  EncryptedValue.looksEncrypted(text)
    ? `a field must not be named "~encrypted", which marks encrypted data; rename it`
    : undefined
