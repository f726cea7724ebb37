/**
 * Checks what a reaction returns: code without types, or with a cast, may return something else than an array of own events and actions.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { invalidRequest } from "../core/errors.ts"
import * as Reaction from "./Reaction.ts"

/**
 * Returns the own events and actions of a reaction. Throws an `InvalidRequest` that says what it returned instead, without quoting the value.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = <E>(
  what: string,
  ownEvents: Readonly<Record<string, unknown>>,
  returned: unknown
): ReadonlyArray<E | Reaction.AnyAction> => {
  const rejects = (found: string) =>
    invalidRequest(
      `${what} returned ${found}; return an array of own events and actions, such as [ProcessManager.complete], or [] for none`
    )
  if (Predicate.isPromiseLike(returned)) {
    // Without a handler, its rejection would end the process.
    returned.then(undefined, () => undefined)
  }
  if (!Array.isArray(returned)) throw rejects(kindOf(ownEvents, returned))
  const wrong = returned.findIndex((one) => !Reaction.isAction(one) && tagOf(one) === undefined)
  if (wrong >= 0) throw rejects(`an array with ${kindOf(ownEvents, returned[wrong])} at index ${wrong}`)
  return returned
}

const tagOf = (value: unknown): string | undefined =>
  Predicate.hasProperty(value, "_tag") && typeof value._tag === "string" ? value._tag : undefined

/** Returns what a value is. Only names that the definition has are quoted. */
const kindOf = (ownEvents: Readonly<Record<string, unknown>>, value: unknown): string => {
  if (value === undefined || value === null || typeof value === "boolean") return String(value)
  if (Array.isArray(value)) return "an array"
  if (Predicate.isPromiseLike(value)) return "a Promise; a reaction is not asynchronous"
  if (Effect.isEffect(value)) return "an Effect; a reaction is a pure function"
  if (Reaction.isAction(value)) return "an action that is in no array"
  const tag = tagOf(value)
  if (tag !== undefined) {
    return Object.hasOwn(ownEvents, tag) ? `the event "${tag}", which is in no array` : "an event that is in no array"
  }
  return typeof value === "object" ? "an object that is neither an event nor an action" : `a ${typeof value}`
}
