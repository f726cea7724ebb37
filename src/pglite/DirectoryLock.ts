/**
 * A lock file that names its owner. Two PGlites would corrupt a directory without an error: PGlite's process id is always 42, so
 * PostgreSQL's own `postmaster.pid` always seems to belong to the process that opens it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as LockOwner from "./LockOwner.ts"
import { codeOf } from "./LockOwner.ts"
import { PgliteError } from "./PgliteError.ts"

/** How Windows rejects to rename or remove a file that another process has open. */
const isOpenElsewhere = (error: unknown): boolean => ["EACCES", "EBUSY", "EPERM"].some((code) => code === codeOf(error))

/** Returns none without a lock file. The owner itself is none if the file is incomplete. */
const readOwner = (path: string): Option.Option<Option.Option<LockOwner.Owner>> => {
  try {
    return Option.some(LockOwner.decode(Fs.readFileSync(path, "utf8")))
  } catch (error) {
    if (codeOf(error) === "ENOENT") return Option.none()
    throw error
  }
}

/**
 * Creates the lock file, or returns false if there is one. A link appears with its complete content. Where the file system has no links,
 * the file is incomplete for a moment.
 */
const create = (system: LockOwner.System, draft: string, path: string): boolean => {
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

/** The owner of a lock that could not be taken. */
interface Holder {
  readonly verdict: Exclude<LockOwner.Verdict, "ended"> | "unreadable"
  readonly owner: LockOwner.Owner | undefined
}

interface Attempt {
  readonly system: LockOwner.System
  readonly folder: string
  readonly draft: string
}

/** With the pause between them, an incomplete lock file has one second to become complete. */
const maxTries = 50

const pause = Effect.sleep("20 millis")

const folderError = (folder: string, cause: unknown): PgliteError =>
  new PgliteError({ reason: "Folder", message: `Cannot write to the folder ${folder}`, cause })

const onDisk = <A>(folder: string, use: () => A): Effect.Effect<A, PgliteError> =>
  Effect.try({ try: use, catch: (cause) => folderError(folder, cause) })

/**
 * Replaces the lock of an owner that has ended. Only the holder of a second lock, which is named after that owner, may do it. So no
 * other process replaces the file between the read and the rename, which is atomic. Returns whether it did.
 */
const replace = Effect.fnUntraced(function*(
  attempt: Attempt,
  path: string,
  ended: LockOwner.Owner
): Effect.fn.Return<boolean, PgliteError> {
  const right = Path.join(attempt.folder, `${LockOwner.fileName}.${ended.token}.next`)
  if ((yield* take(attempt, right)) !== undefined) return false
  return yield* onDisk(attempt.folder, () => {
    try {
      const now = Option.flatMap(readOwner(path), (owner) => owner)
      if (Option.isNone(now) || now.value.token !== ended.token) return false
      // A copy, because the draft may be needed again.
      const successor = `${attempt.draft}.new`
      Fs.writeFileSync(successor, Fs.readFileSync(attempt.draft), { flush: true })
      Fs.renameSync(successor, path)
      LockOwner.removeSocket(attempt.folder, ended.token)
      return true
    } catch (error) {
      if (isOpenElsewhere(error)) return false
      throw error
    } finally {
      Fs.rmSync(right, { force: true })
    }
  })
})

/** Takes the lock of a name. Returns its holder if another one has it. */
const take = Effect.fnUntraced(
  function*(attempt: Attempt, path: string): Effect.fn.Return<Holder | undefined, PgliteError> {
    for (let tries = 1;; tries++) {
      if (yield* onDisk(attempt.folder, () => create(attempt.system, attempt.draft, path))) return
      const found = yield* onDisk(attempt.folder, () => readOwner(path))
      if (Option.isSome(found)) {
        const owner = Option.getOrUndefined(found.value)
        const verdict = owner === undefined
          ? "unreadable"
          : yield* LockOwner.verdictOn(attempt.system, attempt.folder, owner)
        if (verdict === "ended" && owner !== undefined && (yield* replace(attempt, path, owner))) return
        if (verdict !== "ended" && (verdict !== "unreadable" || tries >= maxTries)) return { verdict, owner }
      }
      if (tries >= 2 * maxTries) {
        return yield* new PgliteError({
          reason: "InUse",
          message: `Another process is about to open the folder ${attempt.folder}, and has not finished; try again`
        })
      }
      yield* pause
    }
  }
)

const messageOf = (folder: string, { owner, verdict }: Holder): string => {
  const path = Path.join(folder, LockOwner.fileName)
  if (owner === undefined) {
    return `Whether the folder ${folder} is in use cannot be checked, because its lock file is incomplete. ` +
      `If no process uses the folder, delete ${path}`
  }
  if (verdict === "here") return `The folder ${folder} is already open in this process`
  const name = `process ${owner.pid} of the host "${owner.host}"`
  if (verdict === "unknown") {
    return `Whether the folder ${folder} is in use cannot be checked: ${name} has opened it, which is another machine or container. ` +
      `Wait until that process has stopped, or stop it. If it has ended without closing the folder, delete ${path}`
  }
  return `The folder ${folder} is in use by ${name}; PGlite serves one process at a time. ` +
    (verdict === "probably" ? `If that process does not use it, delete ${path}` : "Stop that process first")
}

const release = (folder: string, token: string, endSocket: (() => void) | undefined): void => {
  const path = Path.join(folder, LockOwner.fileName)
  try {
    const owner = Option.flatMap(readOwner(path), (owner) => owner)
    if (Option.isSome(owner) && owner.value.token === token) Fs.rmSync(path, { force: true })
  } catch {
    // If the file cannot be removed, its owner has ended as soon as the socket or this process has.
  }
  endSocket?.()
  LockOwner.heldHere.delete(token)
}

/** The releases of the locks of this process. They run if it exits before the scopes close, as after an uncaught error. */
const atExit = new Set<() => void>()
let watchesExit = false

const releaseAtExit = (end: () => void): void => {
  atExit.add(end)
  if (watchesExit) return
  watchesExit = true
  // Node removes the socket file when it exits. Without it no other container could check the owner.
  process.once("exit", () => {
    for (const end of atExit) end()
  })
}

/**
 * Locks a directory until the scope closes. It takes over the lock of a process that has ended. If that cannot be checked, it fails.
 *
 * @since 0.1.0
 * @category constructors
 */
export const acquire = (
  folder: string,
  system: LockOwner.System = LockOwner.nodeSystem
): Effect.Effect<void, PgliteError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.gen(function*() {
      const token = randomUUID()
      LockOwner.heldHere.add(token)
      const endSocket = yield* LockOwner.listen(system, folder, token)
      const mine = LockOwner.own(system, folder, token, endSocket !== undefined)
      const draft = Path.join(folder, `${LockOwner.fileName}.${token}`)
      const holder = yield* onDisk(folder, () => Fs.writeFileSync(draft, LockOwner.encode(mine), { flush: true })).pipe(
        Effect.andThen(take({ system, folder, draft }, Path.join(folder, LockOwner.fileName))),
        Effect.ensuring(Effect.sync(() => Fs.rmSync(draft, { force: true }))),
        Effect.onError(() => Effect.sync(() => release(folder, token, endSocket)))
      )
      if (holder === undefined) {
        const end = () => release(folder, token, endSocket)
        releaseAtExit(end)
        return end
      }
      release(folder, token, endSocket)
      return yield* new PgliteError({ reason: "InUse", message: messageOf(folder, holder) })
    }),
    (end) =>
      Effect.sync(() => {
        atExit.delete(end)
        end()
      })
  ).pipe(Effect.asVoid)
