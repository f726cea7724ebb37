/** The properties hold for correct process managers, and each fails for a faulty one. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Schema } from "effect"
import { Command, ProcessManager } from "evsrc"
import { ProcessProperties } from "evsrc/testing"
import { Fulfilment } from "../../examples/fulfilment/Fulfilment.ts"

describe("the example", () => {
  for (const { name, test } of ProcessProperties.all(Fulfilment)) it.effect(name, () => test)
})

const id = { id: Schema.String }
const Signal = Schema.TaggedUnion({ Begun: id, Went: { ...id, n: Schema.Int } })
class NotDone extends Schema.TaggedError<NotDone>()("NotDone", { why: Schema.String }) {}
const Do = Command.make("Do", { payload: { ...id, n: Schema.Int }, error: NotDone })

interface Wrong {
  readonly went?: (count: number, n: number) => number
  readonly evolve?: (count: number) => number
  readonly refused?: () => never
  readonly due?: () => never
}

const processOf = ({ due, evolve = (count) => count + 1, refused, went = (_, n) => n }: Wrong) =>
  ProcessManager.make("checked", {
    inputs: Signal,
    correlate: { Begun: ({ id }) => ProcessManager.start(id), Went: ({ id }) => ProcessManager.continue(id) },
    state: Schema.Struct({ count: Schema.Int }),
    events: Schema.TaggedUnion({ Counted: {} }),
    commands: [Do],
    deadlines: { Due: id }
  }).behaviour({
    initial: { count: 0 },
    evolve: { Counted: ({ count }) => ({ count: evolve(count) }) },
    react: {
      Begun: (_, { id }) => [ProcessManager.deadline("Due", { id }, { after: "1 minute" })],
      Went: ({ count }, { id, n }) => [
        { _tag: "Counted" },
        ProcessManager.send(Do, { id, n: went(count, n) })
      ],
      Due: () => due?.() ?? [ProcessManager.complete]
    },
    refused: { Do: () => refused?.() ?? [] }
  })

const boom = (): never => {
  throw new Error("not total")
}

const outcomes = (wrong: Wrong) =>
  Effect.forEach(ProcessProperties.all(processOf(wrong), { seed: 1 }), ({ test }) =>
    Effect.map(
      Effect.scoped(Effect.result(test)),
      (result) => Result.isFailure(result) ? String(result.failure) : "holds"
    ))

describe("a property of process managers", () => {
  it.effect("holds for a correct one", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* outcomes({}), ["holds", "holds", "holds"])
    }))

  const total: Readonly<Record<string, readonly [Wrong, RegExp]>> = {
    "an input on which a reaction throws": [{ went: (count) => count > 1 ? boom() : 1 }, /Went.*not total/s],
    "a reaction with an invalid command": [{ went: (_, n) => n + 0.5 }, /sends the command "Do" with an invalid/],
    "a deadline on which a reaction throws": [{ due: boom }, /deadline.*not total/s],
    "a rejection on which a reaction throws": [{ refused: boom }, /rejection.*not total/s],
    "an evolve that throws": [{ evolve: (count) => count > 1 ? boom() : count + 1 }, /not total/],
    "a state that does not satisfy its Schema": [{ evolve: (count) => count + 0.5 }, /state that does not satisfy/]
  }
  for (const [what, [wrong, says]] of Object.entries(total)) {
    it.effect(`fails for ${what}`, () =>
      Effect.gen(function*() {
        const [first] = yield* outcomes(wrong)
        assert.match(first!, says)
        assert.match(first!, /Replay: checked: reacts to everything/)
      }))
  }

  it.effect("fails for a reaction that is not pure", () =>
    Effect.gen(function*() {
      let calls = 0
      const [, second] = yield* outcomes({ went: () => ++calls })
      assert.match(second!, /the same steps led to/)
    }))

  it.effect("starts most instances, also where one of many inputs starts one", () =>
    Effect.gen(function*() {
      const next = ({ id }: { readonly id: string }) => ProcessManager.continue(id)
      const later = { A: next, B: next, C: next, D: next, E: next, F: next, G: next, H: next }
      const react = () => []
      const process = ProcessManager.make("wide", {
        inputs: Schema.TaggedUnion({ Begun: id, A: id, B: id, C: id, D: id, E: id, F: id, G: id, H: id }),
        correlate: { Begun: ({ id }) => ProcessManager.start(id), ...later },
        state: Schema.Struct({}),
        events: Schema.TaggedUnion({ Counted: {} }),
        commands: []
      }).behaviour({
        initial: {},
        evolve: { Counted: (state) => state },
        react: { Begun: react, A: react, B: react, C: react, D: react, E: react, F: react, G: react, H: react }
      })
      for (const { test } of ProcessProperties.all(process, { seed: 1, minStarted: 60 })) yield* test
    }))

  it.effect("fails when too few instances start", () =>
    Effect.gen(function*() {
      const [first] = ProcessProperties.all(processOf({}), { seed: 1, maxSteps: 1, minStarted: 90 })
      assert.match(
        String(yield* Effect.flip(Effect.scoped(first!.test))),
        /Too few of the generated instances have started/
      )
    }))
})
