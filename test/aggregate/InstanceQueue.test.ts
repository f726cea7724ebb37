/** Turns of the commands of an instance: one at a time, each passed on, wherever a fiber is interrupted. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Random } from "effect"
import * as Scheduler from "effect/Scheduler"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as InstanceQueue from "../../src/aggregate/InstanceQueue.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import { AccountDecider } from "../support/AccountFixtures.ts"

describe("InstanceQueue", () => {
  // With so few steps between two yields of the run loop, an interruption comes at every step of a turn.
  it.live.each([5, 7, 9, 11, 13])(
    "passes every turn on beside interruptions, with a yield every %i steps",
    (steps) =>
      Effect.gen(function*() {
        for (let round = 0; round < 40; round++) {
          const queue = InstanceQueue.make<number>(1_000)
          let decided = 0
          const command = Effect.fnUntraced(function*(turn: InstanceQueue.Turn<number>) {
            yield* Effect.acquireUseRelease(
              Effect.sync(() => assert.strictEqual(++decided, 1, "one command is decided at a time")),
              () => Effect.flatMap(Random.nextIntBetween(0, 2), (times) => Effect.repeat(Effect.yieldNow, { times })),
              () => Effect.sync(() => decided--)
            )
            if (yield* Random.nextBoolean) turn.pass()
            yield* Effect.yieldNow
          })
          const fibers = yield* Effect.forEach(
            Array.from({ length: 12 }),
            () =>
              Effect.forkChild(Effect.provideService(queue.inTurn("s", command), Scheduler.MaxOpsBeforeYield, steps))
          )
          for (let i = 0; i < 40; i++) {
            yield* Effect.yieldNow
            if (yield* Random.nextBoolean) fibers[yield* Random.nextIntBetween(0, 11)]!.interruptUnsafe()
          }
          const exits = yield* Effect.timeout(Effect.forEach(fibers, (fiber) => Fiber.await(fiber)), "1 minute")
          assert.lengthOf(exits, 12)
          yield* queue.inTurn("s", command)
        }
      })
  )
  it.live("forgets each of 10,000 instances when its commands have ended, whatever became of them", () =>
    Effect.gen(function*() {
      const queue = InstanceQueue.make<number>(1_000)
      const gate = yield* Deferred.make<void>()
      const command = (i: number) => (turn: InstanceQueue.Turn<number>) =>
        Effect.gen(function*() {
          yield* Deferred.await(gate)
          if (i % 2 === 0) turn.pass()
          return yield* i % 3 === 0 ? Effect.fail("rejected") : Effect.yieldNow
        })
      const fibers = yield* Effect.forEach(
        Array.from({ length: 12_000 }, (_, i) => i),
        (i) => Effect.forkChild(queue.inTurn(`s${i % 10_000}`, command(i)), { startImmediately: true })
      )
      assert.strictEqual(queue.size(), 10_000)
      for (const [i, fiber] of fibers.entries()) if (i % 7 === 0) fiber.interruptUnsafe()
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.forEach(fibers, (fiber) => Fiber.await(fiber))
      assert.strictEqual(queue.size(), 0)
    }))

  it.effect.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])(
    "rejects a maxWaiting of %d when the layer is built",
    (maxWaiting) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Effect.provide(Effect.void, Aggregate.layer(AccountDecider, { maxWaiting })))
        assert.include(
          Exit.isFailure(exit) ? String(exit.cause) : "",
          `maxWaiting of the aggregate "Account" is ${maxWaiting}; it must be a whole number from 1`
        )
      }).pipe(Effect.provide(EventStore.layerMemory))
  )
})
