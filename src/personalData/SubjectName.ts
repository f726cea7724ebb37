/**
 * The rule for the name of a subject, the person whom personal data belongs to.
 *
 * @since 0.1.0
 */
import * as nameRules from "../core/nameRules.ts"
import type * as PersonalFields from "./PersonalFields.ts"

/**
 * The maximum length of a subject's name, in UTF-16 code units.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxLength = 512

/**
 * Returns what is wrong with the name of a subject, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = (subject: unknown, what = "the subject of personal data"): string | undefined =>
  typeof subject === "string"
    ? nameRules.validateName(what, subject, maxLength)
    : `${what} must be a string, not ${subject === null ? "null" : typeof subject}`

/**
 * Returns what is wrong with the subject of a personal field, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateField = (
  { field, subject }: Pick<PersonalFields.LocatedField, "field" | "subject">
): string | undefined => validate(subject, `the subject of the personal field "${field}"`)
