/**
 * An empty database of the embedded PostgreSQL. A new folder is created from it in two seconds instead of eight.
 */
import { readFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { join, resolve } from "node:path"
import { promisify } from "node:util"
import { zstdDecompress } from "node:zlib"

const packageJson = resolve(import.meta.dirname, "../../node_modules/@electric-sql/pglite/package.json")
const { version } = JSON.parse(readFileSync(packageJson, "utf8")) as { readonly version: string }

/** The file of the installed version of PGlite, which `npm run build:pglite` makes. */
export const file = join(import.meta.dirname, `pglite-${version}.tar.zst`)

/** Returns the database, for the option `loadDataDir`. */
export const load = async (): Promise<Blob> => {
  const content = await promisify(zstdDecompress)(await readFile(file))
  return new Blob([new Uint8Array(content)])
}
