/** Points in time as text. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Option, Schema } from "effect"
import { AsOf, LogPosition, Position } from "evsrc"

const decode = Schema.decodeUnknownOption(AsOf.FromString)
const encode = Schema.encodeSync(AsOf.FromString)

const id = "0198c0de-0000-7000-8000-000000000001"

describe("AsOf.FromString", () => {
  it("encodes every kind of point in time", () => {
    assert.deepStrictEqual(
      [
        AsOf.now,
        AsOf.version(3),
        AsOf.position(42n),
        AsOf.position(LogPosition.make(Position.make(42n), id)),
        AsOf.instant(DateTime.makeUnsafe("2030-01-31T12:00:00Z"))
      ].map((asOf) => encode(asOf)),
      ["now", "version:3", "position:42", `position:42_${id}`, "instant:2030-01-31T12:00:00.000Z"]
    )
  })

  it.effect.prop(
    "decodes what it has encoded",
    [Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))],
    ([n]) =>
      Effect.sync(() => {
        const points = [
          AsOf.now,
          AsOf.version(n),
          AsOf.version(Number.MAX_SAFE_INTEGER),
          AsOf.position(BigInt(n)),
          AsOf.position(2n ** 63n - 1n),
          AsOf.position(LogPosition.make(Position.make(BigInt(n) + 1n), id)),
          AsOf.instant(DateTime.makeUnsafe(n % 4_000_000_000_000))
        ]
        assert.deepStrictEqual(
          points.map((asOf) => Option.map(decode(encode(asOf)), AsOf.format)),
          points.map((asOf) => Option.some(AsOf.format(asOf)))
        )
      })
  )

  it("decodes an instant in any zone", () => {
    for (const text of ["2030-01-31T12:00:00.000Z", "2030-01-31T13:00+01:00", "2030-02-01T01:30:00+13:30"]) {
      assert.deepStrictEqual(
        Option.map(decode(`instant:${text}`), AsOf.format),
        Option.some("instant 2030-01-31T12:00:00.000Z"),
        text
      )
    }
  })

  it("rejects text that is not a point in time", () => {
    const wrong = [
      "",
      "version",
      "version:",
      "version:-1",
      "version:1.5",
      "version:9007199254740992",
      "version:1e3",
      "position:-1",
      "position:9223372036854775808",
      "position:42_",
      "position:42_x",
      "instant:soon",
      "instant:5",
      "instant:2030",
      "instant:2030-01-31",
      "instant:2030-01-31T12:00:00",
      "instant:2030-02-31T12:00:00Z",
      "instant:2030-01-31T25:00:00Z",
      "instant:2030-01-31T12:00:00 UTC",
      "instant:Jan 31 2030 12:00 UTC",
      "Now",
      "now:1"
    ]
    assert.deepStrictEqual(wrong.filter((text) => Option.isSome(decode(text))), [])
  })
})
