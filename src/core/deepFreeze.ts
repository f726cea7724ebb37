/**
 * Freezes the states and documents that several calls of the user's functions share.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"

/** The values of which every part is frozen already; a frozen object alone may have parts that are not. */
const frozen = new WeakSet<object>()

const isPlain = (value: unknown): value is object => {
  if (Array.isArray(value)) return true
  if (!Predicate.isObject(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/**
 * Freezes a value and all plain objects and arrays in it, and returns it. Leaves instances of classes alone, such as dates, maps and Effect's
 * collections, which cache values in themselves. Visits only the parts that no earlier call has frozen.
 *
 * @since 0.1.0
 * @category combinators
 */
export const deepFreeze = <A>(value: A): A => {
  const waiting: Array<unknown> = [value]
  while (waiting.length > 0) {
    const next = waiting.pop()
    if (!isPlain(next) || frozen.has(next)) continue
    frozen.add(next)
    Object.freeze(next)
    for (const key of Reflect.ownKeys(next)) {
      // Not by reading it: a getter is the user's code.
      const inner: unknown = Object.getOwnPropertyDescriptor(next, key)?.value
      if (Predicate.isObjectOrArray(inner)) waiting.push(inner)
    }
  }
  return value
}

const isProduction = ((): boolean => {
  const process: unknown = Reflect.get(globalThis, "process")
  const env: unknown = Predicate.hasProperty(process, "env") ? process.env : undefined
  return Predicate.hasProperty(env, "NODE_ENV") && env.NODE_ENV === "production"
})()

/**
 * Freezes a value as `deepFreeze` does, unless the environment variable `NODE_ENV` is `production`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const freezeOutsideProduction: <A>(value: A) => A = isProduction ? (value) => value : deepFreeze
