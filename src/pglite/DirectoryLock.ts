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
import { fromJsonText } from "../core/json/parseJson.ts"
import { PgliteError } from "./PgliteError.ts"

/**
 * The name of the lock file.
 *
 * @since 0.1.0
 * @category references
 */
export const fileName = "evsrc.lock"

const Owner = fromJsonText(Schema.Struct({
  pid: Schema.Int,
  /** The start time of the process, if the system provides it: process ids are reused, especially in containers. */
  started: Schema.optionalKey(Schema.String),
  token: Schema.String
}))
type Owner = typeof Owner.Type
const decodeOwner = Schema.decodeOption(Owner)
const encodeOwner = Schema.encodeSync(Owner)

/**
 * What the lock needs of the system. A test provides that of another platform.
 *
 * @since 0.1.0
 * @category models
 */
export interface System {
  readonly pid: number
  /** Returns when a process started, in a form that only comparison reads; undefined if the system does not provide it. */
  readonly startOf: (pid: number) => string | undefined
  /** Returns whether there is a process with the id. */
  readonly exists: (pid: number) => boolean
  /** Creates a second name of a file, and fails with `EEXIST` if the name is taken. */
  readonly link: (file: string, name: string) => void
}

const exists = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) === "EPERM"
  }
}

/** In seconds since the machine started. Worker threads of a process compute the same, and so do two copies of this module. */
const ownStart = (): number => Number(process.hrtime.bigint()) / 1e9 - process.uptime()

const clock = "clock:"

/**
 * The system that runs this process. Only Linux has `/proc`; elsewhere the start time is known of this process alone.
 *
 * @since 0.1.0
 * @category references
 */
export const nodeSystem: System = {
  pid: process.pid,
  startOf: (pid) => {
    try {
      const stat = Fs.readFileSync(`/proc/${pid}/stat`, "utf8")
      return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]
    } catch {
      return pid === process.pid ? `${clock}${ownStart().toFixed(3)}` : undefined
    }
  },
  exists,
  link: Fs.linkSync
}

/** The clock is read twice, so the start times of one process differ by some milliseconds. */
const isSameStart = (one: string, other: string): boolean =>
  one.startsWith(clock) && other.startsWith(clock)
    ? Math.abs(Number(one.slice(clock.length)) - Number(other.slice(clock.length))) < 1
    : one === other

/** The locks of this process, also of another copy of this module. */
const heldHere: Set<string> = (() => {
  const key = Symbol.for("evsrc/pglite/DirectoryLock")
  const found: unknown = Reflect.get(globalThis, key)
  if (found instanceof Set) return found
  const held = new Set<string>()
  Reflect.set(globalThis, key, held)
  return held
})()

const isAlive = (system: System, owner: Owner): boolean => {
  if (heldHere.has(owner.token)) return true
  const started = system.startOf(owner.pid)
  if (started !== undefined && owner.started !== undefined) return isSameStart(started, owner.started)
  return owner.pid !== system.pid && system.exists(owner.pid)
}

const codeOf = (error: unknown): unknown => error instanceof Error && "code" in error ? error.code : undefined

/** How Windows rejects to rename or remove a file that another process has open. */
const isOpenElsewhere = (error: unknown): boolean => ["EACCES", "EBUSY", "EPERM"].some((code) => code === codeOf(error))

/** Returns none without a lock file. The owner itself is none if the file is incomplete, because its process has died. */
const readOwner = (path: string): Option.Option<Option.Option<Owner>> => {
  try {
    return Option.some(decodeOwner(Fs.readFileSync(path, "utf8")))
  } catch (error) {
    if (codeOf(error) === "ENOENT") return Option.none()
    throw error
  }
}

/**
 * Creates the lock file, or returns false if there is one. A link appears with its complete content. Where the file system has no links,
 * the file is incomplete for a moment.
 */
const create = (system: System, draft: string, path: string): boolean => {
  try {
    try {
      system.link(draft, path)
    } catch (error) {
      if (codeOf(error) === "EEXIST" || codeOf(error) === "ENOENT") throw error
      Fs.copyFileSync(draft, path, Fs.constants.COPYFILE_EXCL)
    }
    return true
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error
    return false
  }
}

const pause = (milliseconds: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}

const maxTries = 100

/** Takes the lock. Returns its owner if another one holds it. */
const take = (system: System, folder: string, mine: Owner): Owner | undefined => {
  const path = Path.join(folder, fileName)
  const draft = `${path}.${mine.token}`
  Fs.writeFileSync(draft, encodeOwner(mine), { flush: true })
  try {
    for (let tries = 1;; tries++) {
      if (create(system, draft, path)) {
        heldHere.add(mine.token)
        return undefined
      }
      let found = readOwner(path)
      if (Option.isSome(found) && Option.isNone(found.value)) {
        pause(20)
        found = readOwner(path)
      }
      if (Option.isNone(found)) continue
      const owner = Option.getOrUndefined(found.value)
      if (owner !== undefined && isAlive(system, owner)) return owner
      try {
        removeStale(system, path, `${draft}.stale`, owner)
      } catch (error) {
        if (tries === maxTries || !isOpenElsewhere(error)) throw error
        pause(10)
      }
    }
  } finally {
    Fs.rmSync(draft, { force: true })
  }
}

/** Removes a stale lock. Another process may have replaced it since; that lock is restored. */
const removeStale = (system: System, path: string, aside: string, stale: Owner | undefined): void => {
  try {
    Fs.renameSync(path, aside)
  } catch (error) {
    if (codeOf(error) === "ENOENT") return
    throw error
  }
  const moved = Option.flatMap(readOwner(aside), (owner) => owner)
  if (Option.isSome(moved) && moved.value.token !== stale?.token) create(system, aside, path)
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
export const acquire = (
  folder: string,
  system: System = nodeSystem
): Effect.Effect<void, PgliteError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const started = system.startOf(system.pid)
      const mine: Owner = { pid: system.pid, token: randomUUID(), ...(started === undefined ? {} : { started }) }
      return Effect.try({
        try: () => take(system, folder, mine),
        catch: (cause) => new PgliteError({ reason: "Folder", message: `Cannot write to the folder ${folder}`, cause })
      }).pipe(Effect.flatMap((owner) =>
        owner === undefined ? Effect.succeed(mine) : Effect.fail(
          new PgliteError({
            reason: "InUse",
            message: owner.pid === system.pid
              ? `The folder ${folder} is already open in this process`
              : `The folder ${folder} is in use by process ${owner.pid}; PGlite serves one process at a time. ` +
                `If that process does not use it, delete ${Path.join(folder, fileName)}`
          })
        )
      ))
    }),
    (mine) => Effect.sync(() => release(folder, mine))
  ).pipe(Effect.asVoid)
