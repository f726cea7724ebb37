import { readdirSync, readFileSync } from "node:fs"
import { posix, sep } from "node:path"
import { defaultServerConditions } from "vite"
import { defineConfig } from "vitest/config"
import SkipReporter from "./test/support/SkipReporter.ts"

const onlyLong = "test/**/*.long.test.ts"

/** Returns the test files that have a long version: those that import test/support/scale.ts. */
const longFiles = (): ReadonlyArray<string> =>
  readdirSync("test", { recursive: true, encoding: "utf8" })
    .map((name) => posix.join("test", name.split(sep).join("/")))
    .filter((file) =>
      !file.includes("/node_modules/") && file.endsWith(".test.ts") &&
      /\/support\/scale\.ts"/.test(readFileSync(file, "utf8"))
    )

export default defineConfig(({ mode }) => {
  const isLong = mode === "long" || process.env["TEST_LENGTH"] === "long"
  return {
    // `import … from "evsrc"` means the sources, as it does for tsc and for `node --conditions=@evsrc/source`.
    ssr: { resolve: { conditions: ["@evsrc/source", ...defaultServerConditions] } },
    test: {
      env: isLong ? { TEST_LENGTH: "long" } : {},
      include: isLong ? [...longFiles(), onlyLong] : ["test/**/*.test.ts"],
      exclude: ["**/node_modules/**", ...isLong ? [] : [onlyLong]],
      globalSetup: ["test/support/globalSetup.ts"],
      reporters: ["default", new SkipReporter()],
      pool: "forks",
      // Test files share a worker's modules: loading Effect for each of a hundred files took a third of the time.
      isolate: false,
      maxWorkers: 2,
      testTimeout: 60_000,
      hookTimeout: 120_000
    }
  }
})
