/** A program under random faults for minutes. Its seed is printed; FAULT_SEED repeats a run. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Random } from "effect"
import { type FaultName, faults } from "./faults.ts"
import { run } from "./run.ts"

const seed = Number(process.env["FAULT_SEED"] ?? Date.now() % 1_000_000)
/** Without the lines of the outages that the faults cause. */
const withSeed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(Random.withSeed(String(seed)), Effect.provide(Logger.layer([])))
const names = Object.keys(faults) as ReadonlyArray<FaultName>

describe(`a program under random faults, FAULT_SEED=${seed}`, () => {
  it.live("answers every caller, names each stall, recovers, and keeps all invariants", () =>
    Effect.gen(function*() {
      const order = [...yield* Random.shuffle(names), ...yield* Random.shuffle(names)]
      const report = yield* run({ seed, workers: 2, parked: 2_000, faults: order, millis: 120_000 })
      console.log(report.story.join("\n"))
      assert.deepStrictEqual(report.problems, [], report.story.join("\n"))
      assert.isAtLeast(report.calls, 200)
    }).pipe(Effect.scoped, withSeed), 900_000)

  // One connection that is half-open is enough.
  const planted = {
    caller: /^planted query: not answered within 20s$/,
    worker: /^packets are lost: health was not green again, but said: .*(sent no heartbeat|no event was applied)/
  } as const

  for (const [where, problem] of Object.entries(planted)) {
    it.live(`finds a deadline that is missing in a ${where}`, () =>
      Effect.gen(function*() {
        const report = yield* run({
          seed,
          workers: 1,
          parked: 10,
          faults: ["packets are lost"],
          bound: 20_000,
          planted: where as keyof typeof planted
        })
        assert.match(report.problems[0] ?? "", problem, report.story.join("\n"))
      }).pipe(Effect.scoped, withSeed), 300_000)
  }
})
