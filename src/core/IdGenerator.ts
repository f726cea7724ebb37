/**
 * Where the ids of events and commands come from.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * Makes an id for an event, a command or a worker; a random UUID by default. Provide another to make ids predictable in a test; those of
 * events must be UUIDs.
 *
 * @since 0.1.0
 * @category references
 */
export const IdGenerator = Context.Reference<() => string>("evsrc/core/IdGenerator", {
  defaultValue: () => () => globalThis.crypto.randomUUID()
})
