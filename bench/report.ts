/** Results as a table for a terminal or a README. */
import { type Cell, cells } from "./cells.ts"
import { type Measured, median } from "./measure.ts"
import type { Table } from "./roundTrips/table.ts"

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
  readonly roundTrips?: Table
}

/** The medians of the rounds. */
export interface Figure {
  /** Operations a second. */
  readonly rate: number | undefined
  readonly p50: number
  readonly p95: number
  readonly p99: number
  /** The share of failed operations. */
  readonly failed: number
  /** Microseconds of processor time an operation. */
  readonly client: number | undefined
  readonly server: number | undefined
}

export const figure = ({ entries }: Results, cell: Cell, contestant: string): Figure | undefined => {
  const entry = entries.find((entry) => entry.cell === cell.id && entry.contestant === contestant)
  if (entry === undefined || entry.rounds.length === 0) return undefined
  const of = (value: (measured: Measured) => number) => median(entry.rounds.map(value))
  const ifAll = (value: (measured: Measured) => number | undefined) => {
    const found = entry.rounds.map(value).filter((one) => one !== undefined)
    return found.length < entry.rounds.length ? undefined : median(found)
  }
  return {
    rate: ifAll(({ rate }) => rate),
    p50: of(({ p50 }) => p50),
    p95: of(({ p95 }) => p95),
    p99: of(({ p99 }) => p99),
    failed: of(({ failed = 0 }) => failed),
    client: ifAll(({ client }) => client),
    server: ifAll(({ server }) => server)
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

const round = (value: number | undefined): string =>
  value === undefined || Number.isNaN(value)
    ? "–"
    : value >= 10
    ? Math.round(value).toLocaleString("en-US")
    : value.toFixed(value >= 1 ? 1 : 2)

const ratioOf = (results: Results, cell: Cell, contestant: string): number | undefined => {
  const [found, floor] = [figure(results, cell, contestant)?.rate, figure(results, cell, "floor")?.rate]
  return contestant === "floor" || found === undefined || floor === undefined ? undefined : found / floor
}

const failedOf = ({ failed }: Figure): string => failed === 0 ? "" : `, ${(failed * 100).toFixed(1)} % fail`

const rateText = (results: Results, cell: Cell, contestant: string): string => {
  const found = figure(results, cell, contestant)
  if (found === undefined) return "–"
  if (found.rate === undefined) return `${round(found.p50)} / ${round(found.p99)} ms`
  const ratio = ratioOf(results, cell, contestant)
  return `${round(found.rate)}${ratio === undefined ? "" : ` (${ratio.toFixed(2)})`}${failedOf(found)}`
}

/** Returns rows as a table for a terminal or a README. The first row is its head. */
export const text = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const line = (row: ReadonlyArray<string>) =>
    `| ${
      row.map((value, column) => column === 0 ? value.padEnd(widths[0]!) : value.padStart(widths[column]!)).join(" | ")
    } |`
  const rule = `| ${
    widths.map((width, column) => column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`).join(" | ")
  } |`
  return [line(rows[0]!), rule, ...rows.slice(1).map(line)].join("\n")
}

/** Returns the rates of all contestants side by side. */
export const table = (results: Results): string =>
  text([
    ["ops/s (ratio to the floor)", ...results.contestants, "spread of evsrc"],
    ...cells.filter(({ id }) => results.entries.some(({ cell }) => cell === id)).map((cell) => [
      cell.kind === "latency" ? `${cell.title}, p50 / p99` : cell.title,
      ...results.contestants.map((contestant) => rateText(results, cell, contestant)),
      spread(results, cell, "evsrc")
    ])
  ])

/** Returns all figures of each cell and contestant: rates, latencies, and processor time. */
export const details = (results: Results): string =>
  text([
    ["", "contestant", "ops/s", "to the floor", "p50 ms", "p95 ms", "p99 ms", "client µs/op", "server µs/op", "failed"],
    ...cells.flatMap((cell) =>
      results.contestants.flatMap((contestant) => {
        const found = figure(results, cell, contestant)
        if (found === undefined) return []
        return [[
          cell.title,
          contestant,
          round(found.rate),
          round(ratioOf(results, cell, contestant)),
          round(found.p50),
          round(found.p95),
          round(found.p99),
          round(found.client),
          round(found.server),
          found.failed === 0 ? "" : `${(found.failed * 100).toFixed(1)} %`
        ]]
      })
    )
  ])
