/**
 * The key under which the service of a store holds what the runtime builds on and users do not see.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 * @category constants
 */
export const internals: unique symbol = Symbol.for("evsrc/core/internals")
