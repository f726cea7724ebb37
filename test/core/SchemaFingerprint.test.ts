import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, SchemaTransformation } from "effect"
import { SchemaFingerprint } from "evsrc"

interface Category {
  readonly name: string
  readonly children: ReadonlyArray<Category>
}

const category = (name: Schema.Codec<string>) => {
  const self: Schema.Codec<Category> = Schema.Struct({
    name,
    children: Schema.Array(Schema.suspend((): Schema.Codec<Category> => self))
  })
  return self
}

interface Expression {
  readonly operands: ReadonlyArray<Operation>
}
interface Operation {
  readonly sign: string
  readonly left: Expression
  readonly right: Expression
}

const expression = (signs: ReadonlyArray<string>) => {
  const self: Schema.Codec<Expression> = Schema.Struct({
    operands: Schema.Array(Schema.suspend((): Schema.Codec<Operation> => operation))
  })
  const operation: Schema.Codec<Operation> = Schema.Struct({
    sign: Schema.Literals(signs),
    left: Schema.suspend(() => self),
    right: Schema.suspend(() => self)
  })
  return self
}

class Money extends Schema.Class<Money>("Money")({ amount: Schema.BigInt, currency: Schema.String }) {}
class Sum extends Schema.Class<Sum>("Sum")({ currency: Schema.String, amount: Schema.BigInt }) {}
class Price extends Schema.Class<Price>("Price")({ amount: Schema.Int, currency: Schema.String }) {}

const Colour = { Red: "red", Blue: "blue" } as const
const Paint = { Azure: "blue", Crimson: "red" } as const

const { Struct, String, Int, Number, optionalKey } = Schema
const filter = (representation?: { readonly id: string; readonly payload: Schema.Json }) =>
  String.check(
    Schema.makeFilter((text: string) => text.length % 2 === 0, representation === undefined ? {} : { representation })
  )

const upper = <S extends Schema.Codec<string>>(from: S) =>
  from.pipe(Schema.decodeTo(
    String,
    SchemaTransformation.transform({ decode: (text: string) => text.toUpperCase(), encode: (text: string) => text })
  ))

const equal: ReadonlyArray<readonly [string, Schema.Top, Schema.Top]> = [
  ["written twice", Struct({ a: String, b: Int }), Struct({ a: String, b: Int })],
  ["fields in another order", Struct({ a: String, b: Int }), Struct({ b: Int, a: String })],
  [
    "documentation",
    Struct({ a: String }),
    Struct({ a: String.annotate({ title: "A", description: "an a", examples: ["a"] }) })
      .annotate({ description: "all" })
  ],
  [
    "documentation of a key",
    Struct({ a: String }),
    Struct({ a: String.pipe(Schema.annotateKey({ description: "a" })) })
  ],
  ["documentation of a check", Schema.NonEmptyString, Schema.NonEmptyString.annotate({ description: "some" })],
  ["an identifier", Struct({ a: String }), Struct({ a: String }).annotate({ identifier: "A" })],
  ["a brand", String, String.pipe(Schema.brand("Name"))],
  ["a class renamed, its fields moved", Money, Sum],
  [
    "a default of the constructor",
    Struct({ a: String }),
    Struct({
      a: String.pipe(Schema.withConstructorDefault(Effect.succeed("a")))
    })
  ],
  ["literals in another order", Schema.Literals(["a", "b"]), Schema.Literals(["b", "a"])],
  ["an enum's names", Schema.Enum(Colour), Schema.Enum(Paint)],
  ["a mutable key", Struct({ a: String }), Struct({ a: Schema.mutableKey(String) })],
  ["recursion", category(String), category(String)],
  ["mutual recursion", expression(["+", "-"]), expression(["-", "+"])],
  ["the type of a JSON codec", Struct({ a: Schema.Date }), Schema.toCodecJson(Struct({ a: Schema.Date }))]
]

const different: ReadonlyArray<readonly [string, ReadonlyArray<Schema.Top>]> = [
  ["primitives", [
    String,
    Number,
    Int,
    Schema.Boolean,
    Schema.BigInt,
    Schema.Null,
    Schema.Date,
    Schema.DateTimeUtc,
    Schema.Unknown
  ]],
  ["literals", [Schema.Literal("1"), Schema.Literal(1), Schema.Literal(1n), Schema.Literal("1n"), Schema.Literal("2")]],
  ["sets of literals", [Schema.Literals(["a", "b"]), Schema.Literals(["a"]), Schema.Literals(["a", "b", "c"])]],
  ["enums", [Schema.Enum(Colour), Schema.Enum({ Red: "red" }), Schema.Literals(["red", "blue"])]],
  ["fields", [
    Struct({}),
    Struct({ a: String }),
    Struct({ b: String }),
    Struct({ a: Int }),
    Struct({ a: String, b: String }),
    Struct({ "a: $0, b": String })
  ]],
  ["optionality", [
    Struct({ a: String }),
    Struct({ a: optionalKey(String) }),
    Struct({ a: Schema.optional(String) }),
    Struct({ a: Schema.NullOr(String) }),
    Struct({ a: Schema.UndefinedOr(String) }),
    Struct({ a: String.pipe(Schema.withDecodingDefaultKey(Effect.succeed("a"))) })
  ]],
  ["arrays", [
    Schema.Array(String),
    Schema.Array(Int),
    Schema.NonEmptyArray(String),
    Schema.Tuple([String]),
    Schema.Tuple([String, String]),
    Schema.Tuple([optionalKey(String)]),
    Schema.TupleWithRest(Schema.Tuple([String]), [Int]),
    Schema.Record(String, String),
    Schema.Record(String, Int),
    Schema.Record(Schema.TemplateLiteral(["a", Schema.String]), String),
    Schema.Record(Schema.TemplateLiteral(["b", Schema.String]), String)
  ]],
  ["unions", [
    Schema.Union([String, Int]),
    Schema.Union([Int, String]),
    Schema.Union([String, Int], { mode: "oneOf" }),
    Schema.Union([String, Int, Schema.Null])
  ]],
  ["checks and their parameters", [
    String,
    String.check(Schema.isMinLength(1)),
    String.check(Schema.isMinLength(2)),
    String.check(Schema.isMaxLength(2)),
    String.check(Schema.isMinLength(1), Schema.isMaxLength(2)),
    String.check(Schema.isMinLength(1).and(Schema.isMaxLength(2))),
    String.check(Schema.isPattern(/^a/)),
    String.check(Schema.isPattern(/^b/)),
    String.check(Schema.isPattern(/^a/i)),
    Schema.BigDecimal
  ]],
  ["checks on values that are not JSON", [
    Schema.BigInt.check(Schema.isGreaterThanBigInt(1n)),
    Schema.BigInt.check(Schema.isGreaterThanBigInt(2n)),
    Schema.Date.check(Schema.isGreaterThanDate(new Date(1))),
    Schema.Date.check(Schema.isGreaterThanDate(new Date(2)))
  ]],
  ["checks of custom filters that say what they are", [
    filter(),
    filter({ id: "even", payload: { of: 2 } }),
    filter({ id: "even", payload: { of: 3 } }),
    filter({ id: "odd", payload: { of: 2 } }),
    String.check(Schema.makeFilter(() => true, { expected: "anything" })),
    String.check(Schema.makeFilter(() => true, { expected: "something" }))
  ]],
  ["checks of keys", [
    Schema.Record(String, Int).check(Schema.isPropertyNames(Schema.NonEmptyString)),
    Schema.Record(String, Int).check(Schema.isPropertyNames(Schema.Trimmed))
  ]],
  ["transformations", [
    String,
    Number,
    Schema.NumberFromString,
    Schema.FiniteFromString,
    upper(String),
    upper(Schema.NonEmptyString),
    Schema.fromJsonString(Struct({ a: String })),
    Schema.fromJsonString(Struct({ a: Int })),
    Schema.Option(String),
    Schema.OptionFromNullOr(String),
    Schema.Option(Int)
  ]],
  ["classes", [Money, Price, Struct({ amount: Schema.BigInt, currency: String })]],
  ["names on the wire", [
    Struct({ a: String }),
    Struct({ a: String }).pipe(Schema.encodeKeys({ a: "b" })),
    Struct({ b: String })
  ]],
  ["recursion", [
    category(String),
    category(Schema.NonEmptyString),
    Struct({ name: String, children: Schema.Array(category(String)) }),
    expression(["+"]),
    expression(["-"])
  ]]
]

describe("Fingerprint", () => {
  it.each(equal)("does not change with %s", (_, one, other) => {
    assert.strictEqual(SchemaFingerprint.canonical(other), SchemaFingerprint.canonical(one))
    assert.strictEqual(SchemaFingerprint.make(other), SchemaFingerprint.make(one))
  })

  it.each(different)("tells %s apart, also as a field and within an array", (_, schemas) => {
    for (
      const wrap of [
        (schema: Schema.Top): Schema.Top => schema,
        (schema: Schema.Top): Schema.Top => Struct({ field: schema }),
        (schema: Schema.Top): Schema.Top => Schema.Array(schema)
      ]
    ) {
      const texts = schemas.map((schema) => SchemaFingerprint.canonical(wrap(schema)))
      assert.strictEqual(new Set(texts).size, schemas.length, texts.join("\n\n"))
      assert.strictEqual(new Set(schemas.map((schema) => SchemaFingerprint.make(wrap(schema)))).size, schemas.length)
    }
  })

  it("is the same in every process", () => {
    const schema = Struct({ b: optionalKey(Schema.NonEmptyString), a: category(String) })
    assert.deepStrictEqual(SchemaFingerprint.canonical(schema).split("\n"), [
      "0: #0",
      "1: [...$0]",
      "2: String",
      `3: { "children": $1, "name": $2 }`,
      `4: String & effect/schema/isMinLength({"minLength":1})`,
      `5: { "a": $3, "b": $4? }`,
      "#0: $3",
      "$5"
    ])
    assert.strictEqual(SchemaFingerprint.make(schema), "a9ffc4f0e901d35e84eec9b198a1761e")
  })

  it("hashes by FNV-1a of 128 bits, as published", () => {
    assert.strictEqual(SchemaFingerprint.fromText(""), "6c62272e07bb014262b821756295c58d")
    assert.strictEqual(SchemaFingerprint.fromText("a"), "d228cb696f1a8caf78912b704e4a8964")
    assert.strictEqual(SchemaFingerprint.fromText("foobar"), "343e1662793c64bf6f0d3597ba446f18")
  })

  it("rejects a Schema that differs each time it is unfolded", () => {
    const fresh = (): Schema.Codec<unknown> => Struct({ next: Schema.Array(Schema.suspend(fresh)) })
    assert.throws(() => SchemaFingerprint.make(fresh()), /more than 1000 recursive definitions/)
  })

  it("takes linear time for a Schema whose definitions share many others", () => {
    let schema: Schema.Top = String
    for (let depth = 0; depth < 60; depth++) schema = Struct({ left: schema, right: schema })
    assert.strictEqual(SchemaFingerprint.canonical(schema).split("\n").length, 62)
  })

  it.effect.prop(
    "does not depend on the order of fields, and depends on every name",
    [Schema.UniqueArray(String), Schema.String],
    ([names, other]) =>
      Effect.sync(() => {
        const struct = (keys: ReadonlyArray<string>) => Struct(Object.fromEntries(keys.map((key) => [key, String])))
        const print = SchemaFingerprint.make(struct(names))
        assert.strictEqual(SchemaFingerprint.make(struct(names.toReversed())), print)
        if (!names.includes(other)) assert.notStrictEqual(SchemaFingerprint.make(struct([...names, other])), print)
      })
  )
})
