import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Command, CommandBus, Decision, EventStore, Position, Version } from "evsrc"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const Nothing = Command.make("Nothing", { payload: { n: Schema.Int } })
const count = Decision.model({ events: Tick, initial: 0, evolve: { Ticked: (count) => count + 1 } })
const nothing = Decision.layer(Decision.make(Nothing, {
  events: Tick,
  models: () => ({ count }),
  decide: () => []
}))

describe("a decision without events", () => {
  it.effect("returns the position of the last event that it read, 0 without any", () =>
    Effect.gen(function*() {
      const run = Effect.provide(CommandBus.dispatch(Nothing, { n: 1 }), nothing)
      const empty = yield* run
      assert.deepStrictEqual([empty.position, empty.version, empty.events], [Position.start, Version.zero, []])
      const { position } = yield* EventStore.append(Tick, "s", [{ _tag: "Ticked", n: 1 }, { _tag: "Ticked", n: 2 }])
      assert.strictEqual((yield* run).position, position)
    }).pipe(Effect.provide(EventStore.layerMemory)))
})
