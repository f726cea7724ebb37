// Opens a folder, which it creates from a snapshot if one is given, and writes to it, then waits for a signal.
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { SqlClient } from "effect/sql/SqlClient"
import { openAsBlob } from "node:fs"
import * as PgliteClient from "../../src/pglite/PgliteClient.ts"

const [dataDir = "", snapshot = ""] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE IF NOT EXISTS kept (id bigint GENERATED ALWAYS AS IDENTITY)`
  yield* sql`INSERT INTO kept DEFAULT VALUES`
  yield* sql`BEGIN`
  yield* sql`INSERT INTO kept DEFAULT VALUES`
  yield* Effect.sync(() => process.stdout.write("open\n"))
})

const database = PgliteClient.layer({ dataDir, ...snapshot === "" ? {} : { loadDataDir: () => openAsBlob(snapshot) } })

NodeRuntime.runMain(Layer.launch(Layer.provide(Layer.effectDiscard(program), database)))
