import { assert, describe, it } from "@effect/vitest"
import * as GenerationId from "../../src/consumer/GenerationId.ts"

describe("GenerationId", () => {
  it("formats the first generation as the id of the consumer", () => {
    assert.strictEqual(GenerationId.format({ consumer: "users@1", number: 0 }), "users@1")
  })

  it("parses what it formats", () => {
    for (
      const id of [
        { consumer: "users@1", number: 0 },
        { consumer: "users@1", number: 12 },
        { consumer: "subscription:mail@2", number: 3 }
      ]
    ) {
      assert.deepStrictEqual(GenerationId.parse(GenerationId.format(id)), id)
    }
  })

  it("separates the number by a tilde", () => {
    assert.strictEqual(GenerationId.format({ consumer: "users@1", number: 2 }), "users@1~2")
  })
})
