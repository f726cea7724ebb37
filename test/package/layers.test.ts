/**
 * The lint rules of this repository. Each test lints generated files in a temporary directory with the repository's own configuration. For the
 * folder order it tries an import from every folder to every other.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { cp, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")

/** The layer order of docs/project.md: a folder imports only folders before it. */
const core = [
  "core",
  "personalData",
  "event",
  "snapshot",
  "eventStore",
  "command",
  "query",
  "archive",
  "decision",
  "aggregate",
  "consumer",
  "projection",
  "subscription",
  "operations",
  "history",
  "timeTravel",
  "transfer",
  "erasure"
]
const entryPoints = ["domain", "http", "promise", "pg", "pglite", "testing", "conformance", "cli"]
const folders = [...core, ...entryPoints]

const others = {
  barrel: "../index.ts",
  "pg's barrel": "../pg/index.ts",
  "the package itself": "evsrc",
  "the package's pg": "evsrc/pg",
  "a test": "../../test/support/Module.ts",
  "a migration": "../../migrations/0001.ts",
  "node:fs": "node:fs",
  "node:stream": "node:stream",
  "fs without node:": "fs",
  effect: "effect",
  "effect/Schema": "effect/Schema",
  "effect/sql/SqlClient": "effect/sql/SqlClient",
  "a package that begins like effect": "effect-smol",
  "@effect/sql-pg": "@effect/sql-pg/PgClient",
  "@effect/platform-node": "@effect/platform-node",
  "@electric-sql/pglite": "@electric-sql/pglite",
  pgDriver: "pg",
  vitest: "vitest",
  "@effect/vitest": "@effect/vitest"
}

const targets: Readonly<Record<string, string>> = {
  ...Object.fromEntries(folders.map((folder) => [folder, `../${folder}/Module.ts`])),
  ...others
}

const effect = ["effect", "effect/Schema", "effect/sql/SqlClient"]
const postgres = ["node:fs", "node:stream", ...effect, "@effect/sql-pg"]

/** The targets that each folder may import, in the order of `targets`. */
const allowed: Readonly<Record<string, ReadonlyArray<string>>> = {
  ...Object.fromEntries(core.map((folder, index) => [folder, [...core.slice(0, index + 1), ...effect]])),
  domain: [...core, "domain"],
  http: [...core, "http", ...effect],
  promise: [...core, "promise", ...effect],
  pg: [...folders, ...postgres],
  pglite: [...folders, ...postgres, "@electric-sql/pglite"],
  testing: [...folders, ...effect],
  conformance: [...folders, ...effect],
  cli: [...folders, ...postgres, "@effect/platform-node"]
}

interface Report {
  readonly code?: string
  readonly filename: string
}

/** Lints only the given files with the configuration of this repository, and returns `rule file` for each finding. */
const lint = async (files: Readonly<Record<string, string>>): Promise<ReadonlyArray<string>> => {
  const directory = await realpath(await mkdtemp(join(tmpdir(), "evsrc-layers-")))
  try {
    for (const name of [".oxlintrc.json", "oxlint.plugin.ts", "tsconfig.json", "package.json"]) {
      await cp(join(root, name), join(directory, name))
    }
    await symlink(join(root, "node_modules"), join(directory, "node_modules"))
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(directory, name)), { recursive: true })
      await writeFile(join(directory, name), text)
    }
    const oxlint = join(root, "node_modules/.bin/oxlint")
    const { code, stderr, stdout } = await new Promise<{ code: number; stdout: string; stderr: string }>((done) => {
      const child = execFile(
        oxlint,
        ["--format", "json", ...Object.keys(files)],
        { cwd: directory, maxBuffer: 2 ** 26 },
        (_, stdout, stderr) => done({ code: child.exitCode ?? -1, stdout, stderr })
      )
    })
    const { diagnostics, number_of_files } = JSON.parse(stdout) as {
      readonly diagnostics: ReadonlyArray<Report>
      readonly number_of_files: number
    }
    assert.strictEqual(number_of_files, Object.keys(files).length, stderr)
    assert.strictEqual(code, diagnostics.length === 0 ? 0 : 1, stderr)
    return diagnostics.map(({ code, filename }) => `${code ?? "unused directive"} ${filename}`).toSorted()
  } finally {
    await rm(directory, { recursive: true })
  }
}

describe("the folder order", () => {
  const names = Object.keys(targets)
  const fileOf = (folder: string, target: string) => `src/${folder}/Import${names.indexOf(target)}.ts`
  let reports: ReadonlyArray<string>

  beforeAll(async () => {
    const files: Record<string, string> = {}
    for (const folder of Object.keys(allowed)) {
      for (const [target, specifier] of Object.entries(targets)) {
        files[fileOf(folder, target)] = `export * from "${specifier}"\n`
      }
    }
    reports = await lint(files)
  })

  for (const [folder, expected] of Object.entries(allowed)) {
    it(`lets src/${folder} import exactly ${expected.length} of ${names.length} targets`, () => {
      const rejected = names.filter((target) => reports.includes(`evsrc(layers) ${fileOf(folder, target)}`))
      assert.deepStrictEqual(names.filter((target) => !rejected.includes(target)), expected)
    })
  }

  it("lets a pure file import core, event and pure files, but no service", async () => {
    const pure = "src/projection/ProjectionDefinition.ts"
    const imports = (specifier: string) => lint({ [pure]: `export * from "${specifier}"\n` })
    for (
      const specifier of [
        "../core/Version.ts",
        "../event/Event.ts",
        "../personalData/PersonalData.ts",
        "../consumer/Consumer.ts"
      ]
    ) {
      assert.deepStrictEqual(await imports(specifier), [], specifier)
    }
    for (
      const specifier of [
        "../personalData/KeyStore.ts",
        "../eventStore/EventStore.ts",
        "../consumer/ConsumerWorker.ts",
        "./ProjectionStore.ts"
      ]
    ) {
      assert.deepStrictEqual(await imports(specifier), [`evsrc(layers) ${pure}`], specifier)
    }
  })

  it("checks every form of import at any depth", async () => {
    const forbidden = [
      `import "../../event/A.ts"`,
      `import { a } from "../../event/A.ts"\nexport const b = a`,
      `import type { A } from "../../event/A.ts"\nexport type B = A`,
      `export { a } from "../../event/A.ts"`,
      `export type { A } from "../../event/A.ts"`,
      `export * as a from "../../event/A.ts"`,
      `export const a = () => import("../../event/A.ts")`,
      `export const a = (name: string) => import(name)`,
      `export import a = require("../../event/A.ts")`,
      `export const a = require("../../event/A.ts")`,
      `import "../../event/A.ts"`,
      `import "../index.ts"`
    ]
    const files = Object.fromEntries(forbidden.map((text, i) => [`src/core/deep/Forbidden${i}.ts`, `${text}\n`]))
    const found = await lint({ ...files, "src/core/deep/Allowed.ts": `export * from "../B.ts"\n` })
    assert.deepStrictEqual(
      found.filter((report) => report.startsWith("evsrc(layers)")),
      Object.keys(files).map((file) => `evsrc(layers) ${file}`).toSorted()
    )
  })

  it("checks import types", async () => {
    const found = await lint({ "src/core/A.ts": `export type A = import("../event/A.ts").A\n` })
    assert.include(found, "evsrc(layers) src/core/A.ts")
  })

  it("lets the entry point import the core only", async () => {
    const barrel = (folder: string) => lint({ "src/index.ts": `export * as A from "./${folder}/A.ts"\n` })
    for (const folder of ["core", "erasure"]) assert.deepStrictEqual(await barrel(folder), [])
    for (const folder of entryPoints) {
      assert.deepStrictEqual(await barrel(folder), ["evsrc(layers) src/index.ts"])
    }
  })

  it("rejects a folder that is not in the order", async () => {
    assert.deepStrictEqual(
      await lint({ "src/attic/A.ts": `export * from "effect"\n`, "src/Loose.ts": `export * from "effect"\n` }),
      ["evsrc(layers) src/Loose.ts", "evsrc(layers) src/attic/A.ts"]
    )
  })
})

describe("the other rules", () => {
  it("rejects import cycles", async () => {
    assert.deepStrictEqual(
      await lint({
        "src/core/A.ts": `import { b } from "./B.ts"\nexport const a = (): unknown => b\n`,
        "src/core/B.ts": `import { a } from "./A.ts"\nexport const b = (): unknown => a\n`
      }),
      ["import(no-cycle) src/core/A.ts", "import(no-cycle) src/core/B.ts"]
    )
  })

  it("rejects any, casts through unknown, and disabling a rule without a reason", async () => {
    assert.deepStrictEqual(
      await lint({
        "src/core/Any.ts": `export const a = (x: any): unknown => x\n`,
        "src/core/Cast.ts": `export const a = (x: string) => x as unknown as number\n`,
        "src/core/Disabled.ts": `// oxlint-disable-next-line typescript/no-explicit-any\nexport type A = any\n`,
        "src/core/Reason.ts":
          `// oxlint-disable-next-line typescript/no-explicit-any -- for the test\nexport type A = any\n`,
        "src/core/Unused.ts": `// oxlint-disable-next-line typescript/no-explicit-any -- no\nexport type A = 1\n`
      }),
      [
        "evsrc(disable-needs-reason) src/core/Disabled.ts",
        "evsrc(no-double-cast) src/core/Cast.ts",
        "typescript(no-explicit-any) src/core/Any.ts",
        "unused directive src/core/Unused.ts"
      ]
    )
  })

  it("rejects JSON.parse and Schemas that call it in src, but not in tests", async () => {
    const uses = [
      "export const a = (text: string): unknown => JSON.parse(text)",
      "export const a = [`1`].map((text) => JSON[`parse`](text) as unknown)",
      `export const a = ["1"].map((text) => JSON["parse"](text) as unknown)`,
      "export const a = { parse: JSON.parse }",
      "export const { parse } = JSON",
      "export const a = globalThis.JSON.parse",
      `import * as Schema from "effect/Schema"\nexport const a = Schema.fromJsonString(Schema.String)`,
      `import * as SchemaGetter from "effect/SchemaGetter"\nexport const a = SchemaGetter.parseJson()`
    ]
    const files = Object.fromEntries(uses.map((text, i) => [`src/core/Use${i}.ts`, `${text}\n`]))
    const found = await lint({ ...files, "test/core/Use.ts": `${uses[0]}\n` })
    assert.deepStrictEqual(
      Array.from(new Set(found.filter((report) => report.startsWith("evsrc(parse-json)")))),
      Object.keys(files).map((file) => `evsrc(parse-json) ${file}`).toSorted()
    )
  })

  it("rejects a function above 80 lines in src and examples", async () => {
    const functionOf = (lines: number) =>
      `export const f = (): number => {\n${"  f()\n".repeat(lines - 3)}  return 1\n}\n`
    assert.deepStrictEqual(
      await lint({
        "src/core/Long.ts": functionOf(81),
        "src/core/Short.ts": functionOf(80),
        "examples/Long.ts": functionOf(81),
        "examples/Short.ts": functionOf(80),
        "test/Long.ts": functionOf(81)
      }),
      ["eslint(max-lines-per-function) examples/Long.ts", "eslint(max-lines-per-function) src/core/Long.ts"]
    )
  })
})
