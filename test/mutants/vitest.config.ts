/** The tests that a mutant has to survive: the suites in memory and the unit tests of the core, which need no database. */
import { readdirSync, readFileSync } from "node:fs"
import { defaultServerConditions } from "vite"
import { defineConfig } from "vitest/config"

const excluded = ["docs", "examples", "matrix", "mutants", "package", "pg", "pglite", "simulation", "support"]

const needsDatabase = /support\/(Database|PostgresServer)\.ts"|\binject\(/

const files = readdirSync("test", { recursive: true, encoding: "utf8" })
  .map((name) => name.replaceAll("\\", "/"))
  .filter((name) => name.endsWith(".test.ts") && !excluded.includes(name.split("/")[0]!))
  .map((name) => `test/${name}`)
  .filter((file) => !/conformance\/(?!memory)/.test(file) && !needsDatabase.test(readFileSync(file, "utf8")))

export default defineConfig({
  ssr: { resolve: { conditions: ["@evsrc/source", ...defaultServerConditions] } },
  test: { include: files, pool: "forks", testTimeout: 60_000, hookTimeout: 120_000 }
})
