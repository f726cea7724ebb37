/**
 * The connection pooler pgbouncer in front of a server, if it is installed. A shell watches the pooler. When the pipe from this process
 * closes, however the process ends, the shell stops the pooler and removes its folder.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { createInterface } from "node:readline"
import { needs } from "./needs.ts"
import { freePort, serverUser } from "./PostgresServer.ts"

/** The path of the pooler, if it is installed. */
export const program: string | undefined = [...(process.env["PATH"] ?? "").split(Path.delimiter), "/usr/sbin"]
  .map((folder) => Path.join(folder, "pgbouncer"))
  .find((file) => Fs.existsSync(file))

/** The options of a test that needs pgbouncer. */
export const needed = needs("pgbouncer", program !== undefined)

const watch = `
"$1" "$2/pgbouncer.ini" &
read -r _
kill -KILL $!
wait
rm -rf "$2"
`

const open = async (serverUrl: string, poolSize: number, mode: PoolMode) => {
  if (program === undefined) throw new Error("pgbouncer is not installed")
  const { hostname, password, pathname, port: serverPort, username } = new URL(serverUrl)
  const user = serverUser()
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evsrc-pgbouncer-"))
  const port = await freePort()
  Fs.writeFileSync(
    Path.join(folder, "pgbouncer.ini"),
    `[databases]
* = host=${hostname} port=${serverPort || 5432} user=${username} password=${decodeURIComponent(password)}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = ${mode}
default_pool_size = ${poolSize}
`
  )
  if (user !== undefined) {
    for (const path of [folder, Path.join(folder, "pgbouncer.ini")]) Fs.chownSync(path, user.uid, user.gid)
  }
  const shell = spawn("sh", ["-c", watch, "sh", program, folder], {
    ...user,
    cwd: Os.tmpdir(),
    stdio: ["pipe", "ignore", "pipe"]
  })
  const exited = once(shell, "exit")
  await new Promise<void>((resolve, reject) => {
    const lines: Array<string> = []
    createInterface({ input: shell.stderr }).on("line", (line) => {
      lines.push(line)
      if (line.includes("process up")) resolve()
    }).on("close", () => reject(new Error(lines.join("\n"))))
  })
  return {
    url: `postgres://${username}@127.0.0.1:${port}${pathname}`,
    close: async () => {
      shell.stdin.end()
      await exited
    }
  }
}

export type PoolMode = "session" | "transaction" | "statement"

/** Starts a pooler with `poolSize` connections to the server, each of which serves one transaction by default. Returns its URL. */
export const make = (
  serverUrl: string,
  poolSize: number,
  mode: PoolMode = "transaction"
): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(Effect.promise(() => open(serverUrl, poolSize, mode)), ({ close }) => Effect.promise(close)),
    ({ url }) => url
  )
