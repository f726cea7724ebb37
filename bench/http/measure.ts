/** HTTP requests a second of the example program, and of the same small program on emmett with Express. */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { promisify } from "node:util"
import { freePort } from "../../test/support/PostgresServer.ts"
import type { Cell } from "../cells.ts"
import type { Measured } from "../measure.ts"
import { microsOf } from "../processor.ts"

const programs: Readonly<Record<string, string>> = {
  evsrc: join(import.meta.dirname, "../../examples/http/main.ts"),
  "evsrc again": join(import.meta.dirname, "../../examples/http/main.ts"),
  emmett: join(import.meta.dirname, "express.ts")
}

export interface HttpProgram {
  readonly measure: (cell: Cell, seconds: number) => Promise<Measured>
  readonly stop: () => Promise<void>
}

const users = 100

interface Loaded extends Pick<Measured, "p50" | "p95" | "p99"> {
  readonly rate: number
  readonly failures: number
  readonly count: number
}

/** Starts the program of a contestant, if it has one, on a database of its own. */
export const start = async (
  contestant: string,
  database: string,
  server: number | undefined
): Promise<HttpProgram | undefined> => {
  const program = programs[contestant]
  if (program === undefined) return undefined
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const child = spawn(process.execPath, ["--conditions=@evsrc/source", program], {
    env: { ...process.env, PORT: String(port), DATABASE_URL: database },
    stdio: "ignore"
  })
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  const stop = async () => {
    child.kill("SIGTERM")
    await exited
  }
  try {
    await prepare(contestant, url, child)
  } catch (cause) {
    await stop()
    throw cause
  }
  let loads = 0
  return {
    measure: async ({ concurrency, id }, seconds) => {
      const load = id.startsWith("http-mix") ? "mix" : "register"
      const [ofServer, ofProgram] = [microsOf(server), microsOf(child.pid)]
      const { stdout } = await promisify(execFile)(process.execPath, [
        "--conditions=@evsrc/source",
        join(import.meta.dirname, "load.ts"),
        url,
        load,
        String(seconds),
        String(concurrency),
        `${process.pid}-${++loads}`
      ])
      const { count, failures, ...loaded }: Loaded = JSON.parse(stdout)
      const operations = count + failures
      const since = (before: number | undefined, pid: number | undefined) => {
        const now = microsOf(pid)
        return before === undefined || now === undefined ? undefined : (now - before) / operations
      }
      return {
        ...loaded,
        client: since(ofProgram, child.pid),
        server: since(ofServer, server),
        ...failures === 0 ? {} : { failed: failures / operations }
      }
    },
    stop
  }
}

/** Waits until the program serves, and registers the users. */
const prepare = async (contestant: string, url: string, child: ChildProcess) => {
  const request = async (path: string, body?: unknown) =>
    (await fetch(
      `${url}${path}`,
      body === undefined
        ? {}
        : { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } }
    )).status
  for (let tries = 0;; tries++) {
    const status = await request("/users/none").catch(() => 0)
    if (status === 404) break
    if (tries === 200 || child.exitCode !== null) throw new Error(`${contestant} does not serve: ${status}`)
    await setTimeout(100)
  }
  for (let n = 0; n < users; n++) {
    const status = await request("/users", { userId: `bench-${n}`, email: "ann@example.com", name: "Ann" })
    if (status !== 201) throw new Error(`${contestant} did not register a user: ${status}`)
  }
}
