/** A contestant, as main sees it: a child process to ask. */
import { type ChildProcess, execFile, execFileSync, fork } from "node:child_process"
import { rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import type { Measure } from "./measure.ts"
import type { Name, Reply } from "./worker.ts"

export interface Child {
  readonly name: string
  readonly measure: Measure
  readonly stop: () => Promise<void>
}

const reply = (child: ChildProcess): Promise<Reply> =>
  new Promise((resolve, reject) => {
    const ended = (code: number | null) => reject(new Error(`It ended with ${code}`))
    child.once("exit", ended).once("message", (message: Reply) => {
      child.off("exit", ended)
      resolve(message)
    })
  })

const answer = async (child: ChildProcess) => {
  const message = await reply(child)
  if ("failed" in message) throw new Error(message.failed)
  return message.measured ?? undefined
}

export const start = async (
  name: string,
  contestant: Name,
  { pool, server, url }: { readonly url: string; readonly pool: number; readonly server: number | undefined }
): Promise<Child> => {
  const child = fork(join(import.meta.dirname, "worker.ts"), [contestant, url, String(pool), String(server ?? "")], {
    execArgv: ["--conditions=@evsrc/source"]
  })
  await answer(child)
  return {
    name,
    measure: ({ id }, seconds) => {
      child.send({ cell: id, seconds })
      return answer(child)
    },
    stop: () =>
      child.connected
        ? new Promise((resolve) => {
          child.once("exit", () => resolve())
          child.disconnect()
        })
        : Promise.resolve()
  }
}

const script = `insert into events (stream, version, type, data, metadata)
  values (gen_random_uuid()::text, 1, 'OrderNoted', '{"orderId":"order-1","customer":"customer-4711","amount":129,`
  + `"note":"To be left with the neighbours, should nobody be at home"}', '{}');`

/** `pgbench`, where it is installed: the floor's INSERT of one event without Node, on the floor's table. */
export const pgbench = (url: string, pool: number): Child | undefined => {
  try {
    execFileSync("pgbench", ["--version"])
  } catch {
    return undefined
  }
  const file = join(tmpdir(), `evsrc-pgbench-${process.pid}.sql`)
  writeFileSync(file, script.replaceAll("\n", " "))
  return {
    name: "pgbench",
    measure: async ({ concurrency, kind, size }, seconds) => {
      // It has no pool: each of its clients is a connection.
      if (kind !== "append" || size !== 1 || concurrency > pool) return undefined
      const { stdout } = await promisify(execFile)("pgbench", [
        "-n",
        "-M",
        "prepared",
        "-f",
        file,
        "-T",
        // It counts whole seconds.
        String(Math.max(1, Math.round(seconds))),
        "-c",
        String(concurrency),
        "-j",
        String(Math.min(2, concurrency)),
        url
      ])
      const rate = Number(/tps = ([\d.]+)/.exec(stdout)?.[1])
      const mean = Number(/latency average = ([\d.]+)/.exec(stdout)?.[1])
      return { rate, p50: mean, p95: Number.NaN, p99: Number.NaN }
    },
    stop: async () => rmSync(file, { force: true })
  }
}
