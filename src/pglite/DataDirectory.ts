/**
 * A directory on disk as PGlite's data directory: locked by one process, created completely or not at all, and flushed to the disk at
 * every commit.
 *
 * @since 0.1.0
 */
import { PGlite } from "@electric-sql/pglite"
import { NodeFS } from "@electric-sql/pglite/nodefs"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as DirectoryLock from "./DirectoryLock.ts"
import * as Flush from "./Flush.ts"
import * as LockOwner from "./LockOwner.ts"
import { PgliteError } from "./PgliteError.ts"

/** A file that exists while a new database is created. If it exists at the start, that was interrupted, and the database is empty. */
const unfinished = "evsrc.unfinished"

const EIO = 29

/**
 * PGlite disables `fsync`, and its file system implements neither that nor `fdatasync`. A commit would be lost in a power failure. This
 * file system implements `fsync`.
 */
class SyncedNodeFS extends NodeFS {
  override async init(...[pglite, options]: Parameters<NodeFS["init"]>): ReturnType<NodeFS["init"]> {
    const { emscriptenOpts } = await super.init(pglite, options)
    return {
      emscriptenOpts: {
        ...emscriptenOpts,
        preRun: [...(emscriptenOpts.preRun ?? []), (module) => {
          // Emscripten calls `fsync` of a file system that has it. Its types do not declare the operations of a file system.
          Object.assign(Reflect.get(module.NODEFS, "stream_ops"), {
            fsync: (stream: { readonly nfd: number; readonly node: object }) => {
              try {
                Flush.flushHandle(stream.nfd, () => Reflect.get(module.NODEFS, "realPath")(stream.node))
                return 0
              } catch {
                return EIO
              }
            }
          })
        }]
      }
    }
  }
}

const syncedStartParams: ReadonlyArray<string> = [
  ...PGlite.defaultStartParams.filter((param) => param !== "-F"),
  "-c",
  "wal_sync_method=fsync"
]

const isOfLock = (name: string): boolean => name.startsWith(LockOwner.fileName)

/** Returns whether the directory gets a new database, after it has removed an incomplete one. */
const prepare = (folder: string): boolean => {
  const names = Fs.readdirSync(folder).filter((name) => !isOfLock(name))
  if (names.includes(unfinished)) {
    for (const name of names) if (name !== unfinished) Fs.rmSync(Path.join(folder, name), { recursive: true })
    return true
  }
  if (names.length === 0) {
    Fs.writeFileSync(Path.join(folder, unfinished), "", { flush: true })
    return true
  }
  if (names.includes("PG_VERSION")) return false
  throw new PgliteError({
    reason: "Folder",
    message: `The folder ${folder} is not empty and contains no database; choose an empty folder`
  })
}

/**
 * An open data directory.
 *
 * @since 0.1.0
 * @category models
 */
export interface Opened {
  readonly isNew: boolean
  readonly options: { readonly fs: NodeFS; readonly startParams?: Array<string> }
  /** Marks a new database as complete. Run it once PGlite has started. */
  readonly finish: Effect.Effect<void, PgliteError>
}

const folderError = (folder: string, cause: unknown): PgliteError =>
  cause instanceof PgliteError
    ? cause
    : new PgliteError({ reason: "Folder", message: `Cannot use the folder ${folder}`, cause })

const onFolder = <A>(folder: string, f: () => A): Effect.Effect<A, PgliteError> =>
  Effect.try({
    try: f,
    catch: (cause) => folderError(folder, cause)
  })

/** A new database has about 1,000 files: flushed one after the other they take seconds, concurrently tenths of a second. */
const syncAll = Effect.fnUntraced(function*(folder: string): Effect.fn.Return<void, PgliteError> {
  const names = yield* onFolder(folder, () => Fs.readdirSync(folder, { encoding: "utf8", recursive: true }))
  yield* Effect.forEach(["", ...names.filter((name) => !isOfLock(name))], (name) =>
    Effect.tryPromise({
      try: () => Flush.flushPath(Path.join(folder, name)),
      catch: (cause) => folderError(folder, cause)
    }), { concurrency: 64, discard: true })
})

/**
 * Opens a directory for PGlite until the scope closes, and creates it if it does not exist.
 *
 * @since 0.1.0
 * @category constructors
 */
export const open = Effect.fnUntraced(function*(
  path: string,
  synced: boolean
): Effect.fn.Return<Opened, PgliteError, Scope.Scope> {
  const folder = yield* onFolder(path, () => {
    Fs.mkdirSync(path, { recursive: true })
    return Fs.realpathSync(path)
  })
  yield* DirectoryLock.acquire(folder)
  return yield* onFolder(folder, () => {
    const isNew = prepare(folder)
    return {
      isNew,
      options: synced
        ? { fs: new SyncedNodeFS(folder), startParams: [...syncedStartParams] }
        : { fs: new NodeFS(folder) },
      finish: isNew
        ? Effect.andThen(
          synced ? syncAll(folder) : Effect.void,
          onFolder(folder, () => Fs.rmSync(Path.join(folder, unfinished)))
        )
        : Effect.void
    }
  })
})
