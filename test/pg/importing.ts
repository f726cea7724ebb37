/** A process that imports the file named by its first argument. Prints its progress after every page, so that a test can kill it midway. */
import { NodeFileSystem } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { LogTransfer } from "evsrc"
import { PgEventStore } from "evsrc/pg"

const database = PgClient.layer({ url: Redacted.make(process.env["DATABASE_URL"] ?? ""), maxConnections: 2 })

const program = Effect.gen(function*() {
  console.log("ready")
  const { written } = yield* LogTransfer.importFromFile(process.argv[2]!, {
    onProgress: ({ events }) => Effect.sync(() => console.log(`at ${events}`))
  })
  console.log(`done ${written}`)
})

await Effect.runPromise(
  program.pipe(Effect.provide([PgEventStore.layer.pipe(Layer.provide(database)), NodeFileSystem.layer]))
)
