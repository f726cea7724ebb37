/** Moments as text. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Schema } from "effect"
import { Moment } from "evsrc"

const decode = Schema.decodeUnknownOption(Moment.FromString)
const encode = Schema.encodeSync(Moment.FromString)

describe("a moment as text", () => {
  it.effect.prop(
    "is read as it was written",
    [Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))],
    ([n]) =>
      Effect.sync(() => {
        const moments = [
          Moment.now,
          Moment.version(n),
          Moment.version(Number.MAX_SAFE_INTEGER),
          Moment.position(BigInt(n)),
          Moment.position(2n ** 63n - 1n),
          Moment.instant(DateTime.makeUnsafe(n % 4_000_000_000_000))
        ]
        for (const moment of moments) {
          assert.deepStrictEqual(decode(encode(moment)), decode(Moment.format(moment).replace(" ", ":")))
        }
        for (const moment of moments) {
          assert.strictEqual(decode(encode(moment))._tag, "Some")
        }
      })
  )

  it("is refused when it is none", () => {
    for (
      const text of ["", "version", "version:", "version:-1", "version:1.5", "version:9007199254740992", "version:1e3"]
    ) {
      assert.strictEqual(decode(text)._tag, "None", text)
    }
    for (const text of ["position:-1", "position:9223372036854775808", "instant:soon", "Now", "now:1"]) {
      assert.strictEqual(decode(text)._tag, "None", text)
    }
  })
})
