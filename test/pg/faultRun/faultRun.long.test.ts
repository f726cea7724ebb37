/** A program under random faults for minutes. Its seed is printed; FAULT_SEED repeats a run. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Random } from "effect"
import { type FaultName, names } from "./faults.ts"
import { type Options, run } from "./run.ts"

const seed = Number(process.env["FAULT_SEED"] ?? Date.now() % 1_000_000)
// Alone, a stall ends within seconds. Beside other long runs, the start of a program alone may take ten.
const bounds = { answer: 30_000, named: 30_000, green: 60_000 }

/** Runs the program without the lines of the outages in this process. */
const runWith = (options: Omit<Options, "seed">) =>
  run({ seed, ...options }).pipe(
    Effect.scoped,
    Random.withSeed(String(seed)),
    Effect.provide(Logger.layer([]))
  )

const allTwice = Effect.map(
  Effect.all([Random.shuffle(names), Random.shuffle(names)]),
  (orders): ReadonlyArray<FaultName> => orders.flatMap((order) => Array.from(order))
).pipe(Random.withSeed(String(seed)))

// Both wait most of the time.
describe(`a program under random faults, FAULT_SEED=${seed}`, { concurrent: true }, () => {
  it.live("answers every caller, names each stall, recovers, and keeps all invariants", () =>
    Effect.gen(function*() {
      const report = yield* runWith({
        profile: "quick",
        workers: 2,
        parked: 2_000,
        faults: yield* allTwice,
        millis: 90_000,
        bounds
      })
      console.log(report.story.join("\n"))
      assert.deepStrictEqual(report.problems, [], report.story.join("\n"))
      assert.isAtLeast(report.calls, 200)
    }), 600_000)

  it.live("names stalls and recovers with the default options", () =>
    Effect.gen(function*() {
      const report = yield* runWith({
        profile: "defaults",
        workers: 2,
        parked: 50,
        faults: ["connections are cut", "a session holds the lock of the low-water mark, shared", "packets are lost"],
        bounds: { answer: 60_000, named: 60_000, green: 60_000 }
      })
      console.log(report.story.join("\n"))
      assert.deepStrictEqual(report.problems, [], report.story.join("\n"))
    }), 600_000)
})

// The load of the others would slow them down.
describe(`a run under random faults, FAULT_SEED=${seed}`, () => {
  const planted = {
    "a deadline that is missing in the store of a caller": {
      where: "caller",
      problem: /^[^\n]+: not answered within 20s$/
    },
    "a deadline that is missing in the store of a worker": {
      where: "worker",
      problem: /health was not green again, but said: .*(sent no heartbeat|no event was applied|no worker has owned)/
    },
    "a health check that does not see events which no reader gets": {
      where: "health",
      // A worker that is slow for a moment makes health name idle sessions, but no line of the log does.
      problem:
        /^a session holds the lock of the low-water mark, shared: (health did not name it|no line of the log named it)/
    }
  } as const

  for (const [what, { problem, where }] of Object.entries(planted)) {
    it.live(`finds ${what}`, () =>
      Effect.gen(function*() {
        const faults = yield* Random.shuffle<FaultName>([
          "packets are lost",
          "a session holds the lock of the low-water mark, shared",
          "a session holds the lock of a stream"
        ]).pipe(Random.withSeed(String(seed)))
        // In a run in which a worker is slow at the wrong moment, its own log line names what the planted fault hides.
        const report = yield* runWith({
          profile: "quick",
          workers: 1,
          parked: 10,
          faults: Array.from(faults),
          bounds: { answer: 20_000, named: 15_000, green: 20_000 },
          planted: where
        }).pipe(Effect.repeat({ until: ({ problems }) => problems.length > 0, times: 2 }))
        assert.match(report.problems[0] ?? "", problem, report.story.join("\n"))
      }), 300_000)
  }
})
