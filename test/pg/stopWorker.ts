/** A program that appends, projects and subscribes until it gets SIGTERM. Prints `working` when all of them have done something. */
import { NodeRuntime } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Schedule, Stream } from "effect"
import { EventStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { Tick, Ticks } from "./healthTicks.ts"

const database = PgClient.layer({ url: Redacted.make(process.env["DATABASE_URL"] ?? ""), maxConnections: 4 })

const program = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const projector = yield* Projector.Projector
  const append = (stream: string) => Effect.exit(store.append(Tick, stream, [Tick.cases.Ticked.make({ n: 1 })]))
  yield* Effect.forEach(["a", "b", "c"], (stream) => Effect.forkChild(Effect.forever(append(stream))))
  yield* Effect.forkChild(Effect.exit(Stream.runDrain(store.subscribe(Tick))))
  yield* Effect.repeat(projector.status, {
    until: ([status]) => status !== undefined && status.position > 10n,
    schedule: Schedule.spaced("20 millis")
  })
  console.log("working")
  return yield* Effect.never
})

NodeRuntime.runMain(program.pipe(
  Effect.provide(
    Projector.layer([Ticks], { lease: "1 second" }).pipe(
      Layer.provideMerge(
        PgStores.layerWithoutMigrations({ statementTimeout: "1 second", connectionTimeout: "1 second" })
      ),
      Layer.provide(database)
    )
  )
))
