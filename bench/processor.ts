/** The processor time of processes, from Linux. Elsewhere, or for a server on another machine, there is none. */
import { readdirSync, readFileSync } from "node:fs"

/** What a clock tick is: `getconf CLK_TCK` is 100 on every Linux that Node runs on. */
const microsPerTick = 10_000

interface Stat {
  readonly name: string
  readonly parent: number
  /** Its own time, and that of children which have ended. */
  readonly ticks: number
}

const statOf = (pid: number): Stat | undefined => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8")
    const end = text.lastIndexOf(")")
    const fields = text.slice(end + 2).split(" ")
    return {
      name: text.slice(text.indexOf("(") + 1, end),
      parent: Number(fields[1]),
      ticks: [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0)
    }
  } catch {
    // It has ended.
    return undefined
  }
}

/** Returns the process of the server of which a process is a back end, if both run here. */
export const postmasterOf = (backEnd: number): number | undefined => {
  const found = statOf(backEnd)
  return found?.name.includes("postgres") === true && found.parent > 1 ? found.parent : undefined
}

/** Returns the microseconds of a process and its children so far. */
export const microsOf = (pid: number | undefined): number | undefined => {
  if (pid === undefined) return undefined
  let ticks = statOf(pid)?.ticks ?? 0
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue
    const found = statOf(Number(name))
    if (found?.parent === pid) ticks += found.ticks
  }
  return ticks * microsPerTick
}
