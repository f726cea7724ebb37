/**
 * Names the missing tools and counts the tests that are skipped without them. With TEST_SKIPS=fail, which `.ci/run`
 * sets, a skipped test fails the run.
 */
import type { Reporter, TestModule } from "vitest/node"

export default class SkipReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>): void {
    const counts = new Map<string | undefined, number>()
    for (const module of modules) {
      for (const test of module.children.allTests("skipped")) {
        const tool = test.meta().missingTool
        counts.set(tool, (counts.get(tool) ?? 0) + 1)
      }
    }
    for (const [tool, count] of counts) {
      if (tool !== undefined) console.warn(`Skipped ${count} tests: ${tool} is not installed`)
    }
    if (process.env["TEST_SKIPS"] !== "fail") return
    const total = Array.from(counts.values()).reduce((sum, count) => sum + count, 0)
    if (total === 0) return
    console.error(`${total} tests were skipped, and TEST_SKIPS=fail allows none`)
    process.exitCode = 1
  }
}
