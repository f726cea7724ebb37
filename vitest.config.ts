import { existsSync } from "node:fs"
import { defaultServerConditions } from "vite"
import { defineConfig } from "vitest/config"

const globalSetup = "test/support/globalSetup.ts"

export default defineConfig({
  // `import … from "evsrc"` means the sources, as it does for tsc and for `node --conditions=@evsrc/source`.
  ssr: { resolve: { conditions: ["@evsrc/source", ...defaultServerConditions] } },
  test: {
    include: ["test/**/*.test.ts"],
    // TODO: until the file is there, one can do without it outside of CI
    globalSetup: process.env.CI !== undefined || existsSync(globalSetup) ? [globalSetup] : [],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000
  }
})
