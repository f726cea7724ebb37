/** `evsrc init`: the files that it writes, and those that it leaves alone. test/package/pack.test.ts runs the project. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Reports } from "evsrc/cli"
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Cli from "./Cli.ts"

const temporaryFolder = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "evsrc-init-"))),
  (folder) => Effect.promise(() => rm(folder, { recursive: true }))
)

describe("evsrc init", () => {
  it.live("keeps the files of an existing project, and prints what to add to them", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const manifest = "{ \"name\": \"shop\" }\n"
      yield* Effect.promise(() => writeFile(join(folder, "package.json"), manifest))
      const { files, kept } = yield* Cli.document(Reports.init, ["init", folder])
      assert.deepStrictEqual(kept, ["package.json"])
      assert.notInclude(files, "package.json")
      assert.strictEqual(yield* Effect.promise(() => readFile(join(folder, "package.json"), "utf8")), manifest)
      for (const file of files) yield* Effect.promise(() => readFile(join(folder, file)))

      for (const file of files.filter((name) => name !== "tsconfig.json")) {
        yield* Effect.promise(() => rm(join(folder, file)))
      }
      const text = yield* Cli.output(["init", folder])
      assert.match(text, /npm install (\S+@\S+ )+evsrc@\^\d/)
      assert.include(text, "In package.json, set \"type\": \"module\"")
      assert.include(text, "In tsconfig.json, set: allowImportingTsExtensions")
      assert.notInclude(text, "In .gitignore")
    }))

  it.live("writes nothing if one of its source files exists already", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      yield* Effect.promise(() => writeFile(join(folder, "evsrc.config.ts"), "export {}\n"))
      const { code, stderr } = yield* Cli.run(["init", folder])
      assert.strictEqual(code, 2)
      assert.include(stderr, "has evsrc.config.ts already, and nothing was written")
      assert.deepStrictEqual(yield* Effect.promise(() => readdir(folder)), ["evsrc.config.ts"])
    }))
})
