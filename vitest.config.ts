import { readdirSync, readFileSync } from "node:fs"
import { posix, sep } from "node:path"
import { defaultServerConditions } from "vite"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"
import SkipReporter from "./test/support/SkipReporter.ts"

const onlyLong = "test/**/*.long.test.ts"

/** Returns the test files that have a long version: those that import test/support/scale.ts, or select cases by test/conformance/longCases.ts. */
const longFiles = (): ReadonlyArray<string> =>
  readdirSync("test", { recursive: true, encoding: "utf8" })
    .map((name) => posix.join("test", name.split(sep).join("/")))
    .filter((file) =>
      !file.includes("/node_modules/") && file.endsWith(".test.ts") &&
      /\/support\/scale\.ts"|\bLongCases\.of\(/.test(readFileSync(file, "utf8"))
    )

/** Files that take long, in the order in which they start. Vitest itself knows only their sizes when it has no results of an earlier run. */
const longest = [
  "conformance/postgres",
  "conformance/pglite",
  "conformance/clients",
  "conformance/memory",
  "pg/deadlines",
  "package/pack",
  "examples/users-main",
  "pglite/PgliteClient",
  "pg/"
]

/** Starts the files that take longest first, so that none of them runs alone at the end. */
class LongestFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const index = longest.findIndex((part) => moduleId.includes(`/test/${part}`))
      return index === -1 ? longest.length : index
    }
    // oxlint-disable-next-line unicorn/no-array-sort -- it is Vitest's method, and returns another array
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b))
  }
}

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
      // Two more than CI has cores, because tests wait for a third of their time.
      maxWorkers: 4,
      sequence: { sequencer: LongestFirst },
      testTimeout: 300_000,
      hookTimeout: 300_000
    }
  }
})
