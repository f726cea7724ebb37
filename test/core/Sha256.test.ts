import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Digest from "effect/crypto/Digest"
import * as Sha256 from "../../src/core/Sha256.ts"

const reference = (text: string) =>
  Effect.flatMap(Digest.Digest, ({ digest }) => digest(Digest.sha256, new TextEncoder().encode(text))).pipe(
    Effect.provide(Digest.layerWebCrypto)
  )

describe("SHA-256", () => {
  it.effect.prop("equals that of the platform", [Schema.String], ([text]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(Sha256.ofText(text), yield* reference(text))
    }))

  it.effect("is right for every length around a block", () =>
    Effect.forEach(Array.from({ length: 200 }, (_, length) => "é".repeat(length)), (text) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(Sha256.ofText(text), yield* reference(text))
      })))
})
