/**
 * Cases about lists of documents: filters, orders and pages, compared with a filter and a sort over all documents.
 *
 * @since 0.1.0
 */
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import * as DocumentCodec from "../projection/DocumentCodec.ts"
import * as Projection from "../projection/ProjectionDefinition.ts"
import type { ListOptions } from "../projection/ProjectionReader.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import { type Case, equal, includes, test, unique } from "./Suite.ts"

/**
 * An event of the projection `samples`, which no case appends unless it says so.
 *
 * @since 0.1.0
 * @category models
 */
export const Sampled = Schema.TaggedUnion({ Sampled: { id: Schema.String, sample: Schema.Int } })

/**
 * A document with a field of every type that has an order.
 *
 * @since 0.1.0
 * @category models
 */
export const Sample = Schema.Struct({
  id: Schema.String,
  number: Schema.NullOr(Schema.Number),
  big: Schema.BigInt,
  decimal: Schema.BigDecimal,
  text: Schema.String,
  isOpen: Schema.Boolean,
  at: Schema.optionalKey(Schema.DateTimeUtc),
  day: Schema.Date,
  kind: Schema.Literals(["a", "b", "c"]),
  either: Schema.Union([Schema.String, Schema.Finite]),
  asText: Schema.NumberFromString
})

type Sample = typeof Sample.Type

const fields = [
  "number",
  "big",
  "decimal",
  "text",
  "isOpen",
  "at",
  "day",
  "kind",
  "either",
  "asText"
] as const
type Field = typeof fields[number]

/**
 * The definition of a projection of samples, with an index on every field.
 *
 * @since 0.1.0
 * @category models
 */
export const definition = {
  events: Sampled,
  document: Sample,
  index: fields,
  key: (event: typeof Sampled.Type) => event.id,
  evolve: { Sampled: (_: Sample | undefined, { id, sample }: typeof Sampled.Type) => sampleOf(id, sample) }
} as const

const samples = () => Projection.make(unique("samples"), definition)

type Samples = ReturnType<typeof samples>

const numbers = [null, -Infinity, -1e300, -12.5, -12, -0, 0, 5e-324, 0.1, 1, 9, 10, 12, 12.5, 100, 1e21, Infinity]
const bigs = [-(10n ** 40n), -124n, -12n, 0n, 9n, 10n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 10n ** 40n]
const decimals = ["-1.5", "0", "0.001", "1.50", "9", "10", "10.01", "9007199254740993.5"]
const texts = [
  "",
  "\u0000",
  "\u0001",
  "\u0002",
  "\u0003",
  "\u001e",
  "\u001f",
  " ",
  "!",
  "%",
  "0",
  "10",
  "9",
  "=",
  "Z",
  "a",
  "a\u0000",
  "a\u0001",
  "a ",
  "aa",
  "ab",
  "b",
  "z",
  "~",
  "ä",
  "ß",
  "\ud7ff",
  "\ud800",
  "\udfff",
  "\ue000",
  "\uffff",
  "💶",
  "💶a",
  "x".repeat(499),
  "x".repeat(500),
  "x".repeat(500) + "a",
  "x".repeat(499) + "💶"
]
const times = [-62_135_596_800_000, -1, 0, 1, 999, 1000, 1_700_000_000_000, 253_402_300_800_000]
const kinds = ["a", "b", "c"] as const

/** Numbers below `n`, the same for the same seed. */
const randomOf = (seed: number) => {
  let state = seed
  const below = (n: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor(state / 2 ** 32 * n)
  }
  return { below, of: <A>(values: ReadonlyArray<A>): A => values[below(values.length)]! }
}

type Random = ReturnType<typeof randomOf>

const randomValues = ({ below, of }: Random): Omit<Sample, "id"> => ({
  number: of(numbers),
  big: of(bigs),
  decimal: BigDecimal.fromStringUnsafe(of(decimals)),
  text: of(texts),
  isOpen: below(2) === 0,
  ...(below(4) === 0 ? {} : { at: DateTime.makeUnsafe(of(times)) }),
  day: DateTime.toDateUtc(DateTime.makeUnsafe(of(times))),
  kind: of(kinds),
  either: below(2) === 0 ? of(texts) : of([-12.5, 0, 9, 10]),
  asText: of([-1.5, 0, 9, 10, 100])
})

/**
 * Returns the sample of a number.
 *
 * @since 0.1.0
 * @category constructors
 */
export const sampleOf = (id: string, seed: number): Sample => ({ id, ...randomValues(randomOf(seed)) })

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

/** Writes documents past a projector. */
const write = Effect.fnUntraced(function*(projection: Samples, documents: ReadonlyArray<Sample>) {
  const driver = (yield* ProjectionStore)[internals].driver
  const { encode } = DocumentCodec.of(projection)
  const changes = documents.map((document) => Result.getOrThrow(encode(document.id, document)))
  const { assigned: [assigned] } = yield* driver.claim({
    consumer: projection.id,
    owner: "me",
    partitions: 1,
    partitionedBy: "document",
    lease: Duration.minutes(1)
  })
  const { epoch, position } = assigned!
  const advanced = yield* driver.advance({
    generation: projection.id,
    partition: 0,
    epoch,
    from: position,
    to: Position.make(position + 1n),
    changes,
    applied: []
  })
  equal(advanced, "advanced", "written")
})

const invalid = (options: ListOptions<Samples>) =>
  Effect.gen(function*() {
    const error = yield* Effect.flip((yield* ProjectionStore).list(samples(), options))
    equal(error._tag === "EventStoreError" ? error.reason._tag : error._tag, "InvalidRequest", "the reason")
    return error.message
  })

/** What a program without types may pass. */
const untyped = (options: unknown) => invalid(options as ListOptions<Samples>)

const lists: ReadonlyArray<Case<ProjectionStore>> = [1, 2, 3].map((seed) =>
  test(`lists by filter, order and page what a filter and a sort over all documents give (seed ${seed})`, function*() {
    const projection = samples()
    const ids = ["", "Z", "a", "ü", "\uff5a", "𝔘"].flatMap((prefix) =>
      Array.from({ length: 8 }, (_, n) => `${prefix}${n}`)
    )
    let documents = ids.map((id, n) => sampleOf(id, seed * 1000 + n))
    yield* write(projection, documents)
    for (let n = 0; n < 60; n++) {
      const options = randomList(seed * 10_000 + n)
      equal(yield* listed(projection, options), expected(documents, options), show(options))
      if (n % 20 !== 19) continue
      // Indexes follow documents that change and are removed.
      documents = documents.map(({ id }, i) => sampleOf(id, seed * 100_000 + n * 100 + i))
      yield* write(projection, documents)
    }
  })
)

const show = (options: ListOptions<Samples>): string =>
  JSON.stringify(options, (_, value: unknown) => typeof value === "bigint" ? `${value}n` : value)

const pages: ReadonlyArray<Case<ProjectionStore>> = [
  test("a page after a cursor follows what is written between the pages", function*() {
    const projection = samples()
    const store = yield* ProjectionStore
    const of = (id: string, number: number) => ({ ...sampleOf(id, 1), number })
    yield* write(projection, [of("a", 10), of("b", 20), of("c", 30), of("d", 40)])
    const options = { orderBy: { field: "number" }, limit: 2 } as const
    const first = yield* store.list(projection, options)
    equal(first.items.map(({ id }) => id), ["a", "b"], "the first page")
    // "a" moves ahead of the cursor and is seen again; "d" moves behind it and is not seen; "e" is new.
    yield* write(projection, [of("a", 35), of("d", 5), of("e", 20.5)])
    const rest = yield* store.list(projection, { ...options, limit: 9, after: Option.getOrThrow(first.next) })
    equal(rest.items.map(({ id }) => id), ["e", "c", "a"], "the second page")
  }),

  test("rejects the cursor of another order, filter or projection", function*() {
    const [projection, other] = [samples(), samples()]
    const store = yield* ProjectionStore
    for (const one of [projection, other]) yield* write(one, ["a", "b", "c"].map((id, n) => sampleOf(id, n)))
    const options = { orderBy: { field: "number" }, limit: 1 } as const
    const after = Option.getOrThrow((yield* store.list(projection, options)).next)
    equal((yield* store.list(projection, { ...options, limit: 2, after })).items.length, 2, "with another limit")
    const rejected = Effect.fnUntraced(function*(list: Samples, options: ListOptions<Samples>) {
      const error = yield* Effect.flip(store.list(list, options))
      equal(error._tag === "EventStoreError" ? error.reason._tag : error._tag, "InvalidRequest", "the reason")
      includes(error.message, "`after`", "the message")
    })
    yield* rejected(projection, { after })
    yield* rejected(projection, { orderBy: { field: "number", direction: "desc" }, after })
    yield* rejected(projection, { orderBy: { field: "big" }, after })
    yield* rejected(projection, { ...options, where: { kind: "a" }, after })
    yield* rejected(other, { ...options, after })
    for (const text of ["", "a", "?", `${after}x`, after.slice(1), "bnVsbA"]) {
      yield* rejected(projection, { ...options, after: text })
    }
  }),

  test("rejects filters and orders that no index can answer", function*() {
    includes(yield* untyped({ where: { id: "a" } }), `no index on "id"; it has number`, "a field without an index")
    includes(yield* untyped({ orderBy: { field: "id" } }), `no index on "id"`, "an order without an index")
    includes(yield* untyped({ orderBy: { field: "number", direction: "down" } }), `"asc" or "desc"`, "a direction")
    includes(
      yield* untyped({ where: { number: { above: 1 } } }),
      `no operator "above"; use a value, or in, gt`,
      "an operator"
    )
    includes(
      yield* untyped({ where: { number: { gte: "1" } } }),
      `"number" does not satisfy its Schema`,
      "a bound's type"
    )
    includes(yield* untyped({ where: { number: "1" } }), `"number" does not satisfy its Schema`, "a value's type")
    includes(yield* invalid({ where: { number: NaN } }), "NaN", "a value that is NaN")
    includes(yield* invalid({ where: { number: { lt: NaN } } }), "NaN", "a bound that is NaN")
    includes(yield* untyped({ where: { number: { lt: null } } }), "null", "a bound that is null")
    includes(yield* untyped({ where: { isOpen: { gt: false } } }), "boolean", "a bound that is a boolean")
    includes(yield* invalid({ where: { number: { gt: 1, gte: 1 } } }), "use `gt` or `gte`", "two lower bounds")
    includes(yield* invalid({ where: { number: { in: [1], lt: 1 } } }), "stand alone", "`in` with a bound")
    includes(yield* untyped({ where: { number: { between: [1] } } }), "two values", "`between` with one value")
    includes(yield* invalid({ where: { either: { gte: 1, lt: "a" } } }), "different types", "bounds of two types")
    includes(yield* invalid({ where: { text: { gte: "x".repeat(501) } } }), "500 bytes", "a long bound")
    const many = Array.from({ length: 1001 }, (_, n) => n)
    includes(yield* invalid({ where: { number: { in: many } } }), "at most 1000", "too many values")
    includes(yield* invalid({ limit: 10_001 }), "10000", "a large page")
  }),

  test("an operator that is undefined, and a range that is empty, are no errors", function*() {
    const projection = samples()
    const documents = ["a", "b", "c"].map((id, n) => sampleOf(id, n))
    yield* write(projection, documents)
    equal((yield* listed(projection, { where: { big: { gte: undefined } } })).length, 3, "undefined")
    equal(yield* listed(projection, { where: { number: { between: [2, 1] } } }), [], "an empty range")
    equal(yield* listed(projection, { where: { number: { in: [] } } }), [], "no values")
  }),

  test("rejects an index on what is no field, and a document without a place in the order", function*() {
    const wrong = (index: ReadonlyArray<string>) => {
      try {
        // What a program without types may pass.
        Projection.make("wrong", { ...definition, index: index as ReadonlyArray<Field> })
        return "accepted"
      } catch (error) {
        return String(error)
      }
    }
    includes(wrong(["totl"]), `cannot index "totl", which is no field of its document; it has id, number`, "a field")
    includes(wrong(["kind", "kind"]), `names "kind" twice`, "the same field")
    includes(wrong(["x".repeat(61)]), "at most 60 characters", "a long name")
    const { encode } = DocumentCodec.of(samples())
    const encoded = encode("k", { ...sampleOf("k", 1), number: NaN })
    includes(Result.isFailure(encoded) ? encoded.failure : "", `"number" is NaN`, "a document with NaN")
    const long = encode("k", { ...sampleOf("k", 1), big: 10n ** 401n + 1n })
    includes(Result.isFailure(long) ? long.failure : "", "402 significant digits", "a document with a large bigint")
    yield* ProjectionStore
  }),

  test("lists documents of a union and of a class", function*() {
    class Visit extends Schema.Class<Visit>(unique("Visit"))({ id: Schema.String, at: Schema.DateTimeUtc }) {}
    const fields = { id: Schema.String, at: Schema.DateTimeUtc, note: Schema.Option(Schema.String) }
    const Either = Schema.Union([Schema.TaggedStruct("Call", fields), Schema.TaggedStruct("Mail", fields)])
    const at = [5, -7, 3].map((millis) => DateTime.makeUnsafe(millis))
    const note = Option.some("n")
    const shared = { events: Sampled, key: ({ id }: typeof Sampled.Type) => id }
    const visits = Projection.make(unique("visits"), {
      ...shared,
      document: Visit,
      index: ["at"],
      evolve: { Sampled: Projection.ignore }
    })
    const contacts = Projection.make(unique("contacts"), {
      ...shared,
      document: Either,
      index: ["at", "note"],
      evolve: { Sampled: Projection.ignore }
    })
    const store = yield* ProjectionStore
    const put = (projection: typeof visits | typeof contacts, of: (id: string, at: DateTime.Utc) => unknown) => {
      const { encode } = DocumentCodec.of(projection)
      const changes = at.map((at, n) => Result.getOrThrow(encode(`${n}`, of(`${n}`, at))))
      return store[internals].driver.write([{ generation: projection.id, changes }])
    }
    yield* put(visits, (id, at) => new Visit({ id, at }))
    yield* put(contacts, (id, at) => ({ _tag: id === "0" ? "Call" : "Mail", id, at, note }))
    const options = { where: { at: { lt: at[0] } }, orderBy: { field: "at", direction: "desc" } } as const
    equal((yield* store.list(visits, options)).items.map(({ id }) => id), ["2", "1"], "instances of a class")
    equal((yield* store.list(contacts, options)).items.map(({ id }) => id), ["2", "1"], "members of a union")
    equal((yield* store.list(contacts, { orderBy: { field: "at" } })).items.length, 3, "all members")
    // A silent mismatch of the stored form and the value would find nothing.
    const error = yield* Effect.flip(store.list(contacts, { where: { note } }))
    includes(error.message, `"note" cannot be compared`, "a value that has another form when it is stored")
  }),

  test("does not mistake long texts with one beginning for each other", function*() {
    const projection = samples()
    const store = yield* ProjectionStore
    const long = ["a", "b", "c"].map((end) => "x".repeat(600) + end)
    yield* write(projection, long.map((text, n) => ({ ...sampleOf(`${n}`, n), text })))
    for (const [n, text] of long.entries()) {
      equal((yield* store.list(projection, { where: { text } })).items.map(({ id }) => id), [`${n}`], "one")
    }
    equal((yield* listed(projection, { where: { text: { in: long.slice(1) } } })).length, 2, "two")
    equal(
      yield* listed(projection, { where: { text: { gt: "x".repeat(500), lt: "y" } }, limit: 9 }).pipe(
        Effect.map((ids) => ids.length)
      ),
      3,
      "above their beginning"
    )
    equal(
      (yield* listed(projection, { orderBy: { field: "text", direction: "desc" }, limit: 1 })).length,
      3,
      "each once"
    )
  })
]

const reindexing: ReadonlyArray<Case<ProjectionStore>> = [
  test("a list that uses an index which older code did not write fails until reindex has added it", function*() {
    const projection = samples()
    const store = yield* ProjectionStore
    const driver = store[internals].driver
    const documents = Array.from({ length: 20 }, (_, n) => sampleOf(`k${n}`, n))
    yield* write(projection, documents)
    const { encode } = DocumentCodec.of(projection)
    /** What code with an index on `kind` alone, or without an index, writes. */
    const asBefore = (document: Sample, hasKind: boolean) => {
      const change = Result.getOrThrow(encode(document.id, document))
      return {
        ...change,
        indexed: hasKind ? [",kind,", ...change.indexed.filter((entry) => entry.startsWith("kind="))] : []
      }
    }
    const writeAsBefore = (n: number, hasKind: boolean) =>
      driver.write([{ generation: projection.id, changes: [asBefore(documents[n]!, hasKind)] }])
    const options = { where: { big: { gte: 0n } }, orderBy: { field: "text" }, limit: 100 } as const
    const list = store.list(projection, options)
    const tagOf = Effect.map(
      Effect.result(list),
      (found) =>
        Result.isSuccess(found)
          ? "listed"
          : found.failure._tag === "EventStoreError"
          ? found.failure.reason._tag
          : "other"
    )
    equal(yield* tagOf, "listed", "before")
    yield* writeAsBefore(3, true)
    equal(yield* tagOf, "IndexIncomplete", "with another index")
    equal((yield* store.list(projection, { where: { kind: "a" } })).items.length > 0, true, "by the index that it has")
    equal((yield* store.list(projection)).items.length, 20, "without an index")
    yield* writeAsBefore(4, false)
    equal((yield* Effect.flip(store.list(projection, { where: { kind: "a" } })))._tag, "EventStoreError", "without it")
    includes((yield* Effect.flip(list)).message, "an index on big, text", "the message")
    yield* store.reindex(projection)
    equal(yield* listed(projection, options), expected(documents, options), "after reindex")
    // A document that was removed has no entries, and none are left of it.
    yield* driver.write([{ generation: projection.id, changes: [{ key: "k3", document: undefined, indexed: [] }] }])
    equal(yield* listed(projection, options), expected(documents.filter(({ id }) => id !== "k3"), options), "removed")
    yield* writeAsBefore(4, false)
    yield* driver.write([{ generation: projection.id, changes: [{ key: "k4", document: undefined, indexed: [] }] }])
    equal(yield* tagOf, "listed", "without the document that lacked it")
  }),

  test("reindex leaves a document alone that is written meanwhile", function*() {
    const projection = samples()
    const driver = (yield* ProjectionStore)[internals].driver
    const document = sampleOf("k", 1)
    const change = Result.getOrThrow(DocumentCodec.of(projection).encode("k", document))
    const write = (indexed: ReadonlyArray<string>) =>
      driver.write([{ generation: projection.id, changes: [{ ...change, indexed }] }])
    yield* write([])
    const { documents: [found], generation } = yield* driver.unindexed(projection.id, ["kind"], 10)
    yield* write(change.indexed)
    yield* driver.reindex(generation, [{ key: "k", revision: found!.revision, indexed: [",kind,", "kind=4stale"] }])
    equal(yield* listed(projection, { where: { kind: document.kind } }), ["k"], "the newer entries")
    equal((yield* driver.unindexed(projection.id, ["kind"], 10)).documents.length, 0, "nothing is left to do")
  })
]

/**
 * The cases.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases: ReadonlyArray<Case<ProjectionStore>> = [...lists, ...pages, ...reindexing]
