import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Schema } from "effect"
import { Aggregate, Command, Decider } from "evsrc"
import { DeciderSpec } from "evsrc/testing"

const Counted = Schema.TaggedUnion({ Added: { id: Schema.String, n: Schema.Int }, Reset: { id: Schema.String } })
class TooMuch extends Schema.TaggedError<TooMuch>()("TooMuch", { limit: Schema.Int }) {}
const Add = Command.make("Add", { payload: { id: Schema.String, n: Schema.Int }, error: TooMuch })
const Clear = Command.make("Clear", { payload: { id: Schema.String } })
const Counter = Aggregate.make("Counter", {
  id: "id",
  state: Schema.Struct({ n: Schema.Int }),
  events: Counted,
  commands: [Add, Clear]
})
const CounterDecider = Counter.decider({
  initial: { n: 0 },
  evolve: { Added: (s, e) => ({ n: s.n + e.n }), Reset: () => ({ n: 0 }) },
  decide: {
    Add: (s, c) => s.n + c.n > 10 ? Result.fail(new TooMuch({ limit: 10 })) : [Counted.cases.Added.make(c)],
    Clear: (s, c) => s.n === 0 ? [] : [Counted.cases.Reset.make(c)]
  }
})

describe("Decider", () => {
  it.effect.prop(
    "folds all events at once or in two parts to the same state",
    [Schema.Array(Counted), Schema.Array(Counted)],
    ([first, second]) =>
      Effect.sync(() => {
        const whole = Decider.fold(CounterDecider, [...first, ...second])
        assert.deepStrictEqual(Decider.fold(CounterDecider, second, Decider.fold(CounterDecider, first)), whole)
      })
  )

  it("always decides with a Result", () => {
    assert.deepStrictEqual(
      Decider.decide(CounterDecider, { n: 0 }, "Add", { id: "a", n: 1 }),
      Result.succeed([Counted.cases.Added.make({ id: "a", n: 1 })])
    )
    assert.deepStrictEqual(
      Decider.decide(CounterDecider, { n: 10 }, "Add", { id: "a", n: 1 }),
      Result.fail(new TooMuch({ limit: 10 }))
    )
  })
})

describe("DeciderSpec", () => {
  const added = (n: number) => Counted.cases.Added.make({ id: "a", n })
  const add = (events: ReadonlyArray<typeof Counted.Type>, n: number) =>
    DeciderSpec.given(CounterDecider, events).when(Add, { id: "a", n })

  it("passes when the outcome is the expected one", () => {
    assert.deepStrictEqual(add([added(3)], 4).thenEvents([added(4)]), { n: 7 })
    add([added(8)], 4).thenFails(new TooMuch({ limit: 10 }))
    DeciderSpec.given(CounterDecider).when(Clear, { id: "a" }).thenNothing()
    DeciderSpec.given(CounterDecider, [added(1), added(2)]).thenState({ n: 3 })
  })

  it("fails when the outcome is another one", () => {
    assert.throws(() => add([added(3)], 4).thenEvents([added(5)]), "the events differ")
    assert.throws(() => add([added(3)], 4).thenEvents([]), "the events differ")
    assert.throws(() => add([added(3)], 4).thenNothing(), "the events differ")
    assert.throws(() => add([added(3)], 4).thenFails(new TooMuch({ limit: 10 })), "the command did not fail")
    assert.throws(() => add([added(8)], 4).thenEvents([added(4)]), "the command failed")
    assert.throws(() => add([added(8)], 4).thenFails(new TooMuch({ limit: 9 })), "the error differs")
    assert.throws(() => DeciderSpec.given(CounterDecider).thenState({ n: 1 }), "the state differs")
    assert.throws(() => add([{ _tag: "Added", id: "a", n: 0.5 }], 4), "Added")
  })
})
