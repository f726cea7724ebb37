// Locks a folder, and waits until it is killed; with "exit", it exits without closing the scope.
import * as Effect from "effect/Effect"
import * as DirectoryLock from "../../src/pglite/DirectoryLock.ts"

const [folder = "", ending] = process.argv.slice(2)

if (ending !== "exit") setInterval(() => {}, 60_000)

await Effect.runPromise(Effect.scoped(Effect.andThen(
  DirectoryLock.acquire(folder),
  Effect.suspend(() => {
    process.stdout.write("locked\n")
    return Effect.never
  })
)))
