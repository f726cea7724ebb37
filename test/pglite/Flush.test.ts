/** Flushing, on this system and as on Windows, which rejects it for a directory and for a handle without write access. */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { onTestFinished } from "vitest"
import * as Flush from "../../src/pglite/Flush.ts"

const error = (code: string) => Object.assign(new Error(code), { code })

/** A file system that contains the directory `d`, the file `f`, and the file `r` that nobody may write. */
const simulated = (rejected: { readonly directories: string; readonly handles: string }) => {
  const flushed: Array<string> = []
  const opened: Array<string> = []
  const closed: Array<number> = []
  const open = (path: string, flags: string): number => {
    if (path === "r" && flags !== "r") throw error("EACCES")
    return opened.push(`${path} ${flags}`) - 1
  }
  const sync = (fd: number): void => {
    const [path, flags] = opened[fd]!.split(" ")
    if (path === "d" && rejected.directories !== "") throw error(rejected.directories)
    if (path === "bad") throw error("EIO")
    if (flags === "r" && path === "f" && rejected.handles !== "") throw error(rejected.handles)
    flushed.push(`${path} ${flags}`)
  }
  const fs: Flush.FileSystem = {
    openSync: open,
    fsyncSync: sync,
    closeSync: (fd) => void closed.push(fd),
    fstatSync: (fd) => ({ isDirectory: () => opened[fd]!.startsWith("d ") }),
    promises: {
      stat: async (path) => ({ isDirectory: () => path === "d" }),
      open: async (path, flags) => {
        const fd = open(path, flags)
        return { sync: async () => sync(fd), close: async () => void closed.push(fd) }
      }
    }
  }
  return { closed, flushed, fs, opened }
}

describe.each([["Linux", "", ""], ["Windows", "EPERM", "EPERM"], ["another", "EISDIR", "EBADF"]])(
  "as on %s",
  (_, directories, handles) => {
    let system: ReturnType<typeof simulated>
    beforeAll(() => {
      system = simulated({ directories, handles })
    })

    it("flushes paths with a handle that may write, and directories where it can", async () => {
      for (const path of ["d", "f"]) await Flush.flushPath(path, system.fs)
      assert.deepStrictEqual(system.flushed, directories === "" ? ["d r", "f r+"] : ["f r+"])
      assert.lengthOf(system.closed, 2)
    })

    it("flushes a file that it may only read", async () => {
      await Flush.flushPath("r", system.fs)
      assert.strictEqual(system.flushed.at(-1), "r r")
    })

    it("flushes an open handle, or the file again with write access", () => {
      for (const [path, flags] of [["f", "r"], ["f", "r+"], ["d", "r"]] as const) {
        const fd = system.fs.openSync(path, flags)
        const before = system.flushed.length
        Flush.flushHandle(fd, () => path, system.fs)
        const expected = path === "d" && directories !== "" ? [] : [`${path} ${handles === "" ? flags : "r+"}`]
        assert.deepStrictEqual(system.flushed.slice(before), expected)
      }
    })

    it("reports a disk that fails", async () => {
      assert.throws(() => Flush.flushHandle(system.fs.openSync("bad", "r+"), () => "bad", system.fs), "EIO")
      const failure = await Flush.flushPath("bad", system.fs).then(() => "none", String)
      assert.include(failure, "EIO")
    })
  }
)

it("flushes files, handles and directories of this system", async () => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evsrc-flush-"))
  onTestFinished(() => Fs.rmSync(folder, { recursive: true }))
  const file = Path.join(folder, "file")
  Fs.writeFileSync(file, "text")
  for (const path of [folder, file]) await Flush.flushPath(path)
  const fd = Fs.openSync(file, "r")
  Flush.flushHandle(fd, () => file)
  Fs.closeSync(fd)
  assert.strictEqual(Fs.readFileSync(file, "utf8"), "text")
})
