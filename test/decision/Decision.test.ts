import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Layer, Schema } from "effect"
import { Aggregate, Command, CommandBus, Decision, Event, EventStore, Position, Version } from "evsrc"

const Tick = Schema.TaggedUnion({ Ticked: { kind: Schema.String } })
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
      const { position } = yield* EventStore.append(Tick, "s", [{ _tag: "Ticked", kind: "a" }, {
        _tag: "Ticked",
        kind: "b"
      }])
      assert.strictEqual((yield* run).position, position)
    }).pipe(Effect.provide(EventStore.layerMemory)))
})

describe("models that read with another set of events", () => {
  const Tagged = Tick.pipe(Event.tags({ kind: "kind" }))
  const Count = Command.make("Count", { payload: { kind: Schema.String } })
  const CountInStream = Command.make("CountInStream", { payload: { kind: Schema.String } })
  const counted = (kind: string) =>
    Decision.model({ events: Tagged, tags: { kind }, initial: 0, evolve: { Ticked: (count) => count + 1 } })
  const refusals = Layer.merge(
    Decision.layer(Decision.make(Count, {
      events: Tick,
      models: ({ kind }) => ({ count: counted(kind) }),
      decide: (_, { kind }) => [Tick.cases.Ticked.make({ kind })]
    })),
    Aggregate.layer(
      Aggregate.make("Counter", { id: "kind", state: Schema.Null, events: Tick, commands: [CountInStream] })
        .withModels({ CountInStream: ({ kind }) => ({ count: counted(kind) }) })
        .decider({
          initial: null,
          evolve: { Ticked: () => null },
          decide: { CountInStream: (_, { kind }) => [Tick.cases.Ticked.make({ kind })] }
        })
    )
  )

  for (const command of [Count, CountInStream]) {
    it.effect(`do not decide: ${command._tag} fails, and says which tags differ`, () =>
      Effect.gen(function*() {
        const cause = yield* Effect.flip(Effect.sandbox(CommandBus.dispatch(command, { kind: "a" })))
        assert.include(Cause.pretty(cause), `model "count" has another set of events than the command`)
        assert.include(Cause.pretty(cause), `the event "Ticked" is written and read with different tags`)
        assert.strictEqual(yield* EventStore.head, Position.start)
      }).pipe(Effect.provide(refusals), Effect.provide(EventStore.layerMemory)))
  }
})
