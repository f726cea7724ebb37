/** Installs the peers, unless they are there. */
import { execFileSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"

const here = import.meta.dirname

export const install = (): void => {
  if (existsSync(join(here, "node_modules", "autocannon"))) return
  process.stderr.write("Installing the peers into bench/node_modules: npm ci --prefix bench\n")
  execFileSync("npm", ["ci", "--ignore-scripts", "--prefix", here], { stdio: ["ignore", 2, 2] })
}
