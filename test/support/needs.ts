/** Tests that need a tool which npm does not install. */
declare module "vitest" {
  interface TaskMeta {
    /** The tool without which the test is skipped. */
    missingTool?: string
  }
}

/** The options of a test, or of a `describe`, that needs a tool: without it the test is skipped, and SkipReporter names the tool. */
export const needs = (tool: string, isInstalled: boolean) =>
  isInstalled ? {} : { skip: true, meta: { missingTool: tool } }
