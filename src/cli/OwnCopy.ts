/**
 * Finds the copy of evsrc in the project in which a command runs. Migrations and definitions belong to that copy, not to a global one.
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"
import { pathToFileURL } from "node:url"
import { parseJson } from "../core/json/parseJson.ts"

interface Manifest {
  readonly folder: string
  readonly peers: Readonly<Record<string, string>>
  readonly version: string
  readonly bin: string | undefined
}

const textAt = (value: unknown, name: string): string | undefined => {
  const found = typeof value === "object" && value !== null
    ? Object.getOwnPropertyDescriptor(value, name)?.value
    : undefined
  return typeof found === "string" ? found : undefined
}

const textsIn = (value: unknown): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(Object(value)).filter((entry): entry is [string, string] => typeof entry[1] === "string")
  )

const manifestOf = (file: string): Manifest => {
  const manifest = parseJson(Fs.readFileSync(file, "utf8"))
  const bin = Object(manifest)["bin"]
  return {
    folder: Fs.realpathSync(Path.dirname(file)),
    version: textAt(manifest, "version") ?? "unknown",
    peers: textsIn(Object(manifest)["peerDependencies"]),
    bin: typeof bin === "string" ? bin : textAt(bin, "evsrc")
  }
}

// `src/cli` and `dist/cli` are equally deep.
const own = manifestOf(Path.resolve(import.meta.dirname, "../../package.json"))

/**
 * The version of this copy.
 *
 * @since 0.1.0
 * @category constants
 */
export const version = own.version

/**
 * The peers of this copy, with the versions that it accepts.
 *
 * @since 0.1.0
 * @category constants
 */
export const peers = own.peers

/** Returns the file from which npm has installed the package in this folder; `undefined` if it came from a registry, or is a link. */
const archiveOf = (folder: string): string | undefined => {
  const modules = Path.dirname(folder)
  let installed: unknown
  try {
    installed = parseJson(Fs.readFileSync(Path.join(modules, ".package-lock.json"), "utf8"))
  } catch {
    return undefined
  }
  const { "node_modules/evsrc": entry } = Object(Object(installed)["packages"])
  const resolved = textAt(entry, "resolved")
  if (resolved?.startsWith("file:") !== true) return undefined
  const file = Path.resolve(Path.dirname(modules), resolved.slice("file:".length))
  return Fs.existsSync(file) ? file : undefined
}

/**
 * Returns what npm installs in a folder to get this copy: the file from which it was installed, or its version on the registry.
 *
 * @since 0.1.0
 * @category accessors
 */
export const specifierFor = (folder: string): string => {
  const archive = archiveOf(own.folder)
  return archive === undefined
    ? `^${own.version}`
    : `file:${Path.relative(folder, archive).replaceAll(Path.sep, "/")}`
}

/**
 * The copy of a project.
 *
 * - `This`: it is this copy, or the project has none
 * - `Other`: another copy, which can run commands
 * - `WithoutCommandLine`: another copy that has no command line, because it is older
 *
 * @since 0.1.0
 * @category models
 */
export type Copy =
  | { readonly _tag: "This" }
  | { readonly _tag: "Other"; readonly main: string }
  | { readonly _tag: "WithoutCommandLine"; readonly message: string }

/**
 * Returns the copy of the project in a folder.
 *
 * @since 0.1.0
 * @category accessors
 */
export const find = (folder: string): Copy => {
  let file: string
  try {
    file = createRequire(Path.join(folder, "evsrc.config.js")).resolve("evsrc/package.json")
  } catch {
    return { _tag: "This" }
  }
  const found = manifestOf(file)
  if (found.folder === own.folder) return { _tag: "This" }
  if (found.bin !== undefined) return { _tag: "Other", main: Path.join(found.folder, found.bin) }
  return {
    _tag: "WithoutCommandLine",
    message:
      `This is evsrc ${own.version}, but the project has evsrc ${found.version} in ${found.folder}, which has no command line; `
      + "update evsrc in the project"
  }
}

/**
 * Runs a command by another copy.
 *
 * @since 0.1.0
 * @category running
 */
export const runMain = ({ main }: Extract<Copy, { readonly _tag: "Other" }>): Promise<unknown> =>
  // oxlint-disable-next-line evsrc/layers -- the copy of the project, whose path is known only now
  import(pathToFileURL(main).href)
