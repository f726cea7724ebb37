import { assert, describe, it } from "@effect/vitest"
import { version } from "../../src/core/AsOf.ts"
import { AsOfNotReached } from "../../src/core/errors.ts"

const messageFor = (stream: string) => new AsOfNotReached({ stream, asOf: version(2), reached: version(1) }).message

describe("the message of an error", () => {
  it("quotes a name of up to 120 characters, and the beginning of a longer one", () => {
    assert.include(messageFor("x".repeat(120)), `Stream "${"x".repeat(120)}" has reached`)
    assert.include(messageFor("x".repeat(121)), `Stream "${"x".repeat(120)}… (121 characters)" has reached`)
  })
})
