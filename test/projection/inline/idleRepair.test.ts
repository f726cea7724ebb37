import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, References, Schema } from "effect"
import { TestClock } from "effect/testing"
import { EventStore, Projection, ProjectionStore, Projector } from "evsrc"
import { countWakeUps, provideClock } from "../../support/VirtualTime.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
let isBroken = false
const ticks = Projection.make("ticks", {
  events: Tick,
  lifecycle: "inline",
  document: Schema.Int,
  key: () => "all",
  evolve: {
    Ticked: (n) => {
      if (isBroken) throw new Error("a test")
      return (n ?? 0) + 1
    }
  }
})

describe("the repair of inline projections on a store in memory", () => {
  it.live("looks only after changes, and repeats a repair that fails", () =>
    Effect.gen(function*() {
      const wakeUps = yield* countWakeUps(100)
      yield* Layer.build(Projector.layerInline([ticks]))
      yield* TestClock.adjust("1 day")
      assert.isAtMost(wakeUps(), 2)
      // A program without the projection appends it.
      yield* EventStore.append(Tick, "s", [{ _tag: "Ticked", n: 1 }])
      assert.include((yield* Effect.flip(ProjectionStore.get(ticks, "all"))).message, "lack the event at position 1")
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* ProjectionStore.get(ticks, "all"), Option.some(1))
      yield* TestClock.adjust("1 day")
      assert.isAtMost(wakeUps(), 10)
      isBroken = true
      yield* EventStore.append(Tick, "s", [{ _tag: "Ticked", n: 2 }])
      yield* TestClock.adjust("10 seconds")
      isBroken = false
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* ProjectionStore.get(ticks, "all"), Option.some(2))
      yield* TestClock.adjust("1 day")
      assert.isAtMost(wakeUps(), 30)
    }).pipe(
      Effect.provide(Layer.fresh(Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory))),
      Effect.provideService(References.MinimumLogLevel, "None"),
      Effect.scoped,
      provideClock
    ))
})
