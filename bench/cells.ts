/** What is measured: one cell of the table each. */

export type Kind = "append" | "read" | "log" | "cold" | "hot" | "decision" | "latency"

export interface Cell {
  readonly id: string
  readonly title: string
  readonly kind: Kind
  /** Events of an append, of a stream that is read, or of the log that are read. */
  readonly size: number
  /** Operations under way at a time. */
  readonly concurrency: number
}

export const readSizes = [10, 100, 1000]
export const streamsOfASize = 4
export const logEvents = 4000
/** Events that an instance has before it gets a command. */
export const instanceEvents = 10
/** Commands in turn to one instance, or decisions on one course, before the next one is taken. */
export const inTurn = 20

const append = (size: number) => (concurrency: number): Cell => ({
  id: `append${size}@${concurrency}`,
  title: `append ${size} event${size === 1 ? "" : "s"}, c=${concurrency}`,
  kind: "append",
  size,
  concurrency
})

const read = (concurrency: number) => (size: number): Cell => ({
  id: `read${size}@${concurrency}`,
  title: `read a stream of ${size}, c=${concurrency}`,
  kind: "read",
  size,
  concurrency
})

const one = (kind: Kind, title: string, concurrency: number, size = 1): Cell => ({
  id: `${kind}@${concurrency}`,
  title: `${title}, c=${concurrency}`,
  kind,
  size,
  concurrency
})

export const cells: ReadonlyArray<Cell> = [
  ...[1, 8, 32, 128].map(append(1)),
  ...[1, 8, 32].map(append(10)),
  ...readSizes.map(read(8)),
  one("log", `read ${logEvents} events of the log`, 1, logEvents),
  one("cold", "command, instance not seen before", 1),
  one("hot", "command, same instance again", 1),
  one("decision", "DCB decision", 1),
  one("decision", "DCB decision", 8),
  one("latency", "commit to subscriber", 1)
]
