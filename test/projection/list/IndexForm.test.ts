/** When the entries of an indexed field may be others than those that were stored under another Schema. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, SchemaGetter } from "effect"
import * as IndexedFields from "../../../src/projection/list/IndexedFields.ts"
import type { Document } from "../../../src/projection/ProjectionDefinition.ts"

const indexOf = (field: Document) => IndexedFields.make(Schema.Struct({ field }), ["field"])[0]!.index

const mapped = (map: (text: string) => string) =>
  Schema.String.pipe(Schema.decode({
    decode: SchemaGetter.transform(map),
    encode: SchemaGetter.transform((text: string) => text)
  }))

const text = Schema.String
const inserted = (value: Effect.Effect<string>) => Schema.String.pipe(Schema.withDecodingDefaultKey(value))

describe("the name of an index", () => {
  const same: Readonly<Record<string, readonly [Document, Document]>> = {
    "with a check": [text, Schema.NonEmptyString],
    "of literals": [text, Schema.Literals(["a", "b"])],
    "with a brand and annotations": [text, text.pipe(Schema.brand("Id")).annotate({ title: "Id" })],
    "optional": [text, Schema.optionalKey(text)],
    "nullable": [text, Schema.NullOr(text)],
    "of integers": [Schema.Number, Schema.Int],
    "Date and DateTimeUtc": [Schema.Date, Schema.DateTimeUtc],
    "a default that is another value each time": [
      inserted(Effect.sync(() => Math.random().toString())),
      inserted(Effect.sync(() => Math.random().toString()))
    ]
  }
  for (const [what, [before, after]] of Object.entries(same)) {
    it(`stays the same: ${what}`, () => assert.strictEqual(indexOf(after), indexOf(before)))
  }

  const other: Readonly<Record<string, readonly [Document, Document]>> = {
    "text and decimal": [text, Schema.BigDecimal],
    "text and bigint": [text, Schema.BigInt],
    "text and Date": [text, Schema.Date],
    "text and number from text": [text, Schema.NumberFromString],
    "text and a transformation of it": [text, mapped((text) => text.toLowerCase())],
    "text and an optional number from text": [text, Schema.optionalKey(Schema.NumberFromString)],
    "text and a union with numbers": [text, Schema.Union([Schema.NumberFromString, text])],
    "text and a default": [Schema.optionalKey(text), inserted(Effect.succeed("new"))],
    "another default": [inserted(Effect.succeed("old")), inserted(Effect.succeed("new"))],
    "number and text": [Schema.Number, text],
    "text and duration": [text, Schema.Duration]
  }
  for (const [what, [before, after]] of Object.entries(other)) {
    it(`changes: ${what}`, () => assert.notStrictEqual(indexOf(after), indexOf(before)))
  }

  it("changes with the default of a field, in a class and a union", () => {
    const documents = (value: string): ReadonlyArray<Document> => {
      const fields = { field: inserted(Effect.succeed(value)) }
      class Price extends Schema.Class<Price>("Price")(fields) {}
      return [Price, Schema.Union([Schema.Struct(fields), Schema.Struct({ field: text, other: text })])]
    }
    const indexes = (value: string) => documents(value).map((one) => IndexedFields.make(one, ["field"])[0]!.index)
    assert.deepStrictEqual(indexes("old"), indexes("old"))
    for (const [n, index] of indexes("new").entries()) assert.notStrictEqual(index, indexes("old")[n])
  })

  it("is that of the field, in a struct, a class and a union", () => {
    class Price extends Schema.Class<Price>("Price")({ field: Schema.NumberFromString }) {}
    assert.strictEqual(IndexedFields.make(Price, ["field"])[0]!.index, indexOf(Schema.NumberFromString))
    const Union = Schema.Union([Schema.Struct({ field: text }), Schema.Struct({ field: text, other: text })])
    assert.strictEqual(IndexedFields.make(Union, ["field"])[0]!.index, indexOf(text))
    const Decimals = Schema.Union([Schema.Struct({ field: Schema.BigDecimal }), Schema.Struct({ field: text })])
    assert.notStrictEqual(IndexedFields.make(Decimals, ["field"])[0]!.index, indexOf(text))
    assert.match(indexOf(text), /^field=[0-9a-z]+$/)
  })
})
