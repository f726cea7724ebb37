/**
 * `npm run check`: runs all checks, also after one has failed.
 */
import { spawnSync } from "node:child_process"

const npm = process.env["npm_execpath"]
if (npm === undefined) throw new Error("run it by: npm run check")

const failed = ["check:format", "check:types", "lint"].filter((script) =>
  spawnSync(process.execPath, [npm, "run", "-s", script], { stdio: "inherit" }).status !== 0
)
process.exitCode = failed.length === 0 ? 0 : 1
