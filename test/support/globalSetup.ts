/**
 * What the tests of a whole run share: one PostgreSQL server, or the one of TEST_DATABASE_URL, and the snapshot of a PGlite.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { TestProject } from "vitest/node"
import * as PgliteSnapshot from "./PgliteSnapshot.ts"
import * as PostgresServer from "./PostgresServer.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** Of a superuser, or one that may create databases. */
    readonly postgresUrl: string
    /** The path of a dump for PGlite's `loadDataDir`. */
    readonly pgliteSnapshot: string
  }
}

const settings = {
  max_connections: "200",
  // No test of this server lets the machine lose power, and what a commit wrote survives the server's end without.
  fsync: "off"
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const scope = Scope.makeUnsafe()
  const url = process.env["TEST_DATABASE_URL"]
  const [postgresUrl, pgliteSnapshot] = await Promise.all([
    url ?? Effect.runPromise(Scope.provide(PostgresServer.make({ settings }), scope)).then((server) => server.url),
    PgliteSnapshot.ensure()
  ])
  project.provide("postgresUrl", postgresUrl)
  project.provide("pgliteSnapshot", pgliteSnapshot)
  return () => Effect.runPromise(Scope.close(scope, Exit.void))
}
