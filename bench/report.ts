/** Results as a table for a terminal or a README. */
import { type Cell, cells } from "./cells.ts"
import { type Measured, median } from "./measure.ts"

export interface Entry {
  readonly cell: string
  readonly contestant: string
  readonly rounds: ReadonlyArray<Measured>
}

export interface Results {
  readonly date: string
  readonly machine: Readonly<Record<string, string | number>>
  readonly versions: Readonly<Record<string, string>>
  readonly server: Readonly<Record<string, string>>
  readonly settings: Readonly<Record<string, unknown>>
  readonly contestants: ReadonlyArray<string>
  readonly failures: ReadonlyArray<string>
  readonly entries: ReadonlyArray<Entry>
}

export interface Figure {
  /** Operations a second: the median of the rounds. */
  readonly rate: number | undefined
  readonly p50: number
  readonly p99: number
}

export const figure = ({ entries }: Results, cell: Cell, contestant: string): Figure | undefined => {
  const entry = entries.find((entry) => entry.cell === cell.id && entry.contestant === contestant)
  if (entry === undefined || entry.rounds.length === 0) return undefined
  const of = (value: (measured: Measured) => number) => median(entry.rounds.map(value))
  return {
    rate: cell.kind === "latency" ? undefined : of(({ rate = 0 }) => rate),
    p50: of(({ p50 }) => p50),
    p99: of(({ p99 }) => p99)
  }
}

/** The lowest and the highest round of a rate, as shares of its median. */
const spread = ({ entries }: Results, cell: Cell, contestant: string): string => {
  const entry = entries.find((entry) => entry.cell === cell.id && entry.contestant === contestant)
  const rates = entry?.rounds.flatMap(({ rate }) => rate === undefined ? [] : [rate]) ?? []
  if (rates.length < 2) return ""
  const middle = median(rates)
  return `${Math.round((Math.min(...rates) / middle - 1) * 100)}/+${
    Math.round((Math.max(...rates) / middle - 1) * 100)
  } %`
}

const round = (value: number): string =>
  value >= 10 ? Math.round(value).toLocaleString("en-US") : value.toFixed(value >= 1 ? 1 : 2)

const text = (results: Results, cell: Cell, contestant: string): string => {
  const found = figure(results, cell, contestant)
  if (found === undefined) return "–"
  if (found.rate === undefined) return `${round(found.p50)} / ${round(found.p99)} ms`
  const floor = figure(results, cell, "floor")?.rate
  const ratio = contestant === "floor" || floor === undefined ? "" : ` (${(found.rate / floor).toFixed(2)})`
  return `${round(found.rate)}${ratio}`
}

export const table = (results: Results): string => {
  const head = ["ops/s (ratio to the floor)", ...results.contestants, "spread of evsrc"]
  const rows = cells.map((cell) => [
    cell.kind === "latency" ? `${cell.title}, p50 / p99` : cell.title,
    ...results.contestants.map((contestant) => text(results, cell, contestant)),
    spread(results, cell, "evsrc")
  ])
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)))
  const line = (row: ReadonlyArray<string>) =>
    `| ${
      row.map((value, column) => column === 0 ? value.padEnd(widths[0]!) : value.padStart(widths[column]!)).join(" | ")
    } |`
  const rule = `| ${
    widths.map((width, column) => column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`).join(" | ")
  } |`
  return [line(head), rule, ...rows.map(line)].join("\n")
}
