/** The scripts of package.json run on every platform: `cmd.exe` runs them on Windows. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readFileSync } from "node:fs"
import { resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")
const scriptsOf = (folder: string) =>
  Object.entries(
    (JSON.parse(readFileSync(resolve(root, folder, "package.json"), "utf8")) as {
      readonly scripts?: Readonly<Record<string, string>>
    }).scripts ?? {}
  ).map(([name, command]) => [`${folder}: ${name}`, command] as const)

/** A command that only a shell of Unix runs: an assignment, a substitution, a quote, a sequence, or a program of Unix. */
const unportable = /[$`'";(){}*?~<>|\\]|(?<!&)&(?!&)|^\w+=|&& *\w+=/
const programs = ["node", "npm", "tsc", "vitest", "dprint", "oxlint", "typedoc"]

describe("a script of package.json", () => {
  const scripts = [".", "docs/api", "bench", "test/mutants", "test/matrix"].filter((folder) =>
    existsSync(resolve(root, folder, "package.json"))
  ).flatMap(scriptsOf)

  it.each(scripts)("%s contains nothing that only a shell of Unix understands", (_, command) => {
    assert.notMatch(command, unportable)
    for (const part of command.split("&&")) {
      const [program, first] = part.trim().split(/ +/)
      assert.include(programs, program)
      if (program === "node" && first?.endsWith(".ts")) assert.isTrue(existsSync(resolve(root, first)), first)
    }
  })

  it.each([
    "A=b node x.ts",
    "node $(x)",
    "node a.ts; node b.ts",
    "rm -rf dist && tsc",
    "exec node x.ts",
    "node x.ts &"
  ])(
    "is rejected as: %s",
    (command) => {
      const isPortable = !unportable.test(command)
        && command.split("&&").every((part) => programs.includes(part.trim().split(/ +/)[0]!))
      assert.isFalse(isPortable)
    }
  )
})
