/** The client programs of PostgreSQL, if they are installed with a server of the same version. No npm package contains them. */
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { promisify } from "node:util"
import { needs } from "./needs.ts"

const debian = "/usr/lib/postgresql"
const programs = ["initdb", "postgres", "pg_dump", "psql"]

/** The folder that contains all programs, if there is one. */
export const folder: string | undefined = [
  ...(process.env["PATH"] ?? "").split(Path.delimiter),
  ...Fs.existsSync(debian) ? Fs.readdirSync(debian).map((version) => Path.join(debian, version, "bin")) : []
].find((folder) => programs.every((name) => Fs.existsSync(Path.join(folder, name))))

/** The options of a test that needs the programs. */
export const needed = needs("PostgreSQL's pg_dump with its server", folder !== undefined)

const run = promisify(execFile)

/** Dumps a database with `pg_dump`, and restores it into another with `psql`. */
export const dumpAndRestore = (from: string, to: string): Effect.Effect<void> =>
  Effect.promise(async () => {
    const tool = (name: string) => Path.join(folder ?? "", name)
    const dump = await run(tool("pg_dump"), [from], { maxBuffer: Infinity })
    const restore = run(tool("psql"), ["--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", to])
    restore.child.stdin?.end(dump.stdout)
    await restore
  })
