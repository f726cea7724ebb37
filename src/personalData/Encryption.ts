/**
 * What the stores share in encrypting personal data.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import { type EventStoreError, invalidRequest, storeError, StoreMisconfigured } from "../core/errors.ts"
import * as EncryptedValue from "./EncryptedValue.ts"
import { KeyStore, validateField } from "./KeyStore.ts"
import type * as PersonalFields from "./PersonalFields.ts"

/**
 * What a store does with a key store.
 *
 * @since 0.1.0
 * @category models
 */
export type Keys = Pick<KeyStore["Service"], "encrypt" | "decrypt" | "erasures">

/**
 * The key store that a store was built with. Without one, whatever has personal data fails: it is never kept in plaintext.
 *
 * @since 0.1.0
 * @category constructors
 */
export const keyStore: Effect.Effect<Keys> = Effect.map(
  Effect.serviceOption(KeyStore),
  Option.getOrElse(() => {
    const missing = Effect.fail(storeError(
      new StoreMisconfigured({
        message:
          "These events or documents have personal data, and the store was built without a KeyStore; provide one "
          + "to its layer, as PgKeyStore.layer or KeyStore.layerMemory",
        cause: undefined
      })
    ))
    return { encrypt: () => missing, decrypt: () => missing, erasures: missing }
  })
)

/** Fields with personal data, each with its parent object. */
export type Fields = ReadonlyArray<PersonalFields.LocatedField>

/**
 * The subjects of fields, each once.
 *
 * @since 0.1.0
 * @category accessors
 */
export const subjectsOf = (fields: ReadonlyArray<PersonalFields.LocatedField>): Schema.Json =>
  // Each is a string, or it could not have been encrypted.
  Array.from(new Set(fields.map(({ subject }) => subject as string)))

/**
 * Rejects a text that already has the marker of encrypted data.
 *
 * @since 0.1.0
 * @category guards
 */
export const rejectEncrypted = (what: string, text: string): Effect.Effect<void, EventStoreError> =>
  EncryptedValue.looksEncrypted(text)
    ? invalidRequest(`${what}: a field named "~encrypted" is what encrypted data is told by`)
    : Effect.void

/**
 * Rejects fields whose subject cannot have a key, and says whose they are.
 *
 * @since 0.1.0
 * @category guards
 */
export const rejectSubjects = (what: string, fields: Fields): Effect.Effect<void, EventStoreError> => {
  const wrong = fields.map(validateField).find((problem) => problem !== undefined)
  return wrong === undefined ? Effect.void : invalidRequest(`${what}: ${wrong}`)
}

/**
 * Parses a text that `JSON.stringify` made.
 *
 * @since 0.1.0
 * @category constructors
 */
export const parse = (text: string): Schema.Json => JSON.parse(text) as Schema.Json
