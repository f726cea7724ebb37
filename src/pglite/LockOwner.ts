/**
 * The owner of a lock file, and whether it still runs. The owner may be in another container, where it has another process id, or on
 * another machine. "Unknown" is an answer: only an owner that certainly has ended may be replaced.
 *
 * A lock that its owner refreshes would not do, because an owner that was stopped (`SIGSTOP`, a paused container) continues to write. So
 * the owner listens on a socket file beside the lock. The kernel answers for it as long as the process exists, and in every container.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { fromJsonText } from "../core/json/parseJson.ts"

/**
 * The name of the lock file. Every other file of the lock has a name that begins with it.
 *
 * @since 0.1.0
 * @category references
 */
export const fileName = "evsrc.lock"

const Owner = Schema.Struct({
  pid: Schema.Int,
  /** The start time of the process, if the system provides it: process ids are reused, especially in containers. */
  started: Schema.optionalKey(Schema.String),
  token: Schema.String.check(Schema.isPattern(/^[\w-]+$/)),
  /** The platform and the name of the host: all that there is without `boot`. */
  host: Schema.String,
  /** The id that Linux draws when it starts. Some containers have one of their own, so two of them may run on one machine. */
  boot: Schema.optionalKey(Schema.String),
  /** The namespace of `pid`. */
  pids: Schema.optionalKey(Schema.String),
  /** The mounted file system, as `boot` numbers it. */
  device: Schema.optionalKey(Schema.String),
  /** Whether only one machine at a time can mount the file system. */
  local: Schema.optionalKey(Schema.Boolean),
  /** Whether the owner listens on its socket file. */
  listens: Schema.optionalKey(Schema.Boolean)
})

/**
 * What a lock file says of its owner.
 *
 * @since 0.1.0
 * @category models
 */
export type Owner = typeof Owner.Type

const json = fromJsonText(Owner)

/**
 * Returns the owner from the text of a lock file, if the text is one.
 *
 * @since 0.1.0
 * @category combinators
 */
export const decode = Schema.decodeOption(json)

/**
 * Returns the text of a lock file.
 *
 * @since 0.1.0
 * @category combinators
 */
export const encode = Schema.encodeSync(json)

/**
 * What the lock needs of the system. A test provides that of another platform.
 *
 * @since 0.1.0
 * @category models
 */
export interface System {
  readonly pid: number
  readonly host: string
  readonly boot: string | undefined
  readonly pids: string | undefined
  /** Returns when a process started, in a form that only comparison reads; undefined if the system does not provide it. */
  readonly startOf: (pid: number) => string | undefined
  /** Returns whether there is a process with the id. */
  readonly exists: (pid: number) => boolean
  /** Creates a second name of a file, and fails with `EEXIST` if the name is taken. */
  readonly link: (file: string, name: string) => void
  /** Returns the file system of a folder; undefined if the system does not provide it. */
  readonly fileSystem: (folder: string) => { readonly device: string; readonly local: boolean } | undefined
}

/** Returns the `code` of an error of Node. */
export const codeOf = (error: unknown): unknown => error instanceof Error && "code" in error ? error.code : undefined

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

const orUndefined = <A>(read: () => A): A | undefined => {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** By `statfs`: ext2 to ext4, XFS, Btrfs, F2FS, ZFS, tmpfs, overlayfs. Others may be of a network, or of the host of a virtual machine. */
const localTypes: ReadonlySet<number> = new Set([
  0xef53,
  0x58465342,
  0x9123683e,
  0xf2f52010,
  0x2fc12fc1,
  0x01021994,
  0x794c7630
])

/**
 * The system that runs this process. Only Linux has `/proc`; elsewhere the start time is known of this process alone.
 *
 * @since 0.1.0
 * @category references
 */
export const nodeSystem: System = {
  pid: process.pid,
  host: `${process.platform} ${Os.hostname()}`,
  boot: orUndefined(() => Fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()),
  pids: orUndefined(() => Fs.readlinkSync("/proc/self/ns/pid")),
  startOf: (pid) => {
    try {
      const stat = Fs.readFileSync(`/proc/${pid}/stat`, "utf8")
      return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]
    } catch {
      return pid === process.pid ? `${clock}${ownStart().toFixed(3)}` : undefined
    }
  },
  exists,
  link: Fs.linkSync,
  fileSystem: (folder) =>
    process.platform !== "linux" ? undefined : orUndefined(() => ({
      device: String(Fs.statSync(folder, { bigint: true }).dev),
      local: localTypes.has(Fs.statfsSync(folder).type)
    }))
}

/** The clock is read twice, so the start times of one process differ by some milliseconds. */
const isSameStart = (one: string, other: string): boolean =>
  one.startsWith(clock) && other.startsWith(clock)
    ? Math.abs(Number(one.slice(clock.length)) - Number(other.slice(clock.length))) < 1
    : one === other

/** The locks of this process, also of another copy of this module. */
export const heldHere: Set<string> = (() => {
  const key = Symbol.for("evsrc/pglite/DirectoryLock")
  const found: unknown = Reflect.get(globalThis, key)
  if (found instanceof Set) return found
  const held = new Set<string>()
  Reflect.set(globalThis, key, held)
  return held
})()

/**
 * Whether an owner still runs. `probably` is by a process id alone, which may belong to another process by now.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict = "here" | "running" | "probably" | "ended" | "unknown"

const socketOf = (token: string): string => `${fileName}.${token}.socket`

/** Names a file by its folder's handle, because the path of a socket has at most 107 bytes. */
const inFolder = (handle: number, name: string): string => `/proc/self/fd/${handle}/${name}`

/** Asks the kernel whether a process listens. Only `ECONNREFUSED` shows that none does: a full queue, for one, does not. */
const askSocket = (folder: string, token: string): Effect.Effect<Verdict> =>
  Effect.acquireUseRelease(
    Effect.sync(() => orUndefined(() => Fs.openSync(folder, "r"))),
    (handle) =>
      handle === undefined ? Effect.succeed<Verdict>("unknown") : Effect.callback<Verdict>((resume) => {
        const socket = Net.connect(inFolder(handle, socketOf(token)))
        const answer = (verdict: Verdict) => {
          socket.destroy()
          resume(Effect.succeed(verdict))
        }
        socket.once("connect", () => answer("running"))
        socket.on("error", (error) => answer(codeOf(error) === "ECONNREFUSED" ? "ended" : "unknown"))
        return Effect.sync(() => socket.destroy())
      }).pipe(Effect.timeoutOrElse({ duration: "10 seconds", orElse: () => Effect.succeed<Verdict>("unknown") })),
    (handle) => Effect.sync(() => handle === undefined ? undefined : Fs.closeSync(handle))
  )

const askProcess = (system: System, owner: Owner): Verdict => {
  const started = system.startOf(owner.pid)
  if (started !== undefined && owner.started !== undefined) {
    if (!isSameStart(started, owner.started)) return "ended"
    return owner.pid === system.pid ? "here" : "running"
  }
  return owner.pid !== system.pid && system.exists(owner.pid) ? "probably" : "ended"
}

/**
 * Returns whether an owner still runs.
 *
 * A socket file answers for processes of the same kernel that see the same mounted file system. If both see a file system that only one
 * machine can mount, that is so: the kernel of an owner that runs still has it mounted. Otherwise `boot` and `device` must be the same.
 * A process id answers within one namespace of one kernel.
 *
 * @since 0.1.0
 * @category combinators
 */
export const verdictOn = Effect.fnUntraced(function*(
  system: System,
  folder: string,
  owner: Owner
): Effect.fn.Return<Verdict> {
  if (heldHere.has(owner.token)) return "here"
  const fileSystem = system.fileSystem(folder)
  const sameBoot = owner.boot !== undefined && owner.boot === system.boot
  if (fileSystem !== undefined && owner.listens === true) {
    const sameKernel = owner.local === true && fileSystem.local || sameBoot && owner.device === fileSystem.device
    const answer = sameKernel ? yield* askSocket(folder, owner.token) : "unknown"
    if (answer !== "unknown") return answer
  }
  const sameProcesses = owner.pids === system.pids && (system.boot === undefined
    ? owner.boot === undefined && owner.host === system.host
    : sameBoot)
  return sameProcesses ? askProcess(system, owner) : "unknown"
})

/**
 * Listens on the socket file of a token. Returns what ends it, or undefined if the system or the file system has no such files.
 *
 * @since 0.1.0
 * @category constructors
 */
export const listen = (system: System, folder: string, token: string): Effect.Effect<(() => void) | undefined> => {
  if (system.fileSystem(folder) === undefined) return Effect.succeed(undefined)
  return Effect.callback<(() => void) | undefined>((resume) => {
    const handle = orUndefined(() => Fs.openSync(folder, "r"))
    if (handle === undefined) return resume(Effect.succeed(undefined))
    const server = Net.createServer((socket) => socket.destroy())
    const end = (): void => {
      server.close()
      Fs.closeSync(handle)
    }
    const failed = (): void => {
      Fs.closeSync(handle)
      resume(Effect.succeed(undefined))
    }
    server.once("error", failed)
    server.once("listening", () => {
      server.unref()
      server.off("error", failed)
      // Without file handles left it cannot accept a connection, but the kernel still answers for it.
      server.on("error", () => undefined)
      // After a power failure, a lock file without its socket file could not be checked.
      orUndefined(() => Fs.fsyncSync(handle))
      resume(Effect.succeed(end))
    })
    // In a cluster the socket would belong to the primary, which survives this process.
    server.listen({ path: inFolder(handle, socketOf(token)), exclusive: true })
  })
}

/**
 * Removes the socket file of an owner that has ended.
 *
 * @since 0.1.0
 * @category combinators
 */
export const removeSocket = (folder: string, token: string): void => {
  Fs.rmSync(Path.join(folder, socketOf(token)), { force: true })
}

/**
 * Returns the owner that a lock of this process names.
 *
 * @since 0.1.0
 * @category constructors
 */
export const own = (system: System, folder: string, token: string, listens: boolean): Owner => {
  const started = system.startOf(system.pid)
  return {
    pid: system.pid,
    ...(started === undefined ? {} : { started }),
    token,
    host: system.host,
    ...(system.boot === undefined ? {} : { boot: system.boot }),
    ...(system.pids === undefined ? {} : { pids: system.pids }),
    ...system.fileSystem(folder),
    listens
  }
}
