/** Round trips of an operation, counted by a proxy that also holds back each response for so many milliseconds. */
import { setTimeout } from "node:timers/promises"
import type { RoundTrips } from "../../test/support/RoundTrips.ts"
import { median } from "../measure.ts"

/** How long the proxy holds back a response, in milliseconds. */
export const delay = 10

export interface Trips {
  /** Round trips one after the other. */
  readonly counted: number
  /** The latency as a multiple of the delay. */
  readonly latency: number
}

const runs = 9

/** An operation; the number of the run begins with 0, which is not counted. */
export type Operation = (run: number) => Promise<unknown>

export const tripsOf = async (proxy: RoundTrips, operation: Operation): Promise<Trips> => {
  const counted: Array<number> = []
  const latencies: Array<number> = []
  for (let run = 0; run <= runs; run++) {
    // Notifications and the like of the run before.
    await setTimeout(5 * delay)
    const before = proxy.count()
    const began = performance.now()
    await operation(run)
    if (run === 0) continue
    latencies.push((performance.now() - began) / delay)
    counted.push(proxy.count() - before)
  }
  return { counted: median(counted), latency: median(latencies) }
}

/** The rows of the table. */
export const rows = {
  known: "command, known instance",
  unknown: "command, unknown instance",
  assumed: "command, an instance that is assumed to be new",
  decision: "DCB decision, course and student not seen before",
  decided: "DCB decision, same course again, new student",
  inline1: "command with 1 inline projection",
  inline5: "command with 5 inline projections",
  same: "command, then a query after its receipt, same process",
  other: "command, then a query after its receipt, another process"
} as const

export type Row = keyof typeof rows

/** The operations of a contestant by row. */
export type Operations = Partial<Readonly<Record<Row, Operation>>>

export interface Subject {
  readonly operations: Operations
}
