/** The lock of a data directory on Linux, in containers, and as on a system without `/proc` or without links. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { vi } from "vitest"
import * as DirectoryLock from "../../src/pglite/DirectoryLock.ts"
import * as LockOwner from "../../src/pglite/LockOwner.ts"
import * as Script from "../support/Script.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "evsrc-lock-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

const failing = (code: string) => (): never => {
  throw Object.assign(new Error(code), { code })
}

const own = LockOwner.nodeSystem.pid
const ownStart = 1_000.25

/** A system such as Windows: of other processes it only tells whether they exist. */
const windows: LockOwner.System = {
  pid: own,
  host: "win32 desk",
  boot: undefined,
  pids: undefined,
  fileSystem: () => undefined,
  startOf: (pid) => pid === own ? `clock:${ownStart}` : undefined,
  exists: (pid) => pid === own || pid === 4,
  link: Fs.linkSync
}
const systems = {
  "this system": LockOwner.nodeSystem,
  "a system without /proc": windows,
  "a file system without links": { ...windows, link: failing("EPERM") }
}

const lockOf = (path: string) => Path.join(path, LockOwner.fileName)

describe.each(Object.entries(systems))("a lock on %s", (_, system) => {
  it.live("is held by one at a time, and removed at the end", () =>
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
    it.live.each(
      [
        ["of an existing process", { pid: 4, started: "clock:1.000", token: "a" }, "InUse"],
        ["of this process, by another thread", { pid: own, started: "clock:1000.256", token: "b" }, "InUse"],
        ["of an earlier process with this id", { pid: own, started: "clock:7.000", token: "c" }, undefined],
        ["of an ended process", { pid: 5, started: "clock:1.000", token: "d" }, undefined],
        ["of another host", { pid: 5, started: "clock:1.000", token: "e", host: "win32 laptop" }, "InUse"],
        ["that is incomplete", "{\"pid\": 4", "InUse"]
      ] as const
    )("%s", ([, owner, expected]) =>
      Effect.gen(function*() {
        const path = yield* folder
        Fs.writeFileSync(
          lockOf(path),
          typeof owner === "string" ? owner : JSON.stringify({ host: windows.host, ...owner })
        )
        const taken = Effect.match(Effect.scoped(DirectoryLock.acquire(path, system)), {
          onFailure: ({ reason }) => reason,
          onSuccess: () => undefined
        })
        assert.strictEqual(yield* taken, expected)
        assert.deepStrictEqual(Fs.readdirSync(path), expected === undefined ? [] : [LockOwner.fileName])
      }))
  }
)

it.live("a lock is also held against another copy of the module, without /proc", () =>
  Effect.gen(function*() {
    const path = yield* folder
    const unknown = { ...windows, startOf: () => undefined }
    yield* DirectoryLock.acquire(path, unknown)
    vi.resetModules()
    const copy = yield* Effect.promise(() => import("../../src/pglite/DirectoryLock.ts"))
    assert.notStrictEqual(copy.acquire, DirectoryLock.acquire)
    assert.strictEqual((yield* Effect.flip(Effect.scoped(copy.acquire(path, unknown)))).reason, "InUse")
  }))

describe.skipIf(process.platform !== "linux")("a lock of a process that is seen from another container", () => {
  const real = LockOwner.nodeSystem
  const local = real.fileSystem(Os.tmpdir())?.local === true
  const otherPids = { ...real, pids: "pid:[1]" }
  const otherBoot = { ...otherPids, boot: "another" }
  const systems = {
    "on one machine": otherPids,
    "on one machine, with a boot id of its own": otherBoot,
    "on one machine, with a network file system": {
      ...otherPids,
      fileSystem: (folder: string) => ({ ...real.fileSystem(folder)!, local: false })
    }
  }

  it.live("is removed when the process exits without closing its scope", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const script = yield* Script.start(import.meta.resolve("./lock.script.ts"), { args: [path, "exit"] })
      yield* script.waitFor(/^locked$/)
      yield* script.exited
      assert.deepStrictEqual(Fs.readdirSync(path), [])
    }))

  it.live("closes its file handle once, also after its socket could not accept a connection", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const listen = vi.spyOn(Net.Server.prototype, "listen")
      yield* Effect.addFinalizer(() => Effect.sync(() => listen.mockRestore()))
      const scope = yield* Scope.make()
      yield* Scope.provide(DirectoryLock.acquire(path), scope)
      const [server] = listen.mock.contexts
      assert.instanceOf(server, Net.Server)
      server.emit("error", Object.assign(new Error("accept EMFILE"), { code: "EMFILE" }))
      // If the lock had closed its handle, this file would get the same number, and lose it to the end of the lock.
      const other = Fs.openSync(path, "r")
      yield* Scope.close(scope, Exit.void)
      Fs.closeSync(other)
      assert.deepStrictEqual(Fs.readdirSync(path), [])
    }))

  it.live("is held until the process has ended, also while it is stopped", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const script = yield* Script.start(import.meta.resolve("./lock.script.ts"), { args: [path] })
      yield* script.waitFor(/^locked$/)
      yield* script.signal("SIGSTOP")
      for (const [name, system] of Object.entries(systems)) {
        const error = yield* Effect.flip(Effect.scoped(DirectoryLock.acquire(path, system)))
        assert.strictEqual(error.reason, "InUse", name)
        assert.include(error.message, `process ${script.pid} of the host`, name)
        if (local || system.boot === real.boot) assert.include(error.message, "Stop that process first", name)
      }
      yield* script.signal("SIGKILL")
      yield* script.exited
      assert.include(Fs.readdirSync(path), LockOwner.fileName)
      yield* Effect.scoped(DirectoryLock.acquire(path, local ? otherBoot : otherPids))
      assert.deepStrictEqual(Fs.readdirSync(path), [])
    }))

  it.live("is not taken over if the owner cannot be checked, and the message says what to do", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const remote = {
        ...otherBoot,
        host: "linux other",
        fileSystem: systems["on one machine, with a network file system"].fileSystem
      }
      const owner = LockOwner.own({ ...remote, pid: 1, pids: "pid:[2]" }, path, "gone", true)
      for (const there of [owner, { ...owner, listens: false }, { ...owner, boot: real.boot!, device: "other" }]) {
        Fs.writeFileSync(lockOf(path), JSON.stringify(there))
        for (const system of [real, otherPids, windows]) {
          const error = yield* Effect.flip(Effect.scoped(DirectoryLock.acquire(path, system)))
          assert.strictEqual(error.reason, "InUse")
          assert.include(error.message, "cannot be checked: process 1 of the host \"linux other\"")
          assert.include(error.message, `delete ${lockOf(path)}`)
          assert.deepStrictEqual(Fs.readdirSync(path), [LockOwner.fileName])
        }
      }
    }))

  it.live("is taken over by one of several that start together", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const script = yield* Script.start(import.meta.resolve("./lock.script.ts"), { args: [path] })
      yield* script.waitFor(/^locked$/)
      yield* script.signal("SIGKILL")
      yield* script.exited
      const held = yield* Effect.all(
        Array.from(
          { length: 8 },
          (_, n) => Effect.result(DirectoryLock.acquire(path, { ...real, pids: `pid:[${n}]` }))
        ),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(held.filter((result) => result._tag === "Success").length, 1)
    }))
})
