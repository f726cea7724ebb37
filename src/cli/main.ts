#!/usr/bin/env node
/**
 * The program `evsrc`. The copy of evsrc that the project in the working directory has runs the command.
 *
 * @since 0.1.0
 */
import * as OwnCopy from "./OwnCopy.ts"

/** What is not installed with evsrc, because programs without a command line do not need it. */
const peers = ["@effect/platform-node", "@effect/sql-pg", "effect"]

const fail = (message: string): void => {
  process.stderr.write(`evsrc: ${message}\n`)
  process.exitCode = 2
}

const ofProject = OwnCopy.find(process.cwd())
if (ofProject._tag === "Other") {
  await OwnCopy.runMain(ofProject)
} else if (ofProject._tag === "WithoutCommandLine") {
  fail(ofProject.message)
} else {
  try {
    const { start } = await import("./start.ts")
    start(OwnCopy.version)
  } catch (error) {
    const missing = peers.find((name) => String(error).includes(`Cannot find package '${name}'`))
    if (missing === undefined) throw error
    fail(
      `The package ${missing} is not installed, which the command line needs; run: npm install --save-dev ${missing}`
    )
  }
}
