/**
 * A snapshot of an empty PGlite: the prebuilt database of `npm start`. Loading it takes a fraction of the time of creating one.
 */
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Prebuilt from "../../examples/http/Prebuilt.ts"

const folder = Path.resolve(import.meta.dirname, "../../node_modules/.cache/evsrc")

/** Returns the path of the snapshot. Creates it if it is missing. */
export const ensure = async (): Promise<string> => {
  const path = Path.join(folder, Path.basename(Prebuilt.file, ".zst"))
  if (Fs.existsSync(path)) return path
  const dump = await Prebuilt.load()
  Fs.mkdirSync(folder, { recursive: true })
  // Another run may create it concurrently: each moves a complete file into place.
  const draft = `${path}.${randomUUID()}`
  Fs.writeFileSync(draft, new Uint8Array(await dump.arrayBuffer()))
  Fs.renameSync(draft, path)
  return path
}
