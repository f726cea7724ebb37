/**
 * The generator of ids for events and commands.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * The function that makes an id for an event, a command or a worker; by default a random UUID. Provide another to make ids predictable in a test.
 * The ids of events must be UUIDs. The store does not compare them: a generator that repeats ids makes causation trees ambiguous, and handlers that
 * recognize an event by its id skip others.
 *
 * @since 0.1.0
 * @category references
 */
export const IdGenerator = Context.Reference<() => string>("evsrc/core/IdGenerator", {
  defaultValue: () => () => globalThis.crypto.randomUUID()
})
