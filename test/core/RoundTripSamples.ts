/** Schemas that may change a value when they encode and decode it, and values that they change or keep. */
import {
  BigDecimal,
  Chunk,
  DateTime,
  Duration,
  Effect,
  HashMap,
  HashSet,
  Option,
  Result,
  Schema,
  SchemaTransformation
} from "effect"
import { PersonalData } from "../../src/index.ts"

export class Base extends Schema.Class<Base>("Base")({ a: Schema.Int }) {
  /** Not a field of the Schema. */
  cached: string | undefined
}
export class Extended extends Base.extend<Extended>("Extended")({ b: Schema.Int }) {}

export const Lowercase = Schema.String.pipe(Schema.decodeTo(Schema.String, SchemaTransformation.toLowerCase()))
const Trimmed = Schema.String.pipe(Schema.decodeTo(Schema.String, SchemaTransformation.trim()))
const Rounded = Schema.Finite.pipe(
  Schema.decodeTo(Schema.Finite, SchemaTransformation.transform({ decode: (n: number) => n, encode: Math.round }))
)
const Iban = Schema.Struct({ iban: Schema.String })
const Limited = Schema.Struct({ iban: Schema.String, limit: Schema.Int })
const Card = Schema.Struct({ card: Schema.optionalKey(Schema.String) })

interface Tree {
  readonly leaf: string | bigint
  readonly trees: ReadonlyArray<Tree>
}
const Tree: Schema.Codec<Tree, unknown> = Schema.Struct({
  leaf: Schema.Union([Schema.BigInt, Schema.String]),
  trees: Schema.Array(Schema.suspend((): Schema.Codec<Tree, unknown> => Tree))
})

interface Sample {
  readonly schema: Schema.Codec<unknown, unknown>
  readonly kept: ReadonlyArray<unknown>
  /** With the path of the field that the Schema changes. */
  readonly changed: ReadonlyArray<readonly [value: unknown, pointer: string]>
}

const sample = <A>(
  schema: Schema.Codec<A, unknown>,
  kept: ReadonlyArray<NoInfer<A>>,
  changed: ReadonlyArray<readonly [value: NoInfer<A>, pointer: string]>
): Sample => ({ schema, kept, changed })

/** The types of Effect admit all values here; each is a program that compiles. */
export const samples: Readonly<Record<string, Sample>> = {
  "an earlier member with fewer fields": sample(
    Schema.Union([Iban, Limited]),
    [{ iban: "x" }],
    [[{ iban: "x", limit: 5 }, "/limit"]]
  ),
  "an earlier member with more fields": sample(
    Schema.Union([Limited, Iban]),
    [{ iban: "x" }, { iban: "x", limit: 5 }],
    []
  ),
  "a member with optional fields only": sample(
    Schema.Union([Card, Iban]),
    [{ card: "c" }, {}],
    [[{ iban: "x" }, "/iban"]]
  ),
  "a value of two members": sample(Schema.Union([Iban, Card]), [{ iban: "x" }, { card: "c" }], [
    [{ iban: "x", card: "c" }, "/card"]
  ]),
  "elements of overlapping members": sample(Schema.Array(Schema.Union([Card, Iban])), [[{ card: "c" }]], [
    [[{ card: "c" }, { iban: "x" }], "/1/iban"]
  ]),
  "overlapping members in an Option": sample(Schema.Option(Schema.Union([Card, Iban])), [
    Option.none(),
    Option.some({ card: "c" })
  ], [[Option.some({ iban: "x" }), "/value/iban"]]),
  "a record and a struct": sample(
    Schema.Union([Iban, Schema.Record(Schema.String, Schema.String)]),
    [{ iban: "x" }, { a: "b" }],
    [[{ iban: "x", a: "b" }, "/a"]]
  ),
  "a record with checked keys": sample(
    Schema.Record(Schema.String.check(Schema.isPattern(/^[A-Z]{3}$/)), Schema.Int),
    [{}, { EUR: 1, USD: 2 }],
    [[{ EUR: 1, usd: 2 }, "/usd"]]
  ),
  "a record with keys of a template": sample(
    Schema.Record(Schema.TemplateLiteral(["x-", Schema.String]), Schema.Int),
    [{ "x-a": 1 }],
    [[{ "x-a": 1, a: 2 } as Record<`x-${string}`, number>, "/a"]]
  ),
  "a recursive Schema": sample(Tree, [{ leaf: 5n, trees: [{ leaf: "x", trees: [] }] }], [
    [{ leaf: "x", trees: [{ leaf: "5", trees: [] }] }, "/trees/0/leaf"]
  ]),
  "a class": sample(Base, [new Base({ a: 1 })], [
    [new Extended({ a: 1, b: 2 }), ""]
  ]),
  "a class and its subclass": sample(Schema.Union([Base, Extended]), [new Base({ a: 1 })], [
    [new Extended({ a: 1, b: 2 }), ""]
  ]),
  "a subclass and its class": sample(
    Schema.Union([Extended, Base]),
    [new Base({ a: 1 }), new Extended({ a: 1, b: 2 })],
    []
  ),
  "bigints and strings": sample(Schema.Union([Schema.BigInt, Schema.String]), [5n, "x"], [["5", ""]]),
  "numbers and strings": sample(Schema.Union([Schema.Number, Schema.String]), [5, NaN, "5"], [["NaN", ""], [
    "Infinity",
    ""
  ]]),
  "literals that encode alike": sample(Schema.Literals(["5", 5n]), ["5"], [[5n, ""]]),
  "dates and strings": sample(Schema.Union([Schema.Date, Schema.String]), [new Date(0), "x"], [
    ["1970-01-01T00:00:00.000Z", ""]
  ]),
  "URLs and strings": sample(Schema.Union([Schema.URL, Schema.String]), [new URL("http://a.b/"), "x"], [
    ["http://a.b/", ""]
  ]),
  "bytes and strings": sample(Schema.Union([Schema.Uint8Array, Schema.String]), [new Uint8Array([1, 2])], [
    ["abcd", ""]
  ]),
  "maps and arrays": sample(
    Schema.Union([
      Schema.ReadonlyMap(Schema.String, Schema.Int),
      Schema.Array(Schema.Tuple([Schema.String, Schema.Int]))
    ]),
    [new Map([["a", 1]])],
    [[[["a", 1]], ""]]
  ),
  "sets and arrays": sample(Schema.Union([Schema.ReadonlySet(Schema.Int), Schema.Array(Schema.Int)]), [new Set([1])], [
    [[1, 2, 2], ""]
  ]),
  "an Option and a struct": sample(Schema.Union([Schema.Option(Schema.Int), Schema.TaggedStruct("None", {})]), [
    Option.none(),
    Option.some(1)
  ], [[{ _tag: "None" }, ""]]),
  "null and undefined": sample(Schema.Array(Schema.NullishOr(Schema.Int)), [[null, 1]], [[[1, undefined], "/1"]]),
  "an optional field that may be null": sample(
    Schema.Struct({ note: Schema.optional(Schema.NullOr(Schema.String)) }),
    [{}, { note: null }, { note: "x" }],
    [[{ note: undefined }, "/note"]]
  ),
  "OptionFromNullOr of null": sample(
    Schema.OptionFromNullOr(Schema.NullOr(Schema.Int)),
    [Option.none(), Option.some(1)],
    [[Option.some(null), ""]]
  ),
  "any object": sample(Schema.ObjectKeyword, [{ a: 1 }, [1]], [[new Date(0), ""], [new Map([[1, 2]]), ""]]),
  "a struct without fields": sample(Schema.Struct({}), [{}], []),
  "a transformation to lower case": sample(Schema.Struct({ email: Lowercase }), [{ email: "a@x" }], [
    [{ email: "A@x" }, "/email"]
  ]),
  "a transformation that trims": sample(Trimmed, ["a"], [[" a ", ""]]),
  "a transformation that rounds": sample(Rounded, [2], [[1.4, ""]]),
  "numbers from strings": sample(Schema.FiniteFromString, [1.5], [[-0, ""]]),
  "keys of a record in lower case": sample(Schema.Record(Lowercase, Schema.Int), [{ a: 1 }], [[{ A: 1 }, "/A"]]),
  "a time zone's offset": sample(Schema.DateTimeZoned, [
    DateTime.makeZonedUnsafe(1_700_000_000_000, { timeZone: "Europe/Berlin" }),
    DateTime.makeZonedUnsafe(1_700_000_000_000, { timeZone: 3_600_000 })
  ], [[DateTime.makeZonedUnsafe(1_700_000_000_000, { timeZone: 1_234_567 }), ""]]),
  "numbers of any scale": sample(Schema.BigDecimal, [BigDecimal.make(123n, 2), BigDecimal.make(100n, 2)], []),
  "a default": sample(
    Schema.Struct({ a: Schema.Int.pipe(Schema.withDecodingDefaultKey(Effect.succeed(7))) }),
    [{ a: 0 }, { a: 7 }],
    []
  ),
  "personal data": sample(
    Schema.Struct({
      id: Schema.String,
      name: PersonalData.field(Schema.Struct({ last: Lowercase }), { subject: "id" })
    }),
    [{ id: "1", name: { last: "x" } }],
    [[{ id: "1", name: { last: "X" } }, "/name/last"]]
  )
}

const Kinds = Schema.TaggedUnion({
  A: { at: Schema.optional(Schema.Date), n: Schema.Number },
  B: { at: Schema.NullOr(Schema.DateTimeUtc), note: Schema.optionalKey(Schema.String) }
})

interface List {
  readonly next: List | null
}
const List: Schema.Codec<List> = Schema.Struct({ next: Schema.NullOr(Schema.suspend((): Schema.Codec<List> => List)) })

/** Schemas that change no value, so that nothing is compared. */
export const exact: Readonly<
  Record<string, readonly [schema: Schema.Codec<unknown, unknown>, ...values: Array<unknown>]>
> = {
  scalars: [
    Schema.Struct({ s: Schema.String, i: Schema.Int, n: Schema.Number, b: Schema.Boolean, big: Schema.BigInt }),
    { s: "NaN", i: -0, n: NaN, b: true, big: 5n },
    { s: "", i: 1, n: -Infinity, b: false, big: -5n }
  ],
  "optional fields": [
    Schema.Struct({ a: Schema.optional(Schema.Number), b: Schema.optionalKey(Schema.NullOr(Schema.Date)) }),
    {},
    { a: undefined, b: null },
    { a: NaN, b: new Date(5) }
  ],
  "brands and checks": [Schema.String.check(Schema.isMinLength(1)).pipe(Schema.brand("Id")), "x"],
  "a union of scalars": [Schema.Union([Schema.String, Schema.Literal("a"), Schema.Int, Schema.Null]), "a", 1, null],
  literals: [Schema.Literals(["a", "5", 6n, 1, true]), "a", "5", 6n, 1, true],
  enums: [Schema.Enum({ A: 0, B: "0" }), 0, "0"],
  "tagged unions": [
    Schema.Array(Kinds),
    [{ _tag: "A", at: undefined, n: 1 }, { _tag: "B", at: DateTime.makeUnsafe(5), note: "x" }]
  ],
  recursion: [List, { next: { next: null } }],
  records: [Schema.Record(Schema.String, Schema.Int), { a: 1, "": 2 }],
  tuples: [Schema.TupleWithRest(Schema.Tuple([Schema.Int]), [Schema.String, Schema.Int]), [1, "a", "b", 2]],
  durations: [Schema.Duration, Duration.millis(1.5), Duration.nanos(1n), Duration.infinity, Duration.millis(-5)],
  times: [Schema.DateTimeUtc, DateTime.makeUnsafe(0), DateTime.makeUnsafe(-1e14)],
  collections: [
    Schema.Tuple([
      Schema.ReadonlyMap(Schema.String, Schema.Int),
      Schema.ReadonlySet(Schema.Number),
      Schema.HashMap(Schema.String, Schema.Int),
      Schema.HashSet(Schema.Int),
      Schema.Chunk(Schema.Int)
    ]),
    [new Map([["__proto__", 1]]), new Set([NaN]), HashMap.make(["a", 1]), HashSet.make(1), Chunk.make(1, 2)]
  ],
  "an Option of an Option": [
    Schema.Option(Schema.Option(Schema.UndefinedOr(Schema.Int))),
    Option.none(),
    Option.some(Option.none()),
    Option.some(Option.some(undefined))
  ],
  results: [Schema.Result(Schema.Int, Schema.String), Result.succeed(1), Result.fail("x")],
  bytes: [Schema.Uint8Array, new Uint8Array([0, 255])],
  "URLs and patterns": [Schema.Tuple([Schema.URL, Schema.RegExp]), [new URL("http://a.b/ä?x#y"), /a\/b/giu]],
  "any JSON": [Schema.Union([Schema.Json]), { a: [1, null] }],
  unknown: [Schema.Unknown, { a: -0 }],
  "personal data": [
    Schema.Struct({
      id: Schema.String,
      name: PersonalData.field(Schema.String, { subject: "id" }),
      born: PersonalData.field(Schema.Date, { subject: "id" })
    }),
    { id: "1", name: "x", born: new Date(5) },
    { id: "1", name: { _tag: "Erased", subject: "1" }, born: { _tag: "Erased", subject: "1" } }
  ]
}
