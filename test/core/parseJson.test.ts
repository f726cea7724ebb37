import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { isDeepStrictEqual } from "node:util"
import { fromJsonText, parseJson } from "../../src/core/json/parseJson.ts"

/** Returns `[text, value]` pairs from a seed: the text with escapes and white space in any place, and the value that it stands for. */
const samples = (count: number, seed: number): ReadonlyArray<readonly [text: string, value: unknown]> => {
  let state = seed
  const below = (bound: number) => ((state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff) >> 8) % bound
  const of = <A>(list: ReadonlyArray<A>): A => list[below(list.length)]!
  const many = <A>(max: number, make: () => A) => Array.from({ length: below(max) }, make)
  const characters: ReadonlyArray<readonly [text: string, value: string]> = [
    ..."anpu01/:,{]é💶".split("").map((one) => [one, one] as const),
    ["\\n", "\n"],
    ["\\t", "\t"],
    ["\\\"", "\""],
    ["\\\\", "\\"],
    ["\\/", "/"],
    ["\\u0041", "A"],
    ["\\u0031", "1"],
    ["\\u0000", "\u0000"],
    ["\\ud800", "\ud800"],
    ["__proto__", "__proto__"],
    ["\\u005f_proto__", "__proto__"]
  ]
  const scalars = [["1", 1], ["-0", -0], ["1.5e3", 1500], ["true", true], ["false", false], ["null", null]] as const
  const string = () => {
    const parts = many(4, () => of(characters))
    return [`"${parts.map(([text]) => text).join("")}"`, parts.map(([, value]) => value).join("")] as const
  }
  const space = () => of(["", "", "", " ", "\n\t", "\r"])
  const one = (depth: number): readonly [string, unknown] => {
    const kind = below(depth === 0 ? 2 : 5)
    if (kind === 0) return of(scalars)
    if (kind === 1) return string()
    const elements = many(5, () => [string(), one(depth - 1)] as const)
    const list = (texts: ReadonlyArray<string>) => texts.map((text) => space() + text + space()).join(",") || space()
    if (kind === 2) return [`[${list(elements.map(([, [text]]) => text))}]`, elements.map(([, [, value]]) => value)]
    const object = {}
    for (const [[, key], [, value]] of elements) {
      Object.defineProperty(object, key, { value, configurable: true, enumerable: true, writable: true })
    }
    return [`{${list(elements.map(([[key], [text]]) => `${key}${space()}:${space()}${text}`))}}`, object]
  }
  return Array.from({ length: count }, () => one(4))
}

describe("parseJson", () => {
  it("reads a key with an escape after a key with a backslash", () => {
    const keys = [["\\", "\n"], ["\\", "\""], ["\\", "\u0000"], ["a\\", "a\n"], ["\\n", "\n\n"]] as const
    for (const [i, [first, second]] of keys.entries()) {
      for (const key of [first, second]) {
        const value = { [`parseJson${i}`]: 1, [key]: 2 }
        assert.deepStrictEqual(parseJson(JSON.stringify(value)), value)
      }
    }
  })

  it("reads 20,000 random texts, in the order of their keys", () => {
    for (const [text, value] of samples(20_000, 11)) {
      const read = parseJson(text)
      if (!isDeepStrictEqual(read, value) || JSON.stringify(read) !== JSON.stringify(value)) {
        assert.fail(`${text} is read as ${JSON.stringify(read)}`)
      }
    }
  })

  it("reads escaped keys at any depth, and in long texts", () => {
    let read = parseJson(`${"[".repeat(100_000)}{"\\n":1}${"]".repeat(100_000)}`)
    while (Array.isArray(read)) read = read[0]
    assert.deepStrictEqual(read, { "\n": 1 })
    const long = { ["\"".repeat(100_000)]: JSON.stringify({ "\"": "\"".repeat(100_000) }) }
    assert.deepStrictEqual(parseJson(JSON.stringify(long)), long)
  })

  it("rejects what JSON.parse rejects", () => {
    for (const text of ["", "{", "{\"\\n\":1", "{\"\\n\":1,}", "[1]]", "{\"\\x\":1}", "{\"\\n\":01}", "\"\\", "\\"]) {
      assert.throws(() => parseJson(text), SyntaxError)
      assert.throws(() => Schema.decodeSync(fromJsonText(Schema.Unknown))(text), /a valid JSON string/)
    }
  })

  it("reads and writes a text through a Schema", () => {
    const schema = fromJsonText(Schema.Record(Schema.String, Schema.FiniteFromString))
    for (const value of [{ schema: 0, "\\": 1 }, { schema: 0, "\n": 1 }]) {
      const text = Schema.encodeSync(schema)(value)
      assert.deepStrictEqual(Schema.decodeSync(schema)(text), value)
    }
  })
})
