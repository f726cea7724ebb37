/** The table of round trips: what each contestant needs for an operation, behind a proxy. */
import { fork } from "node:child_process"
import { join } from "node:path"
import { type Row, rows, type Trips } from "./measure.ts"
import type { Reply } from "./worker.ts"

/** The figures by row and contestant. */
export type Table = Partial<Record<Row, Readonly<Record<string, Trips>>>>

/** Measures all contestants, each on databases of its own. */
export const measure = async (
  names: ReadonlyArray<string>,
  database: (name: string) => Promise<string>,
  fail: (text: string) => void
): Promise<Table> => {
  const table: Table = {}
  for (const name of names.filter((name) => name !== "evsrc again")) {
    const urls = [await database(`${name}_trips`), await database(`${name}_more_trips`)]
    const child = fork(join(import.meta.dirname, "worker.ts"), [name, ...urls], {
      execArgv: ["--conditions=@evsrc/source"]
    })
    child.on("message", (reply: Reply) => {
      const { row } = reply
      if ("failed" in reply) fail(`${name}, round trips${row === undefined ? "" : ` of ${rows[row]}`}: ${reply.failed}`)
      else table[reply.row] = { ...table[reply.row], [name]: reply.trips }
    })
    await new Promise((resolve) => child.once("exit", resolve))
  }
  return table
}

/** Returns the table as lines: round trips counted, and the latency as a multiple of the delay. */
export const lines = (table: Table, names: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> => [
  ["round trips, counted (latency / 10 ms)", ...names],
  ...(Object.keys(rows) as ReadonlyArray<Row>).flatMap((row) =>
    table[row] === undefined ? [] : [[
      rows[row],
      ...names.map((name) => {
        const found = table[row]?.[name]
        return found === undefined ? "–" : `${found.counted} (${found.latency.toFixed(1)})`
      })
    ]]
  )
]
