/** One of several processes whose fibers send commands to one counter until the test stops it. Prints the commands that succeeded, and errors. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Exit, Layer, Redacted } from "effect"
import { Aggregate, CommandBus } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { once } from "node:events"
import { Count, Counter } from "./counters.ts"

const fibers = 16

const sending = (name: string) =>
  Effect.gen(function*() {
    for (let i = 0;; i++) {
      const from = `${name}-${i}`
      const exit = yield* Effect.exit(
        CommandBus.dispatch(Count, { counter: "hot", times: 1, from }, { commandId: from })
      )
      // A full stop ends each line, because the last line of a killed process may be incomplete.
      console.log(Exit.isSuccess(exit) ? `${from} .` : `error ${String(exit)}`)
    }
  })

const program = Effect.gen(function*() {
  const input = () => Effect.promise(() => Promise.race([once(process.stdin, "data"), once(process.stdin, "end")]))
  console.log("ready")
  yield* input()
  const names = Array.from({ length: fibers }, (_, i) => `${process.pid}-${i}`)
  yield* Effect.raceFirst(Effect.forEach(names, sending, { concurrency: "unbounded" }), input())
})

await Effect.runPromise(
  program.pipe(
    Effect.provide(
      Aggregate.layer(Counter).pipe(
        Layer.provide(PgEventStore.layerWithoutMigrations()),
        Layer.provide(PgClient.layer({ url: Redacted.make(process.env["DATABASE_URL"] ?? ""), maxConnections: 6 }))
      )
    )
  )
)
process.exit(0)
