/** How `evsrc.config.ts` is found and loaded, and what is said about one that cannot be. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { cp, mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import * as Cli from "./Cli.ts"

// Within the repository, so that a configuration resolves `evsrc` to the sources.
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(import.meta.dirname, "config-"))
})

afterAll(() => rm(folder, { recursive: true, force: true }))

const imports = `import { EvsrcConfig } from "evsrc/cli"\n`

/** Writes a configuration into a folder of its own, and returns what a command says that needs it. */
const failureOf = (name: string, text: string) =>
  Effect.gen(function*() {
    const cwd = join(folder, name)
    yield* Effect.promise(async () => {
      await mkdir(cwd)
      await cp(join(Cli.fixtures, "Shop.ts"), join(cwd, "Shop.ts"))
      await writeFile(join(cwd, "evsrc.config.ts"), text)
    })
    const { code, stderr, stdout } = yield* Cli.execute(["audit"], { cwd, url: "postgres://nobody@127.0.0.1:1/none" })
    assert.deepStrictEqual([code, stdout], [2, ""], stderr)
    assert.include(stderr, join(cwd, "evsrc.config.ts"))
    return stderr
  })

describe("another copy of evsrc in the project", () => {
  // Outside of the repository, where `evsrc` is the repository itself.
  const copyIn = (manifest: object) =>
    Effect.acquireRelease(
      Effect.promise(async () => realpath(await mkdtemp(join(tmpdir(), "evsrc-copy-")))),
      (cwd) => Effect.promise(() => rm(cwd, { recursive: true }))
    ).pipe(Effect.tap((cwd) => writeCopy(cwd, manifest)))
  const writeCopy = (cwd: string, manifest: object) =>
    Effect.promise(async () => {
      const copy = join(cwd, "node_modules/evsrc")
      await mkdir(copy, { recursive: true })
      await writeFile(
        join(copy, "package.json"),
        JSON.stringify({ name: "evsrc", version: "9.9.9", type: "module", ...manifest })
      )
      await writeFile(join(copy, "main.js"), "console.log(`run by 9.9.9: ${process.argv.slice(2)}`)")
    })

  it.live("runs the command", () =>
    Effect.gen(function*() {
      const cwd = yield* copyIn({ bin: { evsrc: "main.js" } })
      assert.strictEqual((yield* Cli.execute(["tail", "--json"], { cwd })).stdout, "run by 9.9.9: tail,--json\n")
    }))

  it.live("is named with both versions if it has no command line", () =>
    Effect.gen(function*() {
      const cwd = yield* copyIn({})
      const { code, stderr } = yield* Cli.execute(["tail"], { cwd })
      assert.strictEqual(code, 2)
      assert.match(stderr, /This is evsrc \d\S+, but the project has evsrc 9\.9\.9 in \S+, which has no command line/)
    }))
})

describe("evsrc.config.ts", () => {
  it.live("is named in the error when it cannot be loaded", () =>
    Effect.gen(function*() {
      const found = yield* Effect.all({
        throws: failureOf("throws", "throw new Error(\"no luck\")"),
        notTypes: failureOf("enum", "enum A { B }\nexport default A"),
        missing: failureOf("missing", "import \"./Nowhere\"\nexport default 1"),
        package: failureOf("package", "import \"package-that-is-not-installed\"\nexport default 1"),
        named: failureOf("named", `${imports}export const config = EvsrcConfig.make({})`),
        twice: failureOf(
          "twice",
          `${imports}import { Paid } from "./Shop.ts"\nexport default EvsrcConfig.make({ projections: [Paid, Paid] })`
        )
      }, { concurrency: 2 })
      assert.include(found.throws, "cannot be loaded: Error: no luck")
      assert.include(found.notTypes, "such as an enum")
      assert.include(found.missing, "give the whole name of a file")
      assert.include(found.package, "npm install package-that-is-not-installed")
      assert.notInclude(found.package, "name of a file")
      assert.include(found.named, "write: export default EvsrcConfig.make({ … })")
      assert.include(found.twice, "two projections have the name \"paid@1\"")
    }))

  it.live("ends the command when its code throws in the background, and prints no password", () =>
    Effect.gen(function*() {
      const cwd = join(folder, "beside")
      const text = `${imports}Promise.reject(new Error("cannot reach postgres://ann:top-secret-word@host/shop"))\n`
        + "setTimeout(() => {}, 10_000)\nawait new Promise(() => {})\nexport default EvsrcConfig.make({})"
      yield* Effect.promise(async () => {
        await mkdir(cwd)
        await writeFile(join(cwd, "evsrc.config.ts"), text)
      })
      const { code, stderr } = yield* Cli.execute(["audit"], { cwd })
      assert.strictEqual(code, 3, stderr)
      assert.strictEqual(
        stderr,
        "evsrc: The code of the configuration threw an error in the background: Error: cannot reach postgres://ann:***@host/shop\n"
      )
    }))

  it.live("is found in a folder above the working directory, or by --config", () =>
    Effect.gen(function*() {
      const below = join(folder, "found", "a", "b")
      const config = join(folder, "found", "evsrc.config.ts")
      yield* Effect.promise(async () => {
        await mkdir(below, { recursive: true })
        await writeFile(config, `${imports}export default EvsrcConfig.make({ options: { schema: "of_config" } })`)
      })
      assert.include((yield* Cli.execute(["migrate", "--sql"], { cwd: below })).stdout, "\"of_config\".")
      const sql = (...args: ReadonlyArray<string>) => Cli.output(["migrate", "--sql", "--config", config, ...args])
      assert.include(yield* sql(), "\"of_config\".")
      assert.include(yield* sql("--schema", "given"), "\"given\".")
      const { code, stderr } = yield* Cli.run(["migrate", "--sql", "--config", "none.ts"])
      assert.strictEqual(code, 2)
      assert.include(stderr, "none.ts does not exist; correct --config")
    }))
})
