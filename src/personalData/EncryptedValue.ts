/**
 * Personal data as stores keep it, encrypted within JSON: how it is told from all else, and how its words are kept out of messages.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import type * as Schema from "effect/Schema"
import { isErased } from "./PersonalData.ts"

/**
 * Whether a value is a JSON object.
 *
 * @since 0.1.0
 * @category guards
 */
export const isParentObject = (value: unknown): value is Record<string, Schema.Json> =>
  Predicate.isObject(value) && !Array.isArray(value)

const encryptedKey = "~encrypted"

/**
 * Personal data as a store keeps it: `text` is `1.` and, in base 64, 12 bytes of nonce, the ciphertext of the value's JSON in UTF-8 and 16
 * bytes of tag, by AES-256-GCM under the key of the subject, whose name is authenticated with it.
 *
 * @since 0.1.0
 * @category models
 */
export interface EncryptedMarker {
  readonly "~encrypted": string
  readonly subject: string
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isEncrypted = (value: unknown): value is EncryptedMarker =>
  Predicate.isObject(value) && typeof Reflect.get(value, encryptedKey) === "string"
  && typeof Reflect.get(value, "subject") === "string"

/**
 * @since 0.1.0
 * @category constructors
 */
export const encrypted = (subject: string, text: string): Schema.JsonObject => ({ [encryptedKey]: text, subject })

/**
 * Whether JSON text, as `JSON.stringify` writes it, has what could be taken for encrypted data.
 *
 * @since 0.1.0
 * @category guards
 */
export const looksEncrypted = (json: string): boolean => json.includes(`"${encryptedKey}":`)

/**
 * A copy of encoded data, and where in it encrypted data stands: `holder[field]`.
 *
 * @since 0.1.0
 * @category copying
 */
export const copyEncrypted = (
  encoded: Schema.Json,
  found: Array<
    { readonly parent: Record<string, Schema.Json>; readonly field: string; readonly encrypted: EncryptedMarker }
  >
): Schema.Json => {
  if (Array.isArray(encoded)) return encoded.map((element) => copyEncrypted(element, found))
  if (!isParentObject(encoded)) return encoded
  const parent: Record<string, Schema.Json> = {}
  for (const [field, value] of Object.entries(encoded)) {
    // Not by assignment: `__proto__` is a name like any other in JSON.
    const copy = isEncrypted(value) ? value : copyEncrypted(value, found)
    Object.defineProperty(parent, field, { value: copy, enumerable: true, writable: true, configurable: true })
    if (isEncrypted(value)) found.push({ parent, field, encrypted: value })
  }
  return parent
}

/**
 * The subjects of what is encrypted in encoded data.
 *
 * @since 0.1.0
 * @category getters
 */
export const subjectsIn = (encoded: Schema.Json): ReadonlySet<string> => {
  const found: Parameters<typeof copyEncrypted>[1] = []
  copyEncrypted(encoded, found)
  return new Set(found.map(({ encrypted }) => encrypted.subject))
}

/**
 * What is encrypted in `stored` and stands in plaintext in `opened`, each value by itself.
 *
 * @since 0.1.0
 * @category messages
 */
export const secretsOf = (stored: unknown, decrypted: unknown): ReadonlyArray<unknown> => {
  if (isEncrypted(stored)) return isErased(decrypted) ? [] : leavesOf(decrypted)
  if (!Predicate.isObjectOrArray(stored) || !Predicate.isObjectOrArray(decrypted)) return []
  return Object.entries(stored).flatMap(([field, value]) => secretsOf(value, Reflect.get(decrypted, field)))
}

/**
 * The values of a JSON value that are neither object nor array.
 *
 * @since 0.1.0
 * @category messages
 */
export const leavesOf = (value: unknown): ReadonlyArray<unknown> =>
  Predicate.isObjectOrArray(value) ? Object.values(value).flatMap(leavesOf) : [value]

/**
 * A text in which personal data is replaced by `[personal data]`, wherever it stands as it is or as JSON writes it: what went wrong with an
 * event is kept and logged, and must not tell what the event has encrypted.
 *
 * @since 0.1.0
 * @category messages
 */
export const scrub = (text: string, secrets: ReadonlyArray<unknown>): string => {
  const forms = new Set<string>()
  for (const secret of secrets) {
    if (secret === null || secret === undefined || secret === "" || typeof secret === "boolean") continue
    const plain = String(secret)
    forms.add(plain)
    forms.add(JSON.stringify(plain).slice(1, -1))
  }
  // The longest first: one may contain another. A short one is told from a part of another word.
  return Array.from(forms).toSorted((a, b) => b.length - a.length).reduce(
    (text, form) =>
      form.length >= 3
        ? text.replaceAll(form, "[personal data]")
        : text.replace(new RegExp(`(?<![\\p{L}\\p{N}])${escaped(form)}(?![\\p{L}\\p{N}])`, "gu"), "[personal data]"),
    text
  )
}

/** Text as a part of a regular expression. */
const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")
