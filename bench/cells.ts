/** What is measured: one cell of the table each. */

export type Kind =
  | "append"
  | "read"
  | "log"
  | "cold"
  | "hot"
  | "one"
  | "decision"
  | "newcomer"
  | "mix"
  | "latency"
  | "http"

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
/** Instances of a mix of reads and commands. */
export const mixInstances = 200
/** The share of commands in a mix; the rest are reads. */
export const mixCommands = 0.3

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

const each = (kind: Kind, title: string, concurrencies: ReadonlyArray<number>): ReadonlyArray<Cell> =>
  concurrencies.map((concurrency) => one(kind, title, concurrency))

/** The cells of HTTP: a mix of reads and renames of registered users, and registrations. */
export const httpCells: ReadonlyArray<Cell & { readonly load: "mix" | "register" }> = [
  { ...one("http", "HTTP, 70 % reads", 32), id: "http-mix@32", load: "mix" },
  { ...one("http", "HTTP, registrations", 32), id: "http-register@32", load: "register" }
]

export const cells: ReadonlyArray<Cell> = [
  ...[1, 8, 32, 128].map(append(1)),
  ...[1, 8, 32].map(append(10)),
  ...readSizes.map(read(8)),
  one("log", `read ${logEvents} events of the log`, 1, logEvents),
  ...each("hot", "command, known instance", [1, 8, 32, 128]),
  ...each("cold", "command, unknown instance", [1, 8, 32, 128]),
  ...each("one", "command, one instance", [32, 128]),
  ...each("decision", "DCB decision", [1, 8, 32]),
  ...each("newcomer", "DCB decision, new tag assumed", [8, 32]),
  one("mix", "70 % reads, 30 % commands (Zipf)", 32),
  one("latency", "commit to subscriber", 1),
  ...httpCells
]
