/** The search for a subject's values in stored text, however the text escapes them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as PlaintextSearch from "../../src/erasure/PlaintextSearch.ts"
import { encrypted, scrub } from "../../src/personalData/EncryptedValue.ts"

const valuesOf = (value: string): Set<string> => {
  const values = new Set<string>()
  PlaintextSearch.collectValues({ name: encrypted("ann", "1.x") }, { name: value }, "ann", values)
  return values
}

const json = (text: string): string => JSON.stringify(text).slice(1, -1)

/** Every UTF-16 code unit that is no plain letter, as other writers of JSON may escape it. */
const allEscaped = (text: string): string =>
  text.replace(/[^a-zA-Z]/g, (unit) =>
    unit.length === 1
      ? `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`
      : Array.from({ length: unit.length }, (_, i) => `\\u${unit.charCodeAt(i).toString(16).padStart(4, "0")}`).join(
        ""
      ))

const writers: Readonly<Record<string, (text: string) => string>> = {
  "raw text": (text) => text,
  JSON: json,
  "JSON in JSON": (text) => json(json(text)),
  "JSON in JSON in JSON": (text) => json(json(json(text))),
  "JSON with \\u escapes": allEscaped,
  "JSON with escaped slashes": (text) => json(text).replaceAll("/", "\\/")
}

const samples = [
  "O\"Brien",
  "back\\slash",
  "C:\\new\\table",
  "line\nbreak",
  "tab\there",
  "Zoë / Müller",
  "bell\u0007!",
  "👩‍🚀 Ada"
]

describe("a value in plaintext", () => {
  for (const [name, write] of Object.entries(writers)) {
    it(`is found in ${name}`, () => {
      for (const value of samples) {
        const text = `the handler said: ${write(value)}, and stopped`
        const found = PlaintextSearch.findPlaintext([{ name: undefined, text }], valuesOf(value))
        assert.deepStrictEqual(found, {}, `${JSON.stringify(value)} in ${JSON.stringify(text)}`)
      }
    })
  }

  it.effect.prop(
    "is found whatever it contains",
    [Schema.String.check(Schema.isMinLength(4))],
    ([value]) =>
      Effect.sync(() => {
        for (const [name, write] of Object.entries(writers)) {
          const found = PlaintextSearch.findPlaintext(
            [{ name: undefined, text: `x ${write(value)} y` }],
            valuesOf(value)
          )
          assert.deepStrictEqual(found, {}, `${JSON.stringify(value)} in ${name}`)
        }
      })
  )

  it("is found in a JSON document, with its path", () => {
    for (const value of samples) {
      const text = JSON.stringify({ a: { note: `from ${value}` } })
      const found = PlaintextSearch.findPlaintext([{ name: "data", text }], valuesOf(value))
      assert.deepStrictEqual(found, { path: "data.a.note" }, value)
    }
  })

  it("is removed from messages that quote it as JSON in JSON", () => {
    for (const value of samples) {
      for (const write of [writers["raw text"]!, json, writers["JSON in JSON"]!]) {
        assert.strictEqual(scrub(`a ${write(value)} b`, [value]), "a [personal data] b")
      }
    }
  })
})
