/**
 * A lock file with the real process id. Two PGlites would corrupt a directory without an error: PGlite's process id is always 42, so
 * PostgreSQL's own `postmaster.pid` always seems to belong to the process that opens it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { PgliteError } from "./PgliteError.ts"

/**
 * The name of the lock file.
 *
 * @since 0.1.0
 * @category references
 */
export const fileName = "evsrc.lock"

const Owner = Schema.fromJsonString(Schema.Struct({
  pid: Schema.Int,
  /** The start time of the process, if the system provides it: process ids are reused, especially in containers. */
  started: Schema.optionalKey(Schema.String),
  token: Schema.String
}))
type Owner = typeof Owner.Type
const decodeOwner = Schema.decodeOption(Owner)
const encodeOwner = Schema.encodeSync(Owner)

const heldHere = new Set<string>()

const startOf = (pid: number): string | undefined => {
  try {
    const stat = Fs.readFileSync(`/proc/${pid}/stat`, "utf8")
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]
  } catch {
    return undefined
  }
}

const exists = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) === "EPERM"
  }
}

const isAlive = (owner: Owner): boolean => {
  if (heldHere.has(owner.token)) return true
  const started = startOf(owner.pid)
  if (started !== undefined && owner.started !== undefined) return started === owner.started
  return owner.pid !== process.pid && exists(owner.pid)
}

const codeOf = (error: unknown): unknown => error instanceof Error && "code" in error ? error.code : undefined

/** Returns none without a lock file. The owner itself is none if the file is incomplete, because its process has died. */
const readOwner = (path: string): Option.Option<Option.Option<Owner>> => {
  try {
    return Option.some(decodeOwner(Fs.readFileSync(path, "utf8")))
  } catch (error) {
    if (codeOf(error) === "ENOENT") return Option.none()
    throw error
  }
}

/** Takes the lock. Returns its owner if another one holds it. */
const take = (folder: string, mine: Owner): Owner | undefined => {
  const path = Path.join(folder, fileName)
  const draft = `${path}.${mine.token}`
  // A link appears with its complete content. A file opened with "wx" is empty at first.
  Fs.writeFileSync(draft, encodeOwner(mine), { flush: true })
  try {
    for (;;) {
      try {
        Fs.linkSync(draft, path)
        heldHere.add(mine.token)
        return undefined
      } catch (error) {
        if (codeOf(error) !== "EEXIST") throw error
      }
      const found = readOwner(path)
      if (Option.isNone(found)) continue
      const owner = Option.getOrUndefined(found.value)
      if (owner !== undefined && isAlive(owner)) return owner
      removeStale(path, `${draft}.stale`, owner)
    }
  } finally {
    Fs.rmSync(draft, { force: true })
  }
}

/** Removes a stale lock. Another process may have replaced it since; that lock is restored. */
const removeStale = (path: string, aside: string, stale: Owner | undefined): void => {
  try {
    Fs.renameSync(path, aside)
    const moved = Option.flatMap(readOwner(aside), (owner) => owner)
    if (Option.isSome(moved) && moved.value.token !== stale?.token) Fs.linkSync(aside, path)
  } catch (error) {
    const code = codeOf(error)
    if (code !== "ENOENT" && code !== "EEXIST") throw error
  }
  Fs.rmSync(aside, { force: true })
}

const release = (folder: string, mine: Owner): void => {
  const path = Path.join(folder, fileName)
  heldHere.delete(mine.token)
  try {
    const owner = Option.flatMap(readOwner(path), (owner) => owner)
    if (Option.isSome(owner) && owner.value.token === mine.token) Fs.rmSync(path, { force: true })
  } catch {
    // If the file cannot be removed, it is stale as soon as this process ends.
  }
}

/**
 * Locks a directory until the scope closes. It takes over the lock of a process that has ended.
 *
 * @since 0.1.0
 * @category constructors
 */
export const acquire = (folder: string): Effect.Effect<void, PgliteError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const started = startOf(process.pid)
      const mine: Owner = { pid: process.pid, token: randomUUID(), ...(started === undefined ? {} : { started }) }
      return Effect.try({
        try: () => take(folder, mine),
        catch: (cause) => new PgliteError({ reason: "Folder", message: `Cannot write to the folder ${folder}`, cause })
      }).pipe(Effect.flatMap((owner) =>
        owner === undefined ? Effect.succeed(mine) : Effect.fail(
          new PgliteError({
            reason: "InUse",
            message: owner.pid === process.pid
              ? `The folder ${folder} is already open in this process`
              : `The folder ${folder} is in use by process ${owner.pid}; PGlite serves one process at a time. ` +
                `If that process does not use it, delete ${Path.join(folder, fileName)}`
          })
        )
      ))
    }),
    (mine) => Effect.sync(() => release(folder, mine))
  ).pipe(Effect.asVoid)
