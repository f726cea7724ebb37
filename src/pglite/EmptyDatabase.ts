/**
 * A dump of an empty PGlite, from which a new database is created in a fraction of the time. Its databases have the same system
 * identifier, which only replication and backups of a server's files use, and PGlite has neither.
 *
 * @since 0.1.0
 */
import { PGlite } from "@electric-sql/pglite"
import * as Effect from "effect/Effect"
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"
import { parseJson } from "../core/json/parseJson.ts"
import { PgliteError } from "./PgliteError.ts"

const packageVersion = (): string => {
  // PGlite does not export its package.json.
  let folder = Path.dirname(createRequire(import.meta.url).resolve("@electric-sql/pglite"))
  while (!Fs.existsSync(Path.join(folder, "package.json"))) folder = Path.dirname(folder)
  const { version } = parseJson(Fs.readFileSync(Path.join(folder, "package.json"), "utf8")) as {
    readonly version?: unknown
  }
  return String(version)
}

/** Where a project's tools keep what they can make again. Without the folder of packages there is no such place. */
const cacheFile = (): string | undefined => {
  const packages = Path.resolve("node_modules")
  try {
    return Fs.statSync(packages).isDirectory()
      ? Path.join(packages, ".cache/evsrc", `pglite-${packageVersion()}.tar`)
      : undefined
  } catch {
    return undefined
  }
}

/** Another process may do the same concurrently: each moves a complete file into place. */
const keep = (file: string, content: Uint8Array): void => {
  try {
    Fs.mkdirSync(Path.dirname(file), { recursive: true })
    const draft = `${file}.${randomUUID()}`
    Fs.writeFileSync(draft, content)
    Fs.renameSync(draft, file)
  } catch {
    // The file only saves time.
  }
}

const make = async (): Promise<Blob> => {
  const file = cacheFile()
  if (file !== undefined && Fs.existsSync(file)) return Fs.openAsBlob(file)
  const pglite = await PGlite.create()
  const dump = await pglite.dumpDataDir("none")
  await pglite.close()
  if (file !== undefined) keep(file, new Uint8Array(await dump.arrayBuffer()))
  return dump
}

let made: Promise<Blob> | undefined

/**
 * Returns the dump, for the option `loadDataDir`. It is made once, and kept in `node_modules/.cache/evsrc` for later processes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const dump: Effect.Effect<Blob, PgliteError> = Effect.tryPromise({
  try: () => made ??= make(),
  catch: (cause) => {
    made = undefined
    return new PgliteError({ reason: "Start", message: "PGlite did not start", cause })
  }
})
