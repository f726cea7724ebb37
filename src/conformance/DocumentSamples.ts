/**
 * Documents with a field of every type that has an order, and the projection of them.
 *
 * @since 0.1.0
 */
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as ConsumerReads from "../consumer/ConsumerReads.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import * as DocumentCodec from "../projection/DocumentCodec.ts"
import * as Projection from "../projection/ProjectionDefinition.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import { equal, unique } from "./Suite.ts"

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
  asText: Schema.NumberFromString,
  lasts: Schema.Duration
})

/**
 * A document of `Sample`.
 *
 * @since 0.1.0
 * @category models
 */
export type Sample = typeof Sample.Type

/**
 * The indexed fields of `Sample`.
 *
 * @since 0.1.0
 * @category models
 */
export const fields = [
  "number",
  "big",
  "decimal",
  "text",
  "isOpen",
  "at",
  "day",
  "kind",
  "either",
  "asText",
  "lasts"
] as const
/**
 * One of `fields`.
 *
 * @since 0.1.0
 * @category models
 */
export type Field = typeof fields[number]

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

/**
 * Returns a projection of samples with a name of its own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const samples = () => Projection.make(unique("samples"), definition)

/**
 * A projection of samples.
 *
 * @since 0.1.0
 * @category models
 */
export type Samples = ReturnType<typeof samples>

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
const durations = [
  Duration.negativeInfinity,
  Duration.millis(-3),
  Duration.zero,
  Duration.nanos(1n),
  Duration.millis(1),
  Duration.nanos(1_000_000n),
  Duration.nanos(1_000_001n),
  Duration.days(400),
  Duration.infinity
]
const kinds = ["a", "b", "c"] as const

/**
 * Returns a source of numbers below `n`, the same for the same seed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const randomOf = (seed: number) => {
  let state = seed
  const below = (n: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor(state / 2 ** 32 * n)
  }
  return { below, of: <A>(values: ReadonlyArray<A>): A => values[below(values.length)]! }
}

/**
 * A source of random numbers and values.
 *
 * @since 0.1.0
 * @category models
 */
export type Random = ReturnType<typeof randomOf>

/**
 * Returns the fields of a random sample.
 *
 * @since 0.1.0
 * @category constructors
 */
export const randomValues = ({ below, of }: Random): Omit<Sample, "id"> => ({
  number: of(numbers),
  big: of(bigs),
  decimal: BigDecimal.fromStringUnsafe(of(decimals)),
  text: of(texts),
  isOpen: below(2) === 0,
  ...(below(4) === 0 ? {} : { at: DateTime.makeUnsafe(of(times)) }),
  day: DateTime.toDateUtc(DateTime.makeUnsafe(of(times))),
  kind: of(kinds),
  either: below(2) === 0 ? of(texts) : of([-12.5, 0, 9, 10]),
  asText: of([-1.5, 0, 9, 10, 100]),
  lasts: of(durations)
})

/**
 * Returns the sample of a number.
 *
 * @since 0.1.0
 * @category constructors
 */
export const sampleOf = (id: string, seed: number): Sample => ({ id, ...randomValues(randomOf(seed)) })

/**
 * Writes documents past a projector.
 *
 * @since 0.1.0
 * @category combinators
 */
export const write = Effect.fnUntraced(function*(projection: Samples, documents: ReadonlyArray<Sample>) {
  const driver = (yield* ProjectionStore)[internals].driver
  const { encode } = DocumentCodec.of(projection)
  const changes = documents.map((document) => Result.getOrThrow(encode(document.id, document)))
  const { assigned: [assigned] } = yield* driver.claim({
    consumer: projection.id,
    owner: "me",
    partitions: 1,
    partitionedBy: "document",
    reads: ConsumerReads.format(ConsumerReads.of(projection)),
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
