/**
 * A process of the fault run. It runs the consumers, and appends until the test writes `stop`. It prints a line for each call: its id, what came of it
 * and how long it took. `broken` and `repaired` on its standard input say whether events with a negative number fail.
 */
import { PgClient } from "@effect/sql-pg"
import { Clock, Duration, Effect, Exit, Layer, Option, Random, Redacted, Schedule } from "effect"
import { Reactivity } from "effect/reactivity"
import { Projector, Subscription } from "evsrc"
import { createInterface } from "node:readline"
import { Effects, Handled, layerStores, lease, randomCall, Sums, switches, tagOf, World } from "./program.ts"

const { DATABASE_URL = "", DIRECT_URL = "", FAULT_SEED = "", PLANTED = "" } = process.env
const state = { isOver: false }
switches.isBroken = process.env["BROKEN"] === "true"
createInterface({ input: process.stdin })
  .on("line", (line) => {
    if (line === "stop") state.isOver = true
    else switches.isBroken = line === "broken"
  })
  // It does not outlive the test.
  .on("close", () => process.exit(0))

const world = Layer.effect(
  World,
  Effect.gen(function*() {
    const sql = yield* PgClient.make({ url: Redacted.make(DIRECT_URL), maxConnections: 2, applicationName: "world" })
    return World.of({
      happened: (stream, version, position) =>
        Effect.orDie(
          sql`insert into effects (stream, version, position) values (${stream}, ${version}, ${position})`
        )
    })
  })
).pipe(Layer.provide(Reactivity.layer))

const writer = (name: string) =>
  Effect.gen(function*() {
    for (let round = 0; !state.isOver; round++) {
      const { id, run, size } = yield* randomCall(`${name}-${round}`)
      const start = yield* Clock.currentTimeMillis
      const exit = yield* Effect.exit(run)
      const took = (yield* Clock.currentTimeMillis) - start
      const result = Exit.isSuccess(exit)
        ? String(exit.value.position)
        : Option.match(Exit.findErrorOption(exit), { onNone: () => `not typed: ${exit.cause}`, onSome: tagOf })
      console.log(JSON.stringify([id, size, result, took]))
      yield* Effect.sleep(Duration.millis(yield* Random.nextIntBetween(100, 400)))
    }
  }).pipe(Random.withSeed(`${FAULT_SEED} ${name}`))

const options = { lease, retryDelay: { first: "100 millis", max: "1 second" } } as const
const layer = Layer.mergeAll(
  Projector.layer([Sums, Handled], options),
  Subscription.layer([Effects], options).pipe(Layer.provide(world))
).pipe(
  Layer.provideMerge(
    layerStores(DATABASE_URL, "worker", PLANTED === "true" ? { statementTimeout: "Infinity" } : {})
  )
)

const program = Effect.gen(function*() {
  console.log("ready")
  yield* Effect.forEach([1, 2], (index) => writer(`worker ${process.pid} ${index}`), { concurrency: "unbounded" })
  console.log("stopped")
  return yield* Effect.never
})

// What is not there yet when the process starts in the middle of a fault, is there soon.
await Effect.runPromise(Effect.retry(Effect.provide(program, layer), Schedule.spaced("200 millis")))
