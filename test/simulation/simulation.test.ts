import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { scale } from "../support/scale.ts"
import * as JobSchedule from "./JobSchedule.ts"
import { run } from "./Schedule.ts"

/** A failure prints the seed; `SIMULATION_SEED=… SIMULATION_RUNS=1` replays it. */
const first = Number(process.env["SIMULATION_SEED"] ?? 1)
const runs = Number(process.env["SIMULATION_RUNS"] ?? scale(150, 5000))

describe("the simulation", () => {
  it.effect(
    "applies every event once, in the order of its key, under appends, workers, rebuilds and faults",
    () =>
      Effect.gen(function*() {
        let events = 0
        let rebuilt = 0
        for (let seed = first; seed < first + runs; seed++) {
          const result = yield* Effect.scoped(run(seed, { watermark: true }))
          assert.deepStrictEqual(result.differences, [], `SIMULATION_SEED=${seed} SIMULATION_RUNS=1`)
          events += result.events
          if (result.rebuilt) rebuilt++
        }
        assert.isAbove(events, runs)
        assert.isAbove(rebuilt, runs / 100)
      }),
    300_000
  )

  it.effect("finds lost events when readers do not wait for appends in flight", () =>
    Effect.gen(function*() {
      let differences: ReadonlyArray<string> = []
      for (let seed = 1; seed <= 200 && differences.length === 0; seed++) {
        differences = (yield* Effect.scoped(run(seed, { watermark: false }))).differences
      }
      assert.match(differences.join("\n"), /instead of|are in the delivery log/)
    }), 300_000)
})

describe("the simulation of process managers", () => {
  const runs = Number(process.env["SIMULATION_RUNS"] ?? scale(30, 500))

  it.effect(
    "ends every job, with each effect once, under losses, crashes and races of deadlines",
    () =>
      Effect.gen(function*() {
        const seen = new Map<string, number>()
        for (let seed = first; seed < first + runs; seed++) {
          const { faults, types } = yield* Effect.scoped(JobSchedule.run(seed))
          assert.deepStrictEqual(faults, [], `SIMULATION_SEED=${seed} SIMULATION_RUNS=1`)
          for (const type of types) seen.set(type, (seen.get(type) ?? 0) + 1)
        }
        if (runs < 10) return
        for (const type of ["cancelled.Due", "fired.Due", "fired.End", "rejected.Do"]) {
          assert.isAbove(seen.get(`jobs.${type}`) ?? 0, runs / 10, type)
        }
      }),
    600_000
  )

  it.effect(
    "ends every job while programs of one process share a store in memory",
    () =>
      Effect.gen(function*() {
        for (let seed = first; seed < first + runs; seed++) {
          const { faults } = yield* Effect.scoped(JobSchedule.run(seed, { isOneProcess: true }))
          assert.deepStrictEqual(faults, [], `SIMULATION_SEED=${seed} SIMULATION_RUNS=1`)
        }
      }),
    600_000
  )

  const planted: Readonly<Record<JobSchedule.Planted, RegExp>> = {
    "random ids": /the effects of the commands|the inputs/,
    "unchecked deadlines": /Due has fired and was not pending/
  }
  for (const [fault, says] of Object.entries(planted)) {
    it.effect(`finds ${fault}`, () =>
      Effect.gen(function*() {
        let faults: ReadonlyArray<string> = []
        for (let seed = 1; seed <= 300 && faults.length === 0; seed++) {
          faults = (yield* Effect.scoped(JobSchedule.run(seed, { planted: fault as JobSchedule.Planted }))).faults
        }
        assert.match(faults.join("\n"), says)
      }), 600_000)
  }
})
