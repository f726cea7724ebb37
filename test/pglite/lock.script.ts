// Locks a folder, and waits until it is killed.
import * as Effect from "effect/Effect"
import * as DirectoryLock from "../../src/pglite/DirectoryLock.ts"

const [folder = ""] = process.argv.slice(2)

await Effect.runPromise(Effect.scoped(Effect.andThen(
  DirectoryLock.acquire(folder),
  Effect.suspend(() => {
    process.stdout.write("locked\n")
    return Effect.never
  })
)))
