/**
 * Makes the prebuilt database with which `npm start` creates its folder, for the installed version of PGlite. Run it when that version
 * changes.
 */
import { PGlite } from "@electric-sql/pglite"
import { globSync, rmSync, writeFileSync } from "node:fs"
import { resolve } from "node:path"
import { constants, zstdCompressSync } from "node:zlib"
import { file } from "../examples/http/Prebuilt.ts"

const pglite = await PGlite.create()
await pglite.exec("CHECKPOINT")
const dump = await pglite.dumpDataDir("none")
await pglite.close()
const compressed = zstdCompressSync(new Uint8Array(await dump.arrayBuffer()), {
  params: {
    [constants.ZSTD_c_compressionLevel]: 19,
    [constants.ZSTD_c_enableLongDistanceMatching]: 1,
    [constants.ZSTD_c_windowLog]: 26
  }
})
const folder = resolve(import.meta.dirname, "../examples/http")
for (const old of globSync("pglite-*.tar.zst", { cwd: folder })) rmSync(resolve(folder, old))
writeFileSync(file, compressed)
console.log(`${file}: ${compressed.length} bytes`)
