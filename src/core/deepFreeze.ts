/**
 * Freezes the states, documents and payloads that several calls of the user's functions share.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

/**
 * The values of which every part is frozen already; a frozen object alone may have parts that are not. Small objects without parts are not among them: to
 * visit one again costs less than the garbage collector's work for the payload of every command.
 */
const frozen = new WeakSet<object>()

/** Plain objects, arrays, and instances of `Schema.Class`, whose constructor is a Schema. */
const isData = (value: object): boolean => {
  if (Array.isArray(value)) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) return true
  return Predicate.hasProperty(prototype, "constructor") && Schema.isSchema(prototype.constructor)
}

/** The methods that change a collection or a date, which `Object.freeze` does not stop. */
const mutators = new Map<unknown, ReadonlyArray<string>>(
  [Map, Set, Date].map(({ prototype }) => [
    prototype,
    Object.getOwnPropertyNames(prototype).filter((name) => /^(set|add|delete|clear)/.test(name))
  ])
)

const makeReadOnly = (value: object, methods: ReadonlyArray<string>): void => {
  for (const name of methods) {
    Object.defineProperty(value, name, {
      value: () => {
        throw new TypeError(`the ${value.constructor.name} is read-only, so it has no ${name}`)
      }
    })
  }
}

/**
 * Freezes a value and all that it contains, and returns it: plain objects, arrays, instances of `Schema.Class`, maps, sets and dates. Leaves
 * instances of other classes alone, such as Effect's collections, which cache values in themselves. Visits only the parts that no earlier call has
 * frozen.
 *
 * @since 0.1.0
 * @category combinators
 */
export const deepFreeze = <A>(value: A): A => {
  const waiting: Array<unknown> = [value]
  while (waiting.length > 0) {
    const next = waiting.pop()
    if (!Predicate.isObjectOrArray(next) || frozen.has(next)) continue
    const methods = mutators.get(Object.getPrototypeOf(next))
    if (methods === undefined && !isData(next)) continue
    // An object that the user has frozen has no room for the methods.
    if (methods !== undefined && Object.isExtensible(next)) makeReadOnly(next, methods)
    if (next instanceof Map) waiting.push(...next.keys(), ...next.values())
    else if (next instanceof Set) waiting.push(...next)
    Object.freeze(next)
    const keys = Reflect.ownKeys(next)
    let isSmall = methods === undefined && keys.length <= 16
    for (const key of keys) {
      // Not by reading it: a getter is the user's code.
      const inner: unknown = Object.getOwnPropertyDescriptor(next, key)?.value
      if (!Predicate.isObjectOrArray(inner)) continue
      waiting.push(inner)
      isSmall = false
    }
    if (!isSmall) frozen.add(next)
  }
  return value
}

/** In a browser there is no `process`; a bundler replaces the whole expression by a constant. */
declare const process: { readonly env: { readonly NODE_ENV?: string } }

const isProduction = ((): boolean => {
  try {
    return process.env.NODE_ENV === "production"
  } catch {
    return false
  }
})()

/**
 * Freezes a value as `deepFreeze` does, unless the environment variable `NODE_ENV` is `production`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const freezeOutsideProduction: <A>(value: A) => A = isProduction ? (value) => value : deepFreeze
