/**
 * Prepares what all tests of a run share: one PostgreSQL server, or the one of TEST_DATABASE_URL, and the snapshot of an empty PGlite.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { TestProject } from "vitest/node"
import * as PgliteSnapshot from "./PgliteSnapshot.ts"
import * as PostgresServer from "./PostgresServer.ts"
import { compileCache } from "./Script.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** The URL of a server, as a user that may create databases. */
    readonly postgresUrl: string
    /** The path of a dump for PGlite's `loadDataDir`. */
    readonly pgliteSnapshot: string
  }
}

const settings = {
  max_connections: "200",
  // Without fsync a commit survives the end of the server, but not a power cut, which no test causes.
  fsync: "off",
  full_page_writes: "off"
}

/** Starts the server. Closes the scope on a failure, because the watching shell would keep the run from ending. */
const startServer = (scope: Scope.Closeable): Promise<string> =>
  PostgresServer.make({ settings }).pipe(
    Effect.map((server) => server.url),
    Scope.provide(scope),
    Effect.onError(() => Scope.close(scope, Exit.void)),
    Effect.runPromise
  )

/** Prints one line, and ends the run before any test has started. */
const giveUp = (what: string) => (cause: unknown): never => {
  const message = cause instanceof Error ? cause.message : String(cause)
  process.stderr.write(`The tests cannot start: ${what}: ${message.trim().replaceAll(/\s*\n\s*/g, " | ")}\n`)
  process.exit(1)
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const scope = Scope.makeUnsafe()
  const [postgresUrl, pgliteSnapshot] = await Promise.all([
    process.env["TEST_DATABASE_URL"] ?? startServer(scope).catch(giveUp("the PostgreSQL server")),
    PgliteSnapshot.ensure().catch(giveUp("the snapshot of PGlite"))
  ])
  project.provide("postgresUrl", postgresUrl)
  project.provide("pgliteSnapshot", pgliteSnapshot)
  // For all processes that the tests start, those of tools included.
  process.env["NODE_COMPILE_CACHE"] ??= compileCache
  return () => Effect.runPromise(Scope.close(scope, Exit.void))
}
