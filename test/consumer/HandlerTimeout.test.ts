/** The timeout of the handlers of a projection. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schema } from "effect"
import { Projection } from "evsrc"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const ticks = (handlerTimeout?: Duration.Input) =>
  Projection.handler("ticks", { events: Tick, handlerTimeout, handle: { Ticked: () => Effect.void } })

describe("handlerTimeout", () => {
  it("is a minute by default", () => {
    assert.strictEqual(Duration.toMillis(ticks().handlerTimeout), 60_000)
  })

  it("must be finite and above 0", () => {
    for (const timeout of [Duration.infinity, Duration.zero, Duration.millis(-1)]) {
      assert.throws(
        () => ticks(timeout),
        /Projection\.handler: `handlerTimeout` of "ticks" is .*; use a finite duration above 0/
      )
    }
    assert.strictEqual(Duration.toMillis(ticks("1 hour").handlerTimeout), 3_600_000)
  })
})
