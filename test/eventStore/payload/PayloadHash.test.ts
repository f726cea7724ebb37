import { assert, describe, it } from "@effect/vitest"
import { Option, Redacted, Result, Schema, SchemaGetter } from "effect"
import * as PayloadHash from "../../../src/eventStore/payload/PayloadHash.ts"

const NoEvents = Schema.TaggedUnion({ Done: { id: Schema.String } })

/** Returns the text that the hash of a payload with one field covers, or the message of its rejection. */
const textOf = (field: Schema.Top, value: unknown): string =>
  Result.match(PayloadHash.ofPayload(Schema.Struct({ field }), { field: value }, NoEvents), {
    onSuccess: ({ whole }) => whole,
    onFailure: (message) => `rejected: ${message}`
  })

class Money {
  readonly currency: string
  readonly #amount: number
  constructor(amount: number, currency = "EUR") {
    this.#amount = amount
    this.currency = currency
  }
  get amount() {
    return this.#amount
  }
}
const MoneyWithCodec = Schema.instanceOf(Money).pipe(
  Schema.encodeTo(Schema.String, {
    decode: SchemaGetter.transform((text) => new Money(Number(text))),
    encode: SchemaGetter.transform(({ amount }) => String(amount))
  })
)
/** A class whose codec shows what it holds. */
class Vault {
  readonly pin: Redacted.Redacted<string>
  readonly name: string
  constructor(pin: string, name: string) {
    this.pin = Redacted.make(pin)
    this.name = name
  }
}
const VaultWithCodec = Schema.instanceOf(Vault).pipe(
  Schema.encodeTo(Schema.String, {
    decode: SchemaGetter.transform((text) => new Vault(text, "")),
    encode: SchemaGetter.transform(({ name, pin }) => `${name} ${Redacted.value(pin)}`)
  })
)
class Card extends Schema.Class<Card>("Card")({
  number: Schema.Redacted(Schema.String),
  limit: Schema.Int,
  at: Schema.Date
}) {}
const card = (number: string, limit: number, at = 0) =>
  new Card({ number: Redacted.make(number), limit, at: new Date(at) })
interface Tree {
  readonly pin: Redacted.Redacted<string>
  readonly children: ReadonlyArray<Tree>
}
const Tree = Schema.Struct({
  pin: Schema.Redacted(Schema.String),
  children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
})
const tree = (pin: string): Tree => ({ pin: secret(pin), children: [{ pin: secret(pin), children: [] }] })
const secret = (value: string) => Redacted.make(value)
const Shapes = Schema.Union([
  Schema.Struct({ a: Schema.Int }),
  Schema.Struct({ a: Schema.Int, b: Schema.Int, pin: Schema.Redacted(Schema.String) })
])
const WithPin = Schema.Struct({ pin: Schema.Redacted(Schema.String), plain: Schema.String })
const Renamed = WithPin.pipe(Schema.encodeKeys({ pin: "plain", plain: "pin" }))
const Joined = WithPin.pipe(
  Schema.encodeTo(Schema.String, {
    decode: SchemaGetter.transform((text) => ({ pin: Redacted.make(text), plain: text })),
    encode: SchemaGetter.transform(({ pin, plain }) => `${plain} ${Redacted.value(pin)}`)
  })
)
const Items = Schema.Struct({
  token: Schema.Redacted(Schema.String),
  items: Schema.Array(Schema.Struct({ token: Schema.String, amount: Schema.Int }))
})
const items = (token: string, plain: string) => ({ token: secret(token), items: [{ token: plain, amount: 1 }] })
const Patch = Schema.Struct({ name: Schema.optional(Schema.NullOr(Schema.String)) })

/** Pairs that a program can tell apart. */
const different: ReadonlyArray<readonly [string, Schema.Top, unknown, unknown]> = [
  ["a plain field with the name of a redacted one", Items, items("s", "gold"), items("s", "silver")],
  ["null and an absent field", Patch, { name: null }, {}],
  ["null and undefined in a struct", Patch, { name: null }, { name: undefined }],
  ["null and undefined in an array", Schema.Array(Schema.UndefinedOr(Schema.NullOr(Schema.String))), [null], [
    undefined
  ]],
  ["the other fields of a class with a secret", Card, card("1", 1), card("1", 2)],
  ["a date of a class with a secret", Card, card("1", 1, 0), card("1", 1, 1)],
  [
    "the rest of a record of secrets",
    Schema.Record(Schema.String, Schema.Redacted(Schema.String)),
    { a: secret("s") },
    {
      b: secret("s")
    }
  ],
  [
    "an option of a secret and none",
    Schema.Option(Schema.Redacted(Schema.String)),
    Option.some(secret("s")),
    Option.none()
  ],
  ["the plain member of a union", Schema.Union([Schema.Redacted(Schema.String), Schema.String]), "a", "b"],
  ["a class with a codec", MoneyWithCodec, new Money(1), new Money(2)],
  ["members of a union with fields in common", Shapes, { a: 1, b: 1, pin: secret("s") }, {
    a: 1,
    b: 2,
    pin: secret("s")
  }],
  ["elements behind a secret", Schema.Tuple([Schema.Redacted(Schema.String), Schema.Int]), [secret("s"), 1], [
    secret("s"),
    2
  ]],
  ["a field under another encoded name", Renamed, { pin: secret("s"), plain: "a" }, { pin: secret("s"), plain: "b" }],
  ["bigints", Schema.Unknown, 1n, 2n],
  ["a bigint and its text", Schema.Unknown, 1n, "1"],
  ["a bigint and a number", Schema.Unknown, 1n, 1],
  ["NaN and null", Schema.Unknown, NaN, null],
  ["NaN and infinity", Schema.Number, NaN, Infinity],
  ["0 and -0", Schema.Unknown, 0, -0],
  ["maps", Schema.Unknown, new Map([["a", 1]]), new Map([["a", 2]])],
  ["a map and an empty object", Schema.Unknown, new Map(), {}],
  ["a map and its entries", Schema.Unknown, new Map([["a", 1]]), [["a", 1]]],
  ["sets", Schema.Unknown, new Set([1]), new Set([2])],
  ["dates", Schema.Unknown, new Date(0), new Date(1)],
  ["an invalid date and null", Schema.Unknown, new Date(NaN), null],
  ["a date and its text", Schema.Unknown, new Date(0), new Date(0).toISOString()],
  ["bytes", Schema.Unknown, Uint8Array.of(1), Uint8Array.of(2)],
  ["bytes of another kind", Schema.Unknown, Uint8Array.of(1), Int8Array.of(1)],
  ["buffers", Schema.Unknown, Uint8Array.of(1).buffer, Uint8Array.of(2).buffer],
  ["undefined and null in an array", Schema.Unknown, [undefined], [null]],
  ["URLs", Schema.Unknown, new URL("https://a.example"), new URL("https://b.example")],
  ["a field named __proto__", Schema.Unknown, JSON.parse(`{"__proto__":1}`), JSON.parse(`{"__proto__":2}`)],
  ["lone surrogates", Schema.String, "\ud800", "\ud801"],
  ["names that contain delimiters", Schema.Unknown, { "a\":1,\"b": 2 }, { a: 1, b: 2 }]
]

/** Pairs that are one payload. */
const same: ReadonlyArray<readonly [string, Schema.Top, unknown, unknown]> = [
  ["a secret", Items, items("one", "gold"), items("two", "gold")],
  ["an absent field and undefined", Patch, {}, { name: undefined }],
  ["a secret of a class", Card, card("1", 1), card("2", 1)],
  [
    "a secret in an option",
    Schema.Option(Schema.Redacted(Schema.String)),
    Option.some(secret("a")),
    Option.some(secret("b"))
  ],
  ["a secret in a record", Schema.Record(Schema.String, Schema.Redacted(Schema.String)), { a: secret("a") }, {
    a: secret("b")
  }],
  ["a secret in an unknown value", Schema.Unknown, { a: [secret("a")] }, { a: [secret("b")] }],
  [
    "a secret that may not be encoded",
    Schema.Redacted(Schema.String, { disallowJsonEncode: true }),
    secret("a"),
    secret("b")
  ],
  ["a secret that is encoded as its value", Schema.RedactedFromValue(Schema.String), secret("a"), secret("b")],
  ["a secret in a class whose codec shows it", VaultWithCodec, new Vault("a", "v"), new Vault("b", "v")],
  ["a secret in a recursive Schema", Tree, tree("a"), tree("b")],
  ["a secret in JSON text", Joined, { pin: secret("a"), plain: "p" }, { pin: secret("b"), plain: "p" }],
  ["a secret under another encoded name", Renamed, { pin: secret("a"), plain: "p" }, { pin: secret("b"), plain: "p" }],
  ["fields in another order", Schema.Unknown, { a: 1, b: 2 }, { b: 2, a: 1 }]
]

const cyclic: { self?: unknown } = {}
cyclic.self = cyclic

/** Values that have no text of their own. */
const rejected: ReadonlyArray<readonly [string, Schema.Top, unknown, RegExp]> = [
  [
    "a class with private fields",
    Schema.instanceOf(Money),
    new Money(1),
    /"\/field" is an instance of Money without a JSON form/
  ],
  ["the same within other values", Schema.Struct({ list: Schema.Array(Schema.instanceOf(Money)) }), {
    list: [new Money(1)]
  }, /"\/field\/list\/0" is an instance of Money/],
  [
    "the same beside a secret",
    Schema.Struct({ pin: Schema.Redacted(Schema.String), money: Schema.instanceOf(Money) }),
    {
      pin: secret("s"),
      money: new Money(1)
    },
    /"\/field\/money" is an instance of Money/
  ],
  ["a regular expression", Schema.Unknown, { re: /a/ }, /"\/field\/re" is an instance of RegExp/],
  ["an error", Schema.Unknown, new Error("a"), /is an instance of Error/],
  ["a function", Schema.Unknown, [() => 1], /"\/field\/0" is a function/],
  ["a symbol", Schema.Unknown, Symbol("a"), /is a symbol/],
  ["a field named by a symbol", Schema.Unknown, { [Symbol("a")]: 1 }, /has a field that is named by a symbol/],
  ["a promise", Schema.Any, Promise.resolve(1), /is an instance of Promise/],
  ["a weak map", Schema.Any, new WeakMap(), /is an instance of WeakMap/],
  ["a boxed string", Schema.Any, new String("a"), /is an instance of String/],
  ["a cycle", Schema.Any, cyclic, /"\/field\/self" contains itself/],
  ["a name with a slash", Schema.Any, { "a/b~": Symbol("a") }, /"\/field\/a~1b~0" is a symbol/],
  ["a getter that throws", Schema.Any, {
    get a() {
      throw new Error("Ann Archer")
    }
  }, /has a property, or a method toJSON, that throws$/]
]

describe("the text that the hash of a payload covers", () => {
  for (const [name, schema, one, other] of different) {
    it(`differs for ${name}`, () => {
      const texts = [textOf(schema, one), textOf(schema, other)]
      for (const text of texts) assert.notInclude(text, "rejected")
      assert.notStrictEqual(texts[0], texts[1])
      assert.strictEqual(textOf(schema, one), texts[0], "the same value again")
    })
  }

  for (const [name, schema, one, other] of same) {
    it(`is the same for ${name}`, () => {
      assert.notInclude(textOf(schema, one), "rejected")
      assert.strictEqual(textOf(schema, one), textOf(schema, other))
    })
  }

  for (const [name, schema, value, message] of rejected) {
    it(`does not exist for ${name}`, () => {
      assert.match(textOf(schema, value), /^rejected: /)
      assert.match(textOf(schema, value), message)
    })
  }

  it("does not exist for a payload with a field named by a symbol", () => {
    const name = Symbol("a")
    const content = PayloadHash.ofPayload(Schema.Struct({ [name]: Schema.String }), { [name]: "x" }, NoEvents)
    assert(Result.isFailure(content))
    assert.match(content.failure, /the field Symbol\(a\) is named by a symbol/)
  })

  it("is that of the JSON that the Schema encodes", () => {
    const payload = Schema.Struct({ b: Schema.Date, a: Schema.BigInt, c: Schema.optional(Schema.Option(Schema.Int)) })
    const value = { b: new Date(0), a: 1n, c: Option.some(1) }
    const json = Schema.encodeSync(Schema.toCodecJson(payload))(value)
    const content = PayloadHash.ofPayload(payload, value, NoEvents)
    assert.deepStrictEqual(JSON.parse(Result.getOrThrow(content).whole), json)
  })
})
