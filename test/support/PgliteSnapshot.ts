/**
 * A snapshot of an empty PGlite. Loading it takes a tenth of the time of creating one. It depends only on the version of PGlite, so
 * later runs use it again.
 */
import { PGlite } from "@electric-sql/pglite"
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"

const folder = Path.resolve(import.meta.dirname, "../../node_modules/.cache/evsrc")

const version = (): string => {
  // PGlite does not export its package.json.
  let at = Path.dirname(createRequire(import.meta.url).resolve("@electric-sql/pglite"))
  while (!Fs.existsSync(Path.join(at, "package.json"))) at = Path.dirname(at)
  const { version } = JSON.parse(Fs.readFileSync(Path.join(at, "package.json"), "utf8")) as { readonly version: string }
  return version
}

/** Returns the path of the snapshot. Creates it if it is missing. */
export const ensure = async (): Promise<string> => {
  const path = Path.join(folder, `pglite-${version()}.tar`)
  if (Fs.existsSync(path)) return path
  const pglite = await PGlite.create()
  const dump = await pglite.dumpDataDir("none")
  await pglite.close()
  Fs.mkdirSync(folder, { recursive: true })
  // Another run may create it concurrently: each moves a complete file into place.
  const draft = `${path}.${randomUUID()}`
  Fs.writeFileSync(draft, new Uint8Array(await dump.arrayBuffer()))
  Fs.renameSync(draft, path)
  return path
}
