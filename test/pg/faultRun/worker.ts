/**
 * A process of the fault run. It runs the consumers of a release, and appends until the test writes `stop`. It prints a line for each call: its id, what
 * came of it and how long it took. JSON on its standard input sets switches. SIGTERM ends it.
 */
import { NodeRuntime } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Clock, Duration, Effect, Exit, Layer, Logger, Option, Random, Redacted, Schedule, Schema } from "effect"
import { Reactivity } from "effect/reactivity"
import { Projector, Subscription } from "evsrc"
import { createInterface } from "node:readline"
import { consumersOf, layerStores, profiles, randomCall, Release, switches, tagOf, World } from "./program.ts"

/** What the test gives to a process. */
const Settings = Schema.fromJsonString(Schema.Struct({
  url: Schema.String,
  /** The URL without the proxy. */
  direct: Schema.String,
  seed: Schema.Int,
  release: Release,
  profile: Schema.Literals(["quick", "defaults"]),
  isPlanted: Schema.Boolean
}))
const settings = Schema.decodeUnknownSync(Settings)(process.env["FAULT_SETTINGS"])
const { profile, release } = settings
const decodeSwitches = Schema.decodeUnknownSync(Schema.fromJsonString(Schema.Record(Schema.String, Schema.Boolean)))
const state = { isOver: false }
createInterface({ input: process.stdin })
  .on("line", (line) => {
    if (line === "stop") state.isOver = true
    else Object.assign(switches, decodeSwitches(line))
  })
  // It does not outlive the test.
  .on("close", () => process.exit(0))

const world = Layer.effect(
  World,
  Effect.gen(function*() {
    const sql = yield* PgClient.make({
      url: Redacted.make(settings.direct),
      maxConnections: 2,
      applicationName: "world"
    })
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
      yield* Effect.sleep(Duration.millis(yield* Random.nextIntBetween(200, 600)))
    }
  }).pipe(Random.withSeed(`${settings.seed} ${name}`))

const logger = Logger.make<unknown, void>(({ logLevel, message }) =>
  console.log(`log ${logLevel}: ${[message].flat().map(String).join(" ").replaceAll("\n", " ")}`)
)

const { effects, handled, sums } = consumersOf(release)
const { worker } = profiles[profile]
const layer = Layer.mergeAll(
  Projector.layer([sums, handled], worker),
  Subscription.layer([effects], worker).pipe(Layer.provide(world))
).pipe(
  Layer.provideMerge(
    layerStores(settings.url, "worker", {
      release,
      profile,
      options: settings.isPlanted ? { statementTimeout: "Infinity" } : {}
    })
  )
)

const program = Effect.gen(function*() {
  console.log("ready")
  yield* writer(`worker ${process.pid}`)
  console.log("stopped")
  return yield* Effect.never
})

// What is not there yet when the process starts in the middle of a fault, is there soon.
NodeRuntime.runMain(
  Effect.retry(Effect.provide(program, layer), Schedule.spaced("200 millis")).pipe(
    Effect.provide(Logger.layer([logger]))
  )
)
