/**
 * Random lists of samples, and what a filter and a sort over all documents give.
 *
 * @since 0.1.0
 */
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { ListOptions } from "../projection/ProjectionReader.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import {
  type Field,
  fields,
  type Random,
  randomOf,
  randomValues,
  type Sample,
  type Samples
} from "./DocumentSamples.ts"

/** Compares two values by their meaning, not by their entries. */
const compare = (a: unknown, b: unknown): number => {
  const [rank, other] = [rankOf(a), rankOf(b)]
  if (rank !== other) return rank - other
  if (typeof a === "string" && typeof b === "string") return compareTexts(a, b)
  const [left, right] = [comparableOf(a), comparableOf(b)]
  if (BigDecimal.isBigDecimal(left) && BigDecimal.isBigDecimal(right)) return BigDecimal.Order(left, right)
  return left < right ? -1 : left > right ? 1 : 0
}

const rankOf = (value: unknown): number => {
  if (value === null || value === undefined) return 0
  if (typeof value === "boolean") return 1
  if (typeof value === "number" || typeof value === "bigint" || BigDecimal.isBigDecimal(value)) return 2
  return typeof value === "string" ? 4 : 3
}

const comparableOf = (value: unknown): number | bigint | BigDecimal.BigDecimal => {
  if (value instanceof Date) return value.getTime()
  if (DateTime.isDateTime(value)) return value.epochMilliseconds
  if (Duration.isDuration(value)) return Option.getOrElse(Duration.toNanos(value), () => Duration.toMillis(value))
  if (BigDecimal.isBigDecimal(value) || typeof value === "bigint" || typeof value === "number") return value
  return Number(value ?? 0)
}

const compareTexts = (a: string, b: string): number => {
  const [left, right] = [a, b].map((text) => Array.from(text, (char) => char.codePointAt(0)!)) as [
    Array<number>,
    Array<number>
  ]
  const differing = left.findIndex((code, i) => code !== right[i])
  if (differing === -1) return left.length - right.length
  return differing >= right.length ? 1 : left[differing]! - right[differing]!
}

type Condition = Readonly<Record<string, unknown>> | unknown

const isOperators = (condition: Condition): condition is Readonly<Record<string, unknown>> =>
  typeof condition === "object" && condition !== null && Object.getPrototypeOf(condition) === Object.prototype

const holds = (value: unknown, condition: Condition): boolean => {
  if (!isOperators(condition)) return compare(value, condition) === 0
  const within = (bound: unknown, holds: (difference: number) => boolean) =>
    rankOf(value) === rankOf(bound) && holds(compare(value, bound))
  return Object.entries(condition).every(([operator, bound]) => {
    switch (operator) {
      case "in":
        return (bound as ReadonlyArray<unknown>).some((one) => compare(value, one) === 0)
      case "between": {
        const [from, to] = bound as readonly [unknown, unknown]
        return within(from, (difference) => difference >= 0) && within(to, (difference) => difference <= 0)
      }
      case "gt":
        return within(bound, (difference) => difference > 0)
      case "gte":
        return within(bound, (difference) => difference >= 0)
      case "lt":
        return within(bound, (difference) => difference < 0)
      default:
        return within(bound, (difference) => difference <= 0)
    }
  })
}

/** Values that are not too long for a bound. */
const boundOf = (random: Random, field: Field): unknown => {
  while (true) {
    const value = randomValues(random)[field]
    if (value !== null && value !== undefined && (typeof value !== "string" || value.length < 499)) return value
  }
}

const randomCondition = (random: Random, field: Field): Condition => {
  const value = () => randomValues(random)[field] ?? null
  const valid = () => field === "at" || field === "number" ? boundOf(random, field) : value()
  if (field === "isOpen") return random.below(2) === 0 ? value() : { in: [value()] }
  const [first, second] = [boundOf(random, field), boundOf(random, field)]
  // A range has one type.
  const other = rankOf(first) === rankOf(second) ? second : first
  switch (random.below(7)) {
    case 0:
      return field === "at" ? valid() : value()
    case 1:
      return { in: Array.from({ length: random.below(4) }, valid) }
    case 2:
      return { between: [first, other] }
    case 3:
      return { gte: first }
    case 4:
      return { lt: first }
    case 5:
      return { gt: first, lte: other }
    default:
      return { gte: first, lt: other }
  }
}

/**
 * Returns the options of a random list.
 *
 * @since 0.1.0
 * @category constructors
 */
export const randomList = (seed: number, maxLimit = 7): ListOptions<Samples> & { readonly limit: number } => {
  const random = randomOf(seed)
  const where = Object.fromEntries(
    Array.from({ length: random.below(3) }, () => random.of(fields)).map((
      field
    ) => [field, randomCondition(random, field)])
  )
  const direction = random.of(["asc", "desc"] as const)
  return {
    // Made of values of these fields.
    where: where as NonNullable<ListOptions<Samples>["where"]>,
    orderBy: random.below(4) === 0 ? { direction } : { field: random.of(fields), direction },
    limit: 1 + random.below(maxLimit)
  }
}

/**
 * Returns the ids of the documents of a list, by a filter and a sort over all documents.
 *
 * @since 0.1.0
 * @category accessors
 */
export const expected = (
  documents: ReadonlyArray<Sample>,
  { orderBy: { direction, field } = {}, where = {} }: ListOptions<Samples>
): ReadonlyArray<string> => {
  const ascending = documents
    .filter((document) => Object.entries(where).every(([of, condition]) => holds(document[of as Field], condition)))
    .toSorted((a, b) => (field === undefined ? 0 : compare(a[field], b[field])) || compareTexts(a.id, b.id))
    .map(({ id }) => id)
  return direction === "desc" ? ascending.toReversed() : ascending
}

/**
 * Returns the ids of all documents of a list, page by page.
 *
 * @since 0.1.0
 * @category accessors
 */
export const listed = (projection: Samples, options: ListOptions<Samples>) =>
  Effect.flatMap(ProjectionStore, (store) =>
    Effect.map(
      Stream.runCollect(Stream.paginate(undefined, (after: string | undefined) =>
        Effect.map(store.list(projection, { ...options, after }), ({ items, next }) => {
          if (items.length > (options.limit ?? 100)) {
            throw new Error(`a page has ${items.length} documents`)
          }
          return [
            items.map(({ id }) =>
              id
            ),
            Option.map(next, (cursor): string | undefined => cursor)
          ]
        }))),
      (ids) =>
        Array.from(ids)
    ))
