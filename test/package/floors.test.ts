/**
 * The linter keeps the floors of the house apart: every direction an import can take is tried with the repository's
 * own lint configuration, in a copy of the house made of nothing else.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { cp, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")

const everything = {
  domain: "../domain/Module.ts",
  store: "../store/Module.ts",
  runtime: "../runtime/Module.ts",
  pg: "../pg/Module.ts",
  pglite: "../pglite/Module.ts",
  testing: "../testing/Module.ts",
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
} as const

type Target = keyof typeof everything

const effect: ReadonlyArray<Target> = ["effect", "effect/Schema", "effect/sql/SqlClient"]
const postgres: ReadonlyArray<Target> = [...effect, "@effect/sql-pg", "node:fs", "node:stream"]

const allowed: Readonly<Record<string, ReadonlyArray<Target>>> = {
  domain: ["domain", ...effect],
  store: ["domain", "store", ...effect],
  runtime: ["domain", "store", "runtime", ...effect],
  pg: ["domain", "store", "pg", ...postgres],
  pglite: ["domain", "store", "pg", "pglite", "@electric-sql/pglite", ...postgres],
  testing: ["domain", "store", "runtime", "testing", ...effect]
}

interface Report {
  readonly code?: string
  readonly filename: string
}

/** Lints the given files, and nothing else, as this repository would: `rule file` for all it finds. */
const lint = async (files: Readonly<Record<string, string>>): Promise<ReadonlyArray<string>> => {
  const house = await realpath(await mkdtemp(join(tmpdir(), "evsrc-floors-")))
  try {
    for (const name of [".oxlintrc.json", "oxlint.plugin.ts", "tsconfig.json", "package.json"]) {
      await cp(join(root, name), join(house, name))
    }
    await symlink(join(root, "node_modules"), join(house, "node_modules"))
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(house, name)), { recursive: true })
      await writeFile(join(house, name), text)
    }
    const oxlint = join(root, "node_modules/.bin/oxlint")
    const { code, stderr, stdout } = await new Promise<{ code: number; stdout: string; stderr: string }>((done) => {
      const child = execFile(
        oxlint,
        ["--format", "json", ...Object.keys(files)],
        { cwd: house, maxBuffer: 2 ** 26 },
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
    await rm(house, { recursive: true })
  }
}

describe("floors", () => {
  const fileOf = (floor: string, target: Target) => `src/${floor}/Import${Object.keys(everything).indexOf(target)}.ts`
  let reports: ReadonlyArray<string>

  beforeAll(async () => {
    const files: Record<string, string> = {}
    for (const floor of Object.keys(allowed)) {
      for (const [target, specifier] of Object.entries(everything)) {
        files[fileOf(floor, target as Target)] = `export * from "${specifier}"\n`
      }
    }
    reports = await lint(files)
  })

  for (const [floor, targets] of Object.entries(allowed)) {
    for (const target of Object.keys(everything) as ReadonlyArray<Target>) {
      const expected = targets.includes(target)
      it(`${floor} ${expected ? "may" : "may not"} import ${target}`, () => {
        const file = fileOf(floor, target)
        assert.deepStrictEqual(
          reports.filter((report) => report.endsWith(` ${file}`)),
          expected ? [] : [`evsrc(floors) ${file}`]
        )
      })
    }
  }

  it("every way to write an import counts, from any depth", async () => {
    const forbidden = [
      `import "../../store/A.ts"`,
      `import { a } from "../../store/A.ts"\nexport const b = a`,
      `import type { A } from "../../store/A.ts"\nexport type B = A`,
      `export { a } from "../../store/A.ts"`,
      `export type { A } from "../../store/A.ts"`,
      `export * as a from "../../store/A.ts"`,
      `export const a = () => import("../../store/A.ts")`,
      `export const a = (name: string) => import(name)`,
      `export import a = require("../../store/A.ts")`,
      `export const a = require("../../store/A.ts")`,
      `import "./../Deeper/../../store/A.ts"`,
      `import "../index.ts"`
    ]
    const files = Object.fromEntries(forbidden.map((text, i) => [`src/domain/deep/Forbidden${i}.ts`, `${text}\n`]))
    const found = await lint({ ...files, "src/domain/deep/Allowed.ts": `export * from "../B.ts"\n` })
    assert.deepStrictEqual(
      found.filter((report) => report.startsWith("evsrc(floors)")),
      Object.keys(files).map((file) => `evsrc(floors) ${file}`).toSorted()
    )
  })

  it("an import type counts too", async () => {
    const found = await lint({ "src/domain/A.ts": `export type A = import("../store/A.ts").A\n` })
    assert.include(found, "evsrc(floors) src/domain/A.ts")
  })

  it("the barrel reaches the core only", async () => {
    const barrel = (floor: string) => lint({ "src/index.ts": `export * as A from "./${floor}/A.ts"\n` })
    for (const floor of ["domain", "store", "runtime"]) assert.deepStrictEqual(await barrel(floor), [])
    for (const floor of ["pg", "pglite", "testing"]) {
      assert.deepStrictEqual(await barrel(floor), ["evsrc(floors) src/index.ts"])
    }
  })

  it("a new floor must be given its place first", async () => {
    assert.deepStrictEqual(
      await lint({ "src/attic/A.ts": `export * from "effect"\n`, "src/Loose.ts": `export * from "effect"\n` }),
      ["evsrc(floors) src/Loose.ts", "evsrc(floors) src/attic/A.ts"]
    )
  })
})

describe("the other rules", () => {
  it("cycles", async () => {
    assert.deepStrictEqual(
      await lint({
        "src/domain/A.ts": `import { b } from "./B.ts"\nexport const a = (): unknown => b\n`,
        "src/domain/B.ts": `import { a } from "./A.ts"\nexport const b = (): unknown => a\n`
      }),
      ["import(no-cycle) src/domain/A.ts", "import(no-cycle) src/domain/B.ts"]
    )
  })

  it("any, casts through unknown, and switching rules off without a reason", async () => {
    assert.deepStrictEqual(
      await lint({
        "src/domain/Any.ts": `export const a = (x: any): unknown => x\n`,
        "src/domain/Cast.ts": `export const a = (x: string) => x as unknown as number\n`,
        "src/domain/Disabled.ts": `// oxlint-disable-next-line typescript/no-explicit-any\nexport type A = any\n`,
        "src/domain/Reason.ts":
          `// oxlint-disable-next-line typescript/no-explicit-any -- for the test\nexport type A = any\n`,
        "src/domain/Unused.ts": `// oxlint-disable-next-line typescript/no-explicit-any -- no\nexport type A = 1\n`
      }),
      [
        "evsrc(disable-needs-reason) src/domain/Disabled.ts",
        "evsrc(no-double-cast) src/domain/Cast.ts",
        "typescript(no-explicit-any) src/domain/Any.ts",
        "unused directive src/domain/Unused.ts"
      ]
    )
  })
})
