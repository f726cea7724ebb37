/**
 * The key under which a store's service keeps what the runtime builds on: users do not see it.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 * @category constants
 */
export const internals: unique symbol = Symbol.for("evsrc/core/internals")
