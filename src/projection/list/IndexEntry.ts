/**
 * The entries under which a document is found by its indexed fields: texts whose order by code point is the order of the values. Memory and
 * PostgreSQL compare the same texts, so they agree.
 *
 * An entry is `<field>=<kind><value>`. Kinds order as: 0 null or missing, 1 boolean, 2 number, 3 time, 4 string, 5 duration, 6 any other JSON value.
 *
 * @since 0.1.0
 */
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Hash from "effect/Hash"
import * as Option from "effect/Option"
import * as Result from "effect/Result"

/**
 * The number of bytes of UTF-8 by which strings are compared.
 *
 * @since 0.1.0
 * @category limits
 */
export const comparedBytes = 500

/**
 * The maximum number of significant digits of an indexed number.
 *
 * @since 0.1.0
 * @category limits
 */
export const maxDigits = 400

/**
 * A value as an entry holds it.
 *
 * @since 0.1.0
 * @category models
 */
export interface EntryValue {
  /** The kind and the value; texts of one kind compare as the values do. */
  readonly text: string
  /** Whether the text holds only the beginning of the value, and a hash of the rest. */
  readonly isCut: boolean
  /** The kind and the whole value, of a text that is cut. */
  readonly whole?: string
}

/**
 * Returns the name of a field as entries begin with it: without the characters that separate names and values.
 *
 * @since 0.1.0
 * @category accessors
 */
export const nameOf = (field: string): string =>
  Array.from(field, (char) => char < " " || "%=,".includes(char) ? `%${hex(char)}` : char).join("")

const hex = (char: string): string => char.charCodeAt(0).toString(16).padStart(2, "0")

/**
 * Returns the entry of a field's value.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (field: string, value: EntryValue): string => `${nameOf(field)}=${value.text}`

/**
 * Returns the name of an index: that of its field, and the form of its entries.
 *
 * @since 0.1.0
 * @category constructors
 */
export const indexName = (field: string, form: string): string => `${nameOf(field)}=${form}`

/**
 * Returns the element that precedes the entries of a document: the names of all its indexes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const namesOf = (indexes: ReadonlyArray<string>): string => `,${indexes.toSorted().join(",")},`

/**
 * Returns whether a document with these names has an index.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasName = (names: string | undefined, name: string): boolean => names?.includes(`,${name},`) === true

/**
 * Entries from one text up to another, which is not included.
 *
 * @since 0.1.0
 * @category models
 */
export interface EntryRange {
  readonly from: string
  readonly to: string
}

/**
 * Returns the range of all entries of a field. The first character of the value is a digit.
 *
 * @since 0.1.0
 * @category constructors
 */
export const allOf = (field: string): EntryRange => ({ from: `${nameOf(field)}=`, to: `${nameOf(field)}>` })

/**
 * Returns the range of the entries of a field whose values are of the same kind as a value.
 *
 * @since 0.1.0
 * @category constructors
 */
export const kindOf = (field: string, { text }: EntryValue): EntryRange => {
  const kind = Number(text[0])
  return { from: `${nameOf(field)}=${kind}`, to: `${nameOf(field)}=${kind + 1}` }
}

/**
 * Returns the least text above an entry, and at most every other entry above it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const after = (entry: string): string => `${entry}\u0001`

/**
 * Returns a value as an entry holds it, or why it cannot be indexed. `json` is the value as the document holds it, for values that have no order.
 *
 * @since 0.1.0
 * @category constructors
 */
export const valueOf = (value: unknown, json: unknown): Result.Result<EntryValue, string> => {
  switch (typeof value) {
    case "undefined":
      return exact(none)
    case "boolean":
      return exact(value ? "11" : "10")
    case "number":
      return Number.isNaN(value)
        ? Result.fail("is NaN, which has no place in an order; use Schema.Finite, or leave the value out")
        : exact(`2${ofNumber(value)}`)
    case "bigint":
      return ofDecimal(value, 0)
    case "string":
      return Result.succeed(ofText("4", value))
  }
  if (value === null) return exact(none)
  if (value instanceof Date) {
    return Number.isNaN(value.getTime())
      ? Result.fail("is an invalid date, which has no place in an order")
      : exact(`3${ofNumber(value.getTime())}`)
  }
  if (DateTime.isDateTime(value)) return exact(`3${ofNumber(value.epochMilliseconds)}`)
  if (BigDecimal.isBigDecimal(value)) {
    const { scale, value: digits } = BigDecimal.normalize(value)
    return ofDecimal(digits, scale)
  }
  if (Duration.isDuration(value)) {
    return Option.match(Duration.toNanos(value), {
      onNone: () => exact(`5${ofNumber(Duration.toMillis(value))}`),
      onSome: (nanos) => ofDecimal(nanos, 0, "5")
    })
  }
  return Result.succeed(ofText(other, JSON.stringify(sorted(json)) ?? "null"))
}

const other = "6"

/**
 * Returns whether a value has an order, so that its entry does not depend on how it is encoded.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasOrder = ({ text }: EntryValue): boolean => !text.startsWith(other)

/** Returns a JSON value with a list of its fields, in one order, for each object: equal objects may have their fields in any order. */
const sorted = (json: unknown): unknown => {
  if (Array.isArray(json)) return json.map(sorted)
  if (typeof json !== "object" || json === null) return json
  const fields = Object.entries(json).filter(([, value]) => value !== undefined)
  return { fields: fields.toSorted(([a], [b]) => a < b ? -1 : 1).map(([name, value]) => [name, sorted(value)]) }
}

/**
 * The value of a field that is null or missing.
 *
 * @since 0.1.0
 * @category models
 */
export const none = "0"

/**
 * Returns whether a value, as an entry holds it, is a time.
 *
 * @since 0.1.0
 * @category guards
 */
export const isTime = (text: string): boolean => text.startsWith("3")

const exact = (text: string): Result.Result<EntryValue, never> => Result.succeed({ text, isCut: false })

/** Numbers, bigints and decimals share one form, so that they compare by value. */
const ofNumber = (value: number): string => {
  if (value === 0) return "1"
  if (!Number.isFinite(value)) return value > 0 ? "3" : "-"
  const [mantissa = "", exponent = "0"] = Math.abs(value).toExponential().split("e")
  return ofDigits(value < 0, mantissa.replace(".", ""), Number(exponent))
}

const ofDecimal = (value: bigint, scale: number, kind = "2"): Result.Result<EntryValue, string> => {
  if (value === 0n) return exact(`${kind}1`)
  const all = (value < 0n ? -value : value).toString()
  if (!Number.isSafeInteger(scale)) return Result.fail(`has the scale ${scale}, which is too large for an index`)
  const digits = all.replace(/0+$/, "")
  return digits.length > maxDigits
    ? Result.fail(`has ${digits.length} significant digits; an indexed number must have at most ${maxDigits}`)
    : exact(`${kind}${ofDigits(value < 0n, digits, all.length - 1 - scale)}`)
}

/** Negative numbers are the complement of positive ones, so that they order the other way. */
const ofDigits = (isNegative: boolean, digits: string, exponent: number): string => {
  const size = String(Math.abs(exponent))
  const magnitude = String(size.length).padStart(2, "0") + size
  const text = (exponent < 0 ? `0${complement(magnitude)}` : `1${magnitude}`) + digits
  // The last character orders a number against one with the same beginning and more digits.
  return isNegative ? `0${complement(text)}~` : `2${text}!`
}

const complement = (digits: string): string => digits.replaceAll(/\d/g, (digit) => String(9 - Number(digit)))

/**
 * Cuts a long text behind a code point. Where depends on the beginning only, so that texts of one beginning are cut alike: they order behind the
 * beginning itself.
 */
const ofText = (kind: string, text: string): EntryValue => {
  let beginning = ""
  let bytes = 0
  let end = 0
  while (end < text.length && bytes < comparedBytes) {
    const point = String.fromCodePoint(text.codePointAt(end)!)
    const escaped = escape(point)
    beginning += escaped
    bytes += utf8Bytes(escaped)
    end += point.length
  }
  if (end === text.length) return { text: kind + beginning, isCut: false }
  const hashes = `${Hash.string(text)}:${Hash.string(`${text.slice(end)}\u0000${beginning}`)}`
  return { text: `${kind}${beginning}~${text.length}:${hashes}`, isCut: true, whole: kind + text }
}

/**
 * Replaces the characters that PostgreSQL cannot hold, that separate entries or that `after` appends, and those just before them, so that texts
 * still compare as before.
 */
const escape = (point: string): string => {
  const code = point.codePointAt(0)!
  if (code <= 0x02) return `\u0002${code}`
  if (code === 0x1e || code === 0x1f) return `\u001e${code - 0x1e}`
  if (code === 0xd7ff) return `${point}!`
  return code >= 0xd800 && code <= 0xdfff ? `\ud7ff${hex(point)}` : point
}

const utf8Bytes = (text: string): number => {
  let bytes = 0
  for (const point of text) {
    const code = point.codePointAt(0)!
    bytes += code <= 0x7f ? 1 : code <= 0x7ff ? 2 : code <= 0xffff ? 3 : 4
  }
  return bytes
}
