/**
 * The generator of ids for events and commands.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * The function that makes an id for an event, a command or a worker; by default a random UUID. Provide another to make ids predictable in a test.
 * The ids of events must be UUIDs.
 *
 * @since 0.1.0
 * @category references
 */
export const IdGenerator = Context.Reference<() => string>("evsrc/core/IdGenerator", {
  defaultValue: () => () => globalThis.crypto.randomUUID()
})
