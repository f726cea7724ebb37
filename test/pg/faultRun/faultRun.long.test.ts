/** A program under random faults for minutes. Its seed is printed; FAULT_SEED repeats a run. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Random } from "effect"
import { type FaultName, names } from "./faults.ts"
import { run } from "./run.ts"

const seed = Number(process.env["FAULT_SEED"] ?? Date.now() % 1_000_000)
/** Without the lines of the outages that the faults cause. */
const withSeed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(Random.withSeed(String(seed)), Effect.provide(Logger.layer([])))
const only = process.env["FAULTS"]?.split(";") as ReadonlyArray<FaultName> | undefined

const bounds = { answer: 30_000, named: 20_000, green: 15_000 }

// They wait most of the time.
describe(`a program under random faults, FAULT_SEED=${seed}`, { concurrent: true }, () => {
  it.live("answers every caller, names each stall, recovers, and keeps all invariants", () =>
    Effect.gen(function*() {
      const order = only ?? [...yield* Random.shuffle(names), ...yield* Random.shuffle(names)]
      const report = yield* run({
        seed,
        profile: "quick",
        workers: 2,
        parked: 2_000,
        faults: order,
        millis: 120_000,
        bounds
      })
      console.log(report.story.join("\n"))
      assert.deepStrictEqual(report.problems, [], report.story.join("\n"))
      assert.isAtLeast(report.calls, 200)
    }).pipe(Effect.scoped, withSeed), 600_000)
})
