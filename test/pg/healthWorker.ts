/** A projector process that runs until the test kills it. Prints `live` when it owns every partition. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Schedule } from "effect"
import { Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { Ticks } from "./healthTicks.ts"

const database = PgClient.layer({ url: Redacted.make(process.env["DATABASE_URL"] ?? ""), maxConnections: 5 })

const program = Effect.gen(function*() {
  const projector = yield* Projector.Projector
  yield* Effect.repeat(projector.status, {
    until: ([status]) => status?.partitions === Ticks.partitions,
    schedule: Schedule.spaced("10 millis")
  })
  console.log("live")
  return yield* Effect.never
})

await Effect.runPromise(
  program.pipe(
    Effect.provide(Projector.layer([Ticks], { lease: "1 second" })),
    Effect.provide(PgStores.layerWithoutMigrations().pipe(Layer.provide(database)))
  )
)
