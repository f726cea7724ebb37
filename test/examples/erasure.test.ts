import { assert, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { resolve } from "node:path"
import { promisify } from "node:util"

const file = resolve(import.meta.dirname, "../../examples/erasure.ts")

it("runs as a program", async () => {
  const { stderr, stdout } = await promisify(execFile)(process.execPath, ["--conditions=@evsrc/source", file])
  assert.deepStrictEqual(stdout.trim().split("\n"), [
    "erased in 1 event, 1 document; left in 0 places",
    "c-1: (erased) paid 30",
    "c-2: Bob Baker paid 20",
    "an erased customer has spent 30",
    "the order of c-1 is rejected, because its key was deleted"
  ])
  assert.strictEqual(stderr, "")
})

it("stays under 91 lines", async () => {
  assert.isBelow((await readFile(file, "utf8")).split("\n").length, 91)
})
