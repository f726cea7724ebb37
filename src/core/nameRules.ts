/**
 * The rule for names that come from outside and become keys in a database.
 *
 * @since 0.1.0
 */

/**
 * Returns what is wrong with a name, or `undefined`. A name must have 1 to `maxLength` UTF-16 code units of well-formed Unicode without NUL. The
 * conversion to UTF-8 text would reject or silently change any other.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateName = (what: string, name: string, maxLength: number): string | undefined =>
  name.length === 0
    ? `${what} must not be empty`
    : name.length > maxLength
    ? `${what} must have at most ${maxLength} characters, this one has ${name.length}`
    : name.includes("\u0000")
    ? `${what} must not contain the NUL character`
    : name.isWellFormed()
    ? undefined
    : `${what} must be well-formed Unicode, this one contains a lone surrogate`
