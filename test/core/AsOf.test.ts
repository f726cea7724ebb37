/** Moments as text. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Schema } from "effect"
import { AsOf } from "evsrc"

const decode = Schema.decodeUnknownOption(AsOf.FromString)
const encode = Schema.encodeSync(AsOf.FromString)

describe("a moment as text", () => {
  it.effect.prop(
    "is read as it was written",
    [Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))],
    ([n]) =>
      Effect.sync(() => {
        const moments = [
          AsOf.now,
          AsOf.version(n),
          AsOf.version(Number.MAX_SAFE_INTEGER),
          AsOf.position(BigInt(n)),
          AsOf.position(2n ** 63n - 1n),
          AsOf.instant(DateTime.makeUnsafe(n % 4_000_000_000_000))
        ]
        for (const asOf of moments) {
          assert.deepStrictEqual(decode(encode(asOf)), decode(AsOf.format(asOf).replace(" ", ":")))
        }
        for (const asOf of moments) {
          assert.strictEqual(decode(encode(asOf))._tag, "Some")
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
