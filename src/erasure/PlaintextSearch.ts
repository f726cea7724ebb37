/**
 * Pure functions that collect a subject's decrypted values and locate them in stored text.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import { parseJson } from "../core/json/parseJson.ts"
import * as EncryptedValue from "../personalData/EncryptedValue.ts"
import * as PersonalData from "../personalData/PersonalData.ts"

/** Shorter values would match almost everywhere. */
const minValueLength = 4

const maxPathLength = 8

/**
 * A text to search. A part with a name is JSON; its paths begin with the name.
 *
 * @since 0.1.0
 * @category models
 */
export interface TextPart {
  readonly name: string | undefined
  readonly text: string
}

/**
 * Adds the subject's decrypted values to `values`: as they are and as JSON writes them, once or twice, because a column may hold text, JSON, or
 * JSON in JSON. Returns whether all of them could be decrypted.
 *
 * @since 0.1.0
 * @category accessors
 */
export const collectValues = (
  stored: unknown,
  decrypted: unknown,
  subject: string,
  values: Set<string>
): boolean => {
  if (EncryptedValue.isEncrypted(stored)) {
    if (stored.subject !== subject) return true
    if (PersonalData.isErased(decrypted)) return false
    for (const value of EncryptedValue.leavesOf(decrypted)) addValue(value, values)
    return true
  }
  if (!Predicate.isObjectOrArray(stored) || !Predicate.isObjectOrArray(decrypted)) return true
  let isComplete = true
  for (const [field, value] of Object.entries(stored)) {
    if (!collectValues(value, Reflect.get(decrypted, field), subject, values)) isComplete = false
  }
  return isComplete
}

/** Texts and numbers only: `true` and `null` would match everywhere. */
const addValue = (value: unknown, values: Set<string>): void => {
  if (typeof value !== "string" && typeof value !== "number") return
  const text = String(value)
  if (text.length < minValueLength) return
  for (const stored of [text, EncryptedValue.storableText(text)]) {
    for (const form of EncryptedValue.formsOf(stored)) values.add(form)
  }
}

/**
 * Returns the first part that contains one of the values, with the path of the field; undefined if none does.
 *
 * @since 0.1.0
 * @category accessors
 */
export const findPlaintext = (
  parts: ReadonlyArray<TextPart>,
  values: ReadonlySet<string>
): { readonly path?: string } | undefined => {
  for (const { name, text } of parts) {
    // `\u00e4` and `\/` are other ways to write the same text in JSON.
    const texts = EncryptedValue.unescapedForms(text)
    for (const value of values) {
      if (texts.some((text) => text.includes(value))) {
        return name === undefined
          ? {}
          : { path: pathOf(name, text, value, values) }
      }
    }
  }
  return undefined
}

/**
 * Returns the path of the first field that contains the value. The path goes into receipts, so it must not contain personal data: it stops
 * before a field name that contains a value, and shows a name that may be anything, such as another person's mail address, as `*`.
 */
const pathOf = (part: string, text: string, value: string, values: ReadonlySet<string>): string => {
  const path = [part]
  const contains = (json: unknown, value: string): boolean =>
    EncryptedValue.unescapedForms(JSON.stringify(json)).some((text) => text.includes(value))
  const descend = (json: unknown): void => {
    if (!Predicate.isObjectOrArray(json) || path.length >= maxPathLength) return
    for (const [field, inner] of Object.entries(json)) {
      if (!contains(inner, value)) continue
      for (const other of values) if (contains(field, other)) return
      path.push(/^\w{1,64}$/.test(field) ? field : "*")
      return descend(inner)
    }
  }
  // PostgreSQL accepts JSON that JavaScript cannot parse, such as very deep nesting.
  Result.try(() => descend(parseJson(text)))
  return path.join(".")
}
