/** The lock of a data directory on Linux, and as on a system without `/proc` or without links. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { vi } from "vitest"
import * as DirectoryLock from "../../src/pglite/DirectoryLock.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "evsrc-lock-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

const failing = (code: string) => (): never => {
  throw Object.assign(new Error(code), { code })
}

const own = DirectoryLock.nodeSystem.pid
const ownStart = 1_000.25

/** A system such as Windows: of other processes it only tells whether they exist. */
const windows: DirectoryLock.System = {
  pid: own,
  startOf: (pid) => pid === own ? `clock:${ownStart}` : undefined,
  exists: (pid) => pid === own || pid === 4,
  link: Fs.linkSync
}
const systems = {
  "this system": DirectoryLock.nodeSystem,
  "a system without /proc": windows,
  "a file system without links": { ...windows, link: failing("EPERM") }
}

const lockOf = (path: string) => Path.join(path, DirectoryLock.fileName)

describe.each(Object.entries(systems))("a lock on %s", (_, system) => {
  it.effect("is held by one at a time, and removed at the end", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const scope = yield* Scope.make()
      yield* Scope.provide(DirectoryLock.acquire(path, system), scope)
      const error = yield* Effect.flip(Effect.scoped(DirectoryLock.acquire(path, system)))
      assert.deepInclude(error, { reason: "InUse" })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(Fs.readdirSync(path), [])
      yield* Effect.scoped(DirectoryLock.acquire(path, system))
    }))
})

describe.each([["with links", windows], ["without links", systems["a file system without links"]]])(
  "a lock without /proc, %s",
  (_, system) => {
    it.effect.each(
      [
        ["of an existing process", { pid: 4, started: "clock:1.000", token: "a" }, "InUse"],
        ["of this process, by another thread", { pid: own, started: "clock:1000.256", token: "b" }, "InUse"],
        ["of an earlier process with this id", { pid: own, started: "clock:7.000", token: "c" }, undefined],
        ["of an ended process", { pid: 5, started: "clock:1.000", token: "d" }, undefined],
        ["that is incomplete", "{\"pid\": 4", undefined]
      ] as const
    )("%s", ([, owner, expected]) =>
      Effect.gen(function*() {
        const path = yield* folder
        Fs.writeFileSync(lockOf(path), typeof owner === "string" ? owner : JSON.stringify(owner))
        const taken = Effect.match(Effect.scoped(DirectoryLock.acquire(path, system)), {
          onFailure: ({ reason }) => reason,
          onSuccess: () => undefined
        })
        assert.strictEqual(yield* taken, expected)
        assert.deepStrictEqual(Fs.readdirSync(path), expected === undefined ? [] : [DirectoryLock.fileName])
      }))
  }
)

it.effect("a lock is also held against another copy of the module, without /proc", () =>
  Effect.gen(function*() {
    const path = yield* folder
    const unknown = { ...windows, startOf: () => undefined }
    yield* DirectoryLock.acquire(path, unknown)
    vi.resetModules()
    const copy = yield* Effect.promise(() => import("../../src/pglite/DirectoryLock.ts"))
    assert.notStrictEqual(copy.acquire, DirectoryLock.acquire)
    assert.strictEqual((yield* Effect.flip(Effect.scoped(copy.acquire(path, unknown)))).reason, "InUse")
  }))
