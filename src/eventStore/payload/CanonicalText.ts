/**
 * Canonical texts: two values have one text only if JSON has them as one. A value that JSON does not have is written in a form of its own, or is
 * rejected.
 *
 * @since 0.1.0
 */
import * as Base64Url from "effect/encoding/Base64Url"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"

/**
 * Returns the text of a value: JSON with sorted keys, `null` for each `Redacted`, and forms of their own for what JSON does not have, such as a bigint,
 * `NaN` or a `Map`. A property that is `undefined` is left out. Returns a message that names the first field, by its JSON pointer, whose value cannot
 * be compared; the message does not quote values. `name` is the name of the field that the value is of.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (value: unknown, name?: string): Result.Result<string, string> => {
  const path = name === undefined ? [] : [name]
  try {
    return Result.succeed(write(value, { path, within: [] }))
  } catch (cause) {
    const what = cause instanceof NotComparable
      ? cause.message
      : cause instanceof RangeError
      ? "has too many levels"
      : "has a property, or a method toJSON, that throws"
    return Result.fail(`${path.length === 0 ? "the value" : `"${pointerOf(path)}"`} ${what}`)
  }
}

class NotComparable extends Error {}

/** Where a value is: the names of the fields to it, and the objects that contain it. */
interface Place {
  readonly path: Array<string | number>
  readonly within: Array<object>
}

const pointerOf = (path: ReadonlyArray<string | number>): string =>
  path.map((name) => `/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("")

const write = (value: unknown, place: Place): string => {
  switch (typeof value) {
    case "number":
      return Object.is(value, -0) ? "-0" : String(value)
    case "bigint":
      return `${value}n`
    case "undefined":
      return "undefined"
    case "function":
      throw new NotComparable("is a function, which cannot be compared; leave it out of the payload")
    case "symbol":
      throw new NotComparable("is a symbol, which cannot be compared; use a string")
    case "object":
      return value === null || Redacted.isRedacted(value) ? "null" : writeWithin(value, place)
    default:
      return JSON.stringify(value)
  }
}

const writeWithin = (value: object, place: Place): string => {
  if (place.within.includes(value)) throw new NotComparable("contains itself, so it cannot be compared")
  place.within.push(value)
  const text = writeObject(value, place)
  place.within.pop()
  return text
}

const writeObject = (value: object, place: Place): string => {
  if (Array.isArray(value)) return `[${writeAll(value, place)}]`
  if (value instanceof Map) return `Map[${writeAll(value, place)}]`
  if (value instanceof Set) return `Set[${writeAll(value, place)}]`
  if (value instanceof Date) return `Date(${value.getTime()})`
  if (value instanceof ArrayBuffer) return bytes("ArrayBuffer", new Uint8Array(value))
  if (ArrayBuffer.isView(value)) {
    return bytes(nameOf(value), new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
  }
  if ("toJSON" in value && typeof value.toJSON === "function") return write(value.toJSON(), place)
  const prototype: unknown = Object.getPrototypeOf(value)
  // The prototype of a plain object has none of its own, in every realm.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw new NotComparable(
      `is an instance of ${
        nameOf(value)
      } without a JSON form, so it cannot be compared; give its Schema a codec (the annotation toCodecJson), or use `
        + "Schema.Class"
    )
  }
  return writeFields(value, place)
}

const writeFields = (value: object, place: Place): string => {
  if (Object.getOwnPropertySymbols(value).some((name) => Object.prototype.propertyIsEnumerable.call(value, name))) {
    throw new NotComparable("has a field that is named by a symbol, which cannot be compared; name it by a string")
  }
  const fields = Object.entries(value).filter(([, inner]) => inner !== undefined).toSorted(([a], [b]) => a < b ? -1 : 1)
  return `{${fields.map(([name, inner]) => `${JSON.stringify(name)}:${writeField(inner, name, place)}`).join()}}`
}

const writeAll = (values: Iterable<unknown>, place: Place): string =>
  Array.from(values, (value, index) => writeField(value, index, place)).join()

const writeField = (value: unknown, name: string | number, place: Place): string => {
  place.path.push(name)
  const text = write(value, place)
  place.path.pop()
  return text
}

const bytes = (name: string, value: Uint8Array): string => `${name}(${Base64Url.encode(value)})`

const nameOf = (value: object): string => Predicate.isFunction(value.constructor) ? value.constructor.name : "a class"
