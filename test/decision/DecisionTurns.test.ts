/** Turns of decisions: those that share a key one at a time, in the order of arrival, each passed on, wherever a fiber is interrupted. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Random } from "effect"
import * as Scheduler from "effect/Scheduler"
import * as DecisionTurns from "../../src/decision/DecisionTurns.ts"
import type { QueryItem } from "../../src/event/EventQuery.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import { Decision } from "../../src/index.ts"
import * as Fixture from "./DecisionQueueSuite.ts"

const options = { command: "Test", maxWaiting: 1_000, layer: "Decision.layer" }

const item = (tags: string, types = ""): QueryItem => ({
  tags: tags === "" ? [] : tags.split(" "),
  types: types === "" ? [] : types.split(" ")
})

/** Whether two decisions must not run at once. */
const conflict = (a: QueryItem, b: QueryItem): boolean => {
  const [[one, ...others], [two, ...more]] = [a.tags!, b.tags!]
  const types = (one === undefined || two === undefined) && a.types!.some((type) => b.types!.includes(type))
  return types || one !== undefined && (one === two || more.includes(one)) || two !== undefined && others.includes(two)
}

const items = [
  item("a:1"),
  item("a:2"),
  item("a:3 b:1"),
  item("b:1"),
  item("a:1", "T"),
  item("", "T U"),
  item("a:4", "U"),
  item("a:5 b:2", "V")
]

describe("DecisionTurns", () => {
  // With so few steps between two yields of the run loop, an interruption comes at every step of a turn.
  it.live.each([5, 7, 11])(
    "keeps decisions with a key in common apart beside interruptions, with a yield every %i steps",
    (steps) =>
      Effect.gen(function*() {
        let together = 0
        for (let round = 0; round < 30; round++) {
          const turns = DecisionTurns.make()
          const running = new Set<ReadonlyArray<QueryItem>>()
          const decision = Effect.fnUntraced(function*(mine: ReadonlyArray<QueryItem>, pass: () => void) {
            yield* Effect.acquireUseRelease(
              Effect.sync(() => {
                for (const other of running) {
                  together++
                  assert.isFalse(mine.some((one) => other.some((two) => conflict(one, two))), "no conflict")
                }
                running.add(mine)
              }),
              () => Effect.flatMap(Random.nextIntBetween(0, 3), (times) => Effect.repeat(Effect.yieldNow, { times })),
              () => Effect.sync(() => running.delete(mine))
            )
            if (yield* Random.nextBoolean) pass()
            yield* Effect.yieldNow
          })
          const fibers = yield* Effect.forEach(Array.from({ length: 16 }), () =>
            Effect.gen(function*() {
              const count = yield* Random.nextIntBetween(1, 3)
              const mine = (yield* Random.shuffle(items)).slice(0, count)
              return yield* Effect.forkChild(
                Effect.provideService(
                  turns.inTurn(mine, options, (pass) => decision(mine, pass)),
                  Scheduler.MaxOpsBeforeYield,
                  steps
                )
              )
            }))
          for (let i = 0; i < 30; i++) {
            yield* Effect.yieldNow
            if (yield* Random.nextBoolean) fibers[yield* Random.nextIntBetween(0, 15)]!.interruptUnsafe()
          }
          const exits = yield* Effect.timeout(Effect.forEach(fibers, (fiber) => Fiber.await(fiber)), "1 minute")
          for (const exit of exits) assert.isFalse(Exit.hasDies(exit), String(exit))
          assert.strictEqual(turns.size(), 0, "keys that are left")
        }
        assert.isAbove(together, 0, "decisions that ran at once")
      })
  )

  it.effect("gives turns in the order of arrival", () =>
    Effect.gen(function*() {
      const turns = DecisionTurns.make()
      const order: Array<number> = []
      yield* Effect.forEach(
        Array.from({ length: 50 }, (_, index) => index),
        (index) =>
          turns.inTurn([item("a:1")], options, () =>
            Effect.andThen(
              Effect.yieldNow,
              Effect.sync(() => order.push(index))
            )),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(order, Array.from({ length: 50 }, (_, index) => index))
    }))

  it.effect.each([0, -1, 1.5, Number.NaN])(
    "rejects a maxWaiting of %d when the layer is built",
    (maxWaiting) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Effect.provide(Effect.void, Decision.layer(Fixture.pay, { maxWaiting })))
        assert.include(
          Exit.isFailure(exit) ? String(exit.cause) : "",
          `maxWaiting of the decision of "Pay" is ${maxWaiting}; it must be a whole number from 1`
        )
      }).pipe(Effect.provide(EventStore.layerMemory))
  )
})
