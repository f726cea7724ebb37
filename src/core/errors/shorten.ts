/**
 * Shortens what comes from outside for a message.
 *
 * @since 0.1.0
 */

/**
 * Returns a name, shortened if it is very long.
 *
 * @since 0.1.0
 * @category accessors
 */
export const shorten = (name: string): string =>
  name.length <= 120 ? name : `${name.slice(0, 120)}… (${name.length} characters)`
