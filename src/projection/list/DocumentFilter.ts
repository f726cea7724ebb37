/**
 * The filter and the order of a list of documents: their types, and the conditions on index entries that they mean.
 *
 * @since 0.1.0
 */
import type * as BigDecimal from "effect/BigDecimal"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Projection from "../ProjectionDefinition.ts"
import type { EntryCondition, PageOrder } from "../ProjectionStoreDriver.ts"
import type { FilterValue, IndexedField } from "./IndexedFields.ts"
import * as IndexEntry from "./IndexEntry.ts"

/**
 * The maximum number of values of `in`.
 *
 * @since 0.1.0
 * @category limits
 */
export const maxValues = 1000

/**
 * The types whose values can be compared.
 *
 * @since 0.1.0
 * @category models
 */
export type Comparable =
  | string
  | number
  | bigint
  | Date
  | DateTime.DateTime
  | Duration.Duration
  | BigDecimal.BigDecimal

/**
 * Matches one of several values.
 *
 * @since 0.1.0
 * @category models
 */
export interface OneOf<out A> {
  /** Any of these values; none of them matches nothing. */
  readonly in?: ReadonlyArray<A> | undefined
}

/**
 * Compares a field with bounds. `null` and missing values are within no bounds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Comparison<out A> extends OneOf<A | null> {
  /** Greater than this value. */
  readonly gt?: A | undefined
  /** Greater than this value, or equal. */
  readonly gte?: A | undefined
  /** Less than this value. */
  readonly lt?: A | undefined
  /** Less than this value, or equal. */
  readonly lte?: A | undefined
  /** From the first value to the second one; both are included. */
  readonly between?: readonly [from: A, to: A] | undefined
}

/**
 * The operators that a field has by its type.
 *
 * @since 0.1.0
 * @category models
 */
export type Operators<A> = [NonNullable<A>] extends [Comparable] ? Comparison<NonNullable<A>>
  : [NonNullable<A>] extends [Comparable | boolean] ? OneOf<A>
  : never

/**
 * A value that a field equals, or operators.
 *
 * @since 0.1.0
 * @category models
 */
export type Condition<A> = A | Operators<A> | undefined

type DocumentOf<P extends Projection.Any> = P["document"]["Type"]
type Value<P extends Projection.Any, K> = K extends keyof DocumentOf<P> ? DocumentOf<P>[K] : never

/**
 * Conditions on the indexed fields of a projection. A document must satisfy all of them.
 *
 * @since 0.1.0
 * @category models
 */
export type Where<P extends Projection.Any> = {
  readonly [K in P["index"][number]]?: K extends keyof DocumentOf<P> ? Condition<DocumentOf<P>[K]> : never
}

/**
 * The indexed fields of a projection that documents can be ordered by.
 *
 * @since 0.1.0
 * @category models
 */
export type OrderField<P extends Projection.Any> = {
  [K in P["index"][number]]: [NonNullable<Value<P, K>>] extends [Comparable | boolean] ? K : never
}[P["index"][number]]

/**
 * The order of a list. Documents with equal values are in the order of their keys, in the same direction.
 *
 * @since 0.1.0
 * @category models
 */
export interface OrderBy<out Field extends string> {
  /** An indexed field; the key of the document by default. */
  readonly field?: Field | undefined
  /** `"asc"` by default: `null` and missing values first. */
  readonly direction?: "asc" | "desc" | undefined
}

/**
 * A filter as a store compares it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Filter {
  readonly where: ReadonlyArray<EntryCondition>
  /** Returns whether a document that a store has found satisfies the filter; only values too long for an index make it necessary. */
  readonly isSatisfied: (document: Schema.Json) => boolean
}

const operators = ["in", "gt", "gte", "lt", "lte", "between"] as const

/**
 * Returns the filter that `where` means, or what is wrong with it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const compile = (
  { index, name }: Projection.Any,
  fields: ReadonlyArray<IndexedField>,
  where: unknown = {}
): Result.Result<Filter, string> => {
  if (!Predicate.isObject(where)) return Result.fail("`where` must be an object of conditions on indexed fields")
  const given = Object.entries(where).filter(([, value]) => value !== undefined)
  const unknown = given.find(([field]) => !index.includes(field))
  if (unknown !== undefined) return Result.fail(noIndex(name, index, unknown[0]))
  const compiled = given.toSorted(([a], [b]) => a < b ? -1 : 1).map(([given, value]) =>
    conditionOf(fields.find(({ field }) => field === given)!, value)
  )
  return Result.map(Result.all(compiled), (conditions) => ({
    where: conditions.flatMap(({ condition }) => condition ?? []),
    isSatisfied: (document) => conditions.every(({ isSatisfied }) => isSatisfied?.(document) ?? true)
  }))
}

const noIndex = (name: string, index: ReadonlyArray<string>, field: string): string =>
  `projection "${name}" has no index on "${field}"; ${
    index.length === 0 ? "it has no index" : `it has ${index.join(", ")}`
  }`

/**
 * Returns the order that `orderBy` means, or what is wrong with it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const order = (
  { index, name }: Projection.Any,
  fields: ReadonlyArray<IndexedField>,
  { direction = "asc", field }: { readonly field?: string | undefined; readonly direction?: string | undefined } = {}
): Result.Result<PageOrder, string> => {
  if (direction !== "asc" && direction !== "desc") {
    return Result.fail(`the direction of \`orderBy\` must be "asc" or "desc", not ${JSON.stringify(direction)}`)
  }
  if (field === undefined) return Result.succeed({ field, isDescending: direction === "desc" })
  const indexed = fields.find((indexed) => indexed.field === field)
  if (indexed === undefined) return Result.fail(noIndex(name, index, field))
  return indexed.isOrdered
    ? Result.succeed({ field, isDescending: direction === "desc" })
    : Result.fail(
      `"${field}" has values without an order; order by strings, numbers, booleans, times or durations, or by the key of the document`
    )
}

interface Compiled {
  readonly condition?: EntryCondition
  readonly isSatisfied?: (document: Schema.Json) => boolean
}

const conditionOf = (indexed: IndexedField, value: unknown): Result.Result<Compiled, string> =>
  indexed.isOrdered && isPlain(value) ? comparisonOf(indexed, value) : oneOf(indexed, [value])

/** Values that have an order are primitive or instances of a class, so a plain object holds operators. */
const isPlain = (value: unknown): value is Record<string, unknown> => {
  if (!Predicate.isObject(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype
}

const oneOf = (indexed: IndexedField, values: ReadonlyArray<unknown>): Result.Result<Compiled, string> =>
  Result.map(Result.all(values.map(indexed.inFilter)), (found) => ({
    condition: {
      _tag: "OneOf",
      field: indexed.field,
      entries: Array.from(new Set(found.map((value) => IndexEntry.make(indexed.field, value)))).toSorted()
    },
    ...(found.some(({ isCut }) => isCut) ? { isSatisfied: equalsOneOf(indexed, found) } : {})
  }))

/** Two long texts may share the entry, with the hash of what was cut. */
const equalsOneOf = (indexed: IndexedField, values: ReadonlyArray<FilterValue>) => (document: Schema.Json): boolean =>
  Result.match(indexed.inDocument(document), {
    // The list fails on a document that does not decode.
    onFailure: () => true,
    onSuccess: ({ text, whole }) => values.some((value) => value.text === text && value.whole === whole)
  })

const comparisonOf = (indexed: IndexedField, given: Record<string, unknown>): Result.Result<Compiled, string> => {
  const { field } = indexed
  const used = Object.entries(given).filter(([, value]) => value !== undefined)
  const unknown = used.find(([name]) => !operators.some((operator) => operator === name))
  if (unknown !== undefined) {
    return Result.fail(`"${field}" has no operator "${unknown[0]}"; use a value, or ${operators.join(", ")}`)
  }
  const names = used.map(([name]) => name)
  const clashing = clash(names)
  if (clashing !== undefined) return Result.fail(`"${field}" has the operators ${names.join(", ")}; ${clashing}`)
  const [first] = used
  if (first === undefined) return Result.succeed({})
  const [operator, value] = first
  if (operator === "in") {
    return !Array.isArray(value) || value.length > maxValues
      ? Result.fail(`"${field}" has \`in\` without an array of at most ${maxValues} values`)
      : oneOf(indexed, value)
  }
  if (operator !== "between") return rangeOf(indexed, used)
  return !Array.isArray(value) || value.length !== 2
    ? Result.fail(`"${field}" has \`between\` without an array of two values`)
    : rangeOf(indexed, [["gte", value[0]], ["lte", value[1]]])
}

const clash = (names: ReadonlyArray<string>): string | undefined => {
  const has = (name: string) => names.includes(name)
  if (names.length > 1 && (has("in") || has("between"))) return "`in` and `between` stand alone"
  if (has("gt") && has("gte")) return "use `gt` or `gte`"
  return has("lt") && has("lte") ? "use `lt` or `lte`" : undefined
}

const rangeOf = (
  indexed: IndexedField,
  bounds: ReadonlyArray<readonly [string, unknown]>
): Result.Result<Compiled, string> =>
  Result.flatMap(
    Result.all(bounds.map(([operator, value]) =>
      Result.flatMap(indexed.inFilter(value), (found) => {
        const wrong = wrongBound(indexed.field, found)
        return wrong === undefined ? Result.succeed({ operator, found }) : Result.fail(wrong)
      })
    )),
    (found) => {
      const [first] = found
      const kind = IndexEntry.kindOf(indexed.field, first!.found)
      if (found.some(({ found: { text } }) => text[0] !== first!.found.text[0])) {
        return Result.fail(`"${indexed.field}" has bounds of different types, which no value is between`)
      }
      let { from, to } = kind
      for (const { found: value, operator } of found) {
        const entry = IndexEntry.make(indexed.field, value)
        if (operator === "gt" || operator === "gte") from = operator === "gt" ? IndexEntry.after(entry) : entry
        else to = operator === "lte" ? IndexEntry.after(entry) : entry
      }
      return Result.succeed({ condition: { _tag: "Range", field: indexed.field, from, to } as const })
    }
  )

const wrongBound = (field: string, { isCut, text }: FilterValue): string | undefined => {
  switch (text[0]) {
    case "0":
      return `"${field}" has a bound that is null; use null as a value, without an operator`
    case "1":
      return `"${field}" has a bound that is a boolean; use a value, or \`in\``
  }
  return isCut
    ? `"${field}" has a bound of more than ${IndexEntry.comparedBytes} bytes; strings are compared by their beginning, so use a shorter bound`
    : undefined
}
