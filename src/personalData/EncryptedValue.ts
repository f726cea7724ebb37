/**
 * Personal data as a store holds it, encrypted within JSON: how to tell it from other JSON, and how to remove its plaintext from messages.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Schema from "effect/Schema"
import { isErased } from "./PersonalData.ts"

/**
 * Returns whether a value is a JSON object, which can be the parent of personal fields.
 *
 * @since 0.1.0
 * @category guards
 */
export const isParentObject = (value: unknown): value is Record<string, Schema.Json> =>
  Predicate.isObject(value) && !Array.isArray(value)

const encryptedKey = "~encrypted"

/**
 * The marker of encrypted personal data. Its text is `1.` and, in base 64, 12 bytes of nonce, the ciphertext and 16 bytes of tag. The plaintext
 * is the value's JSON in UTF-8; the algorithm is AES-256-GCM under the key of the subject, whose name is authenticated with it.
 *
 * @since 0.1.0
 * @category models
 */
export interface EncryptedMarker {
  readonly "~encrypted": string
  readonly subject: string
}

/**
 * Returns whether a value is the marker of encrypted data.
 *
 * @since 0.1.0
 * @category guards
 */
export const isEncrypted = (value: unknown): value is EncryptedMarker =>
  Predicate.isObject(value) && typeof Reflect.get(value, encryptedKey) === "string"
  && typeof Reflect.get(value, "subject") === "string"

/**
 * Returns the marker of encrypted data.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encrypted = (subject: string, text: string): Schema.JsonObject => ({ [encryptedKey]: text, subject })

/**
 * Returns whether JSON text, as `JSON.stringify` writes it, contains what could be taken for the marker of encrypted data.
 *
 * @since 0.1.0
 * @category guards
 */
export const looksEncrypted = (json: string): boolean => json.includes(`"${encryptedKey}":`)

/**
 * An encrypted value of a copy: `parent[field]`.
 *
 * @since 0.1.0
 * @category models
 */
export interface FoundMarker {
  readonly parent: Record<string, Schema.Json>
  readonly field: string
  readonly encrypted: EncryptedMarker
}

/**
 * A copy of encoded data, and the encrypted values in it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Copy {
  readonly copy: Schema.Json
  readonly found: ReadonlyArray<FoundMarker>
}

/**
 * Copies encoded data and finds its encrypted values, so that they can be replaced in the copy.
 *
 * @since 0.1.0
 * @category constructors
 */
export const copyEncrypted = (encoded: Schema.Json): Copy => {
  const found: Array<FoundMarker> = []
  return { copy: copyInto(encoded, found), found }
}

const copyInto = (encoded: Schema.Json, found: Array<FoundMarker>): Schema.Json => {
  if (Array.isArray(encoded)) return encoded.map((element) => copyInto(element, found))
  if (!isParentObject(encoded)) return encoded
  const parent: Record<string, Schema.Json> = {}
  for (const [field, value] of Object.entries(encoded)) {
    // An assignment would set the prototype for the name `__proto__`, which is a name like any other in JSON.
    const copy = isEncrypted(value) ? value : copyInto(value, found)
    Object.defineProperty(parent, field, { value: copy, enumerable: true, writable: true, configurable: true })
    if (isEncrypted(value)) found.push({ parent, field, encrypted: value })
  }
  return parent
}

/**
 * Returns encoded data with some of its fields decrypted, and the names of the other encrypted fields. `decrypted` is the same data after the
 * decryption of all. A field of another subject than the one that is encrypted in it stays encrypted.
 *
 * @since 0.1.0
 * @category combinators
 */
export const decryptedIn = (
  encoded: Schema.Json,
  decrypted: Schema.Json,
  fields: ReadonlyArray<{ readonly parent: object; readonly field: string; readonly subject: unknown }>
): { readonly data: Schema.Json; readonly unannotated: ReadonlyArray<string> } => {
  const wanted = new Map<object, Set<string>>()
  for (const { field, parent, subject } of fields) {
    const value: unknown = Reflect.get(parent, field)
    if (!isEncrypted(value) || value.subject !== subject) continue
    const names = wanted.get(parent)
    if (names === undefined) wanted.set(parent, new Set([field]))
    else names.add(field)
  }
  const others: Array<string> = []
  const visit = (stored: Schema.Json, plain: Schema.Json | undefined): Schema.Json => {
    if (Array.isArray(stored)) return stored.map((element, index) => visit(element, Reflect.get(Object(plain), index)))
    if (!isParentObject(stored)) return stored
    const names = wanted.get(stored)
    return Object.fromEntries(
      Object.entries(stored).map(([field, value]) => {
        const inPlain: Schema.Json = Reflect.get(Object(plain), field)
        if (!isEncrypted(value)) return [field, visit(value, inPlain)]
        if (names?.has(field) === true) return [field, inPlain]
        others.push(field)
        return [field, value]
      })
    )
  }
  const data = visit(encoded, decrypted)
  return { data, unannotated: others }
}

/**
 * Returns the subjects of the encrypted values in encoded data.
 *
 * @since 0.1.0
 * @category accessors
 */
export const subjectsIn = (encoded: Schema.Json): ReadonlySet<string> =>
  new Set(copyEncrypted(encoded).found.map(({ encrypted }) => encrypted.subject))

/**
 * Returns the plaintexts of what is encrypted in `stored`, each value by itself. `decrypted` is the same data after decryption.
 *
 * @since 0.1.0
 * @category accessors
 */
export const secretsOf = (stored: unknown, decrypted: unknown): ReadonlyArray<unknown> => {
  if (isEncrypted(stored)) return isErased(decrypted) ? [] : leavesOf(decrypted)
  if (!Predicate.isObjectOrArray(stored) || !Predicate.isObjectOrArray(decrypted)) return []
  return Object.entries(stored).flatMap(([field, value]) => secretsOf(value, Reflect.get(decrypted, field)))
}

/**
 * Returns the values in a JSON value that are neither object nor array, and the names in it that cannot be those of a struct's fields: in a record
 * they are data.
 *
 * @since 0.1.0
 * @category accessors
 */
export const leavesOf = (value: unknown): ReadonlyArray<unknown> => {
  if (Array.isArray(value)) return value.flatMap(leavesOf)
  if (!Predicate.isObject(value)) return [value]
  return Object.entries(value).flatMap(([name, field]) => [...isFieldName(name) ? [] : [name], ...leavesOf(field)])
}

/** Nothing else tells a field of a struct, such as `street`, from a key of a record, such as `ann@example.com`. */
const isFieldName = (name: string): boolean => /^[A-Za-z_$][\w$]*$/.test(name)

const escapeJson = (text: string): string => JSON.stringify(text).slice(1, -1)

/**
 * Returns a text as it is, as JSON writes it, and as JSON writes it within a text of JSON, as often as three times.
 *
 * @since 0.1.0
 * @category accessors
 */
export const formsOf = (text: string): ReadonlySet<string> => {
  const forms = new Set([text])
  for (let form = text, i = 0; i < 3; i++) forms.add(form = escapeJson(form))
  return forms
}

/**
 * Returns a text as a column of raw text holds it. PostgreSQL stores neither U+0000 nor half of a surrogate pair.
 *
 * @since 0.1.0
 * @category accessors
 */
export const storableText = (text: string): string => text.replaceAll("\u0000", "\ufffd").toWellFormed()

const escapes: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" }

/**
 * Returns a text as it is, and with the escapes of JSON in it removed once, twice and so on, until none is left.
 *
 * @since 0.1.0
 * @category accessors
 */
export const unescapedForms = (text: string): ReadonlyArray<string> => {
  const forms = [text]
  for (let form = text; form.includes("\\") && forms.length < 5;) {
    form = form.replace(
      /\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))/g,
      (_, code: string | undefined, character: string) =>
        code === undefined ? escapes[character] ?? character : String.fromCharCode(Number.parseInt(code, 16))
    )
    forms.push(form)
  }
  return forms
}

/**
 * Returns a text in which `[personal data]` replaces every secret: as it is and as JSON writes it, in capitals or small letters, and each of its
 * words by itself. Messages about an event are stored and logged, and must not contain what the event encrypts.
 *
 * @since 0.1.0
 * @category combinators
 */
export const scrub = (text: string, secrets: Iterable<unknown>): string => {
  const [anywhere, asWords] = [new Set<string>(), new Set<string>()]
  for (const secret of secrets) {
    if (secret === null || secret === undefined || secret === "" || typeof secret === "boolean") continue
    for (const written of writtenForms(String(secret)).flatMap(casesOf)) {
      for (const form of formsOf(written)) (form.length >= minLength ? anywhere : asWords).add(form)
      for (const word of written.split(/[^\p{L}\p{N}]+/u)) if (word.length >= minLength) asWords.add(word)
    }
  }
  if (anywhere.size + asWords.size === 0) return text
  const patterns = [
    ...Array.from(anywhere, (form) => ({ form, pattern: escaped(form) })),
    ...Array.from(asWords, (form) => ({ form, pattern: `(?<![\\p{L}\\p{N}])${escaped(form)}(?![\\p{L}\\p{N}])` }))
  ]
  // The longest first, because one may contain another.
  patterns.sort((a, b) => b.form.length - a.form.length)
  return text.replace(new RegExp(patterns.map(({ pattern }) => pattern).join("|"), "giu"), "[personal data]")
}

/** Shorter secrets, and single words, are replaced only as whole words. */
const minLength = 3

/** The texts into which JavaScript turns an encoded value: a date has several. */
const writtenForms = (text: string): ReadonlyArray<string> => {
  const found = /^\d{4}-\d\d-\d\d(T|$)/.test(text) ? DateTime.make(text) : Option.none()
  if (Option.isNone(found)) return [text]
  const date = DateTime.toDate(found.value)
  return [text, text.slice(0, 10), String(date), date.toUTCString(), date.toDateString(), String(date.getTime())]
}

/** Returns a text, and its capitals and small letters where a regular expression that ignores case would not find them: those of "Weiß" are "WEISS". */
const casesOf = (text: string): ReadonlyArray<string> =>
  isAscii(text) ? [text] : Array.from(new Set([text, text.toUpperCase(), text.toLowerCase()]))

const isAscii = (text: string): boolean => /^[\0-\x7f]*$/.test(text)

/** Escapes a text for use in a regular expression. Where the letter i is Turkish, its capital has a dot, and "I" is that of a small letter without one. */
const escaped = (text: string): string =>
  text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&").replace(/[iIıİ]\u0307?/g, "(?:i\u0307?|[ıİ])")
