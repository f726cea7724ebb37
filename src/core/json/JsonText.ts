/**
 * JSON text that reads back as the value it was made from. `JSON.stringify` changes some values without an error: `-0` becomes `0`, and `NaN`,
 * `Infinity`, `undefined` in an array and holes become `null`.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"

/**
 * Returns the JSON text of a value, or a message that names the first field, by its JSON pointer, that JSON cannot hold. The message does not
 * quote values. A property that is `undefined` is left out.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encode = (value: unknown): Result.Result<string, string> => {
  try {
    return Result.succeed(make(value))
  } catch (cause) {
    if (cause instanceof NotJson) return Result.fail(cause.message)
    // A cycle and too many levels end in a RangeError; a getter may throw anything, and may quote the value.
    return Result.fail(
      cause instanceof RangeError
        ? "it has a cycle or too many levels"
        : "it has a property that throws when it is read"
    )
  }
}

/**
 * Returns the JSON text of a value that was parsed from JSON or checked by `encode`. Unlike `JSON.stringify`, it keeps `-0`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (value: unknown): string => hasNegativeZero(value, undefined) ? write(value) : JSON.stringify(value)

class NotJson extends Error {}

/** Where a value is: the name of its field and the place of its parent. A text per field would cost more than the rest of the walk. */
interface Place {
  readonly name: string | number
  readonly parent: Place | undefined
}

/**
 * Returns the JSON pointer of a path.
 *
 * @since 0.1.0
 * @category constructors
 */
export const pointerOf = (path: ReadonlyArray<PropertyKey>): string =>
  path.map((name) => `/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("")

const pathOf = (place: Place | undefined): ReadonlyArray<string | number> =>
  place === undefined ? [] : [...pathOf(place.parent), place.name]

const reject = (place: Place | undefined, what: string): never => {
  throw new NotJson(
    `${
      place === undefined ? "the value" : `"${pointerOf(pathOf(place))}"`
    } is ${what}, which JSON cannot hold; encode it by its `
      + `Schema, or leave it out`
  )
}

/** Returns whether a value contains `-0`. Throws for a value that JSON cannot hold. */
const hasNegativeZero = (value: unknown, place: Place | undefined): boolean => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return false
    case "number":
      return Number.isFinite(value) ? Object.is(value, -0) : reject(place, String(value))
    case "object":
      return value !== null
        && (Array.isArray(value) ? inArray(value, place) : inObject(value, place))
    case "undefined":
      return reject(place, "undefined")
    default:
      return reject(place, `a ${typeof value}`)
  }
}

const inArray = (array: ReadonlyArray<unknown>, place: Place | undefined): boolean => {
  let found = false
  // By index, because an iteration over the keys skips holes.
  for (let i = 0; i < array.length; i++) {
    const element: unknown = array[i]
    if (element === undefined && !Object.hasOwn(array, i)) reject({ name: i, parent: place }, "a hole in an array")
    if (hasNegativeZero(element, { name: i, parent: place })) found = true
  }
  return found
}

const inObject = (object: object, place: Place | undefined): boolean => {
  const prototype: unknown = Object.getPrototypeOf(object)
  // The prototype of a plain object has none of its own, in every realm.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    reject(place, `an instance of ${object.constructor.name || "a class"}`)
  }
  if ("toJSON" in object && typeof object.toJSON === "function") reject(place, "an object with toJSON")
  let found = false
  for (const [name, value] of Object.entries(object)) {
    if (value !== undefined && hasNegativeZero(value, { name, parent: place })) found = true
  }
  return found
}

/** Writes a checked value as JSON.stringify does, but for `-0`. */
const write = (value: unknown): string => {
  if (Object.is(value, -0)) return "-0"
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  const fields = Object.entries(value).filter(([, field]) => field !== undefined)
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${write(field)}`).join(",")}}`
}
