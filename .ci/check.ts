/**
 * `npm run check`: runs all checks beside each other, also after one has failed, and prints the output of each when it ends.
 */
import { execFile } from "node:child_process"

const npm = process.env["npm_execpath"]
if (npm === undefined) throw new Error("run it by: npm run check")

const passes = (script: string): Promise<boolean> =>
  new Promise((resolve) => {
    execFile(process.execPath, [npm, "run", "-s", script], { maxBuffer: 2 ** 30 }, (error, stdout, stderr) => {
      process.stdout.write(stdout)
      process.stderr.write(stderr)
      resolve(error === null)
    })
  })

const passed = await Promise.all(["check:types", "check:format", "lint"].map(passes))
process.exitCode = passed.every(Boolean) ? 0 : 1
