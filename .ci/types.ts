/**
 * `npm run check:types`: the type check, with Effect's diagnostics.
 */
import { execFileSync, spawnSync } from "node:child_process"
import { resolve } from "node:path"

const tsgo = resolve(import.meta.dirname, "../node_modules/@effect/tsgo/dist/effect-tsgo.cjs")
const compiler = execFileSync(process.execPath, [tsgo, "get-exe-path"], { encoding: "utf8" }).trim()
process.exitCode = spawnSync(compiler, ["--noEmit"], { stdio: "inherit" }).status ?? 1
