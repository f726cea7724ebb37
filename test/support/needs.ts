/** Tests that need a tool which npm does not install. */
declare module "vitest" {
  interface TaskMeta {
    /** The tool without which the test is skipped. */
    missingTool?: string
  }
}

/** Returns the options of a test or `describe` that needs a tool. Without the tool vitest skips it, and SkipReporter names the tool. */
export const needs = (tool: string, isInstalled: boolean) =>
  isInstalled ? {} : { skip: true, meta: { missingTool: tool } }
