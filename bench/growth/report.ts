/** The results of `npm run bench:growth`, and their tables. */

export interface Sample {
  readonly events: number
  readonly seconds: number
  readonly rss: number
  readonly heapUsed: number
}

/** What an event takes on disk. */
export interface Grown {
  readonly contestant: string
  readonly events: number
  readonly tableBytes: number
  readonly indexBytes: number
}

/** The same figure for each size of the log; that of a round each. */
export interface Figure {
  readonly title: string
  readonly unit: "ops/s" | "ms" | "bytes"
  readonly rounds: ReadonlyArray<ReadonlyArray<number>>
}

export interface Results {
  readonly date: string
  readonly machine: Readonly<Record<string, string | number>>
  readonly server: Readonly<Record<string, string>>
  readonly seconds: number
  readonly loadAverage: ReadonlyArray<number>
  readonly sizes: ReadonlyArray<number>
  readonly fillSeconds: ReadonlyArray<number>
  readonly databaseBytes: ReadonlyArray<number>
  readonly figures: ReadonlyArray<Figure>
  readonly subscriber: ReadonlyArray<Sample>
  readonly rows: ReadonlyArray<Grown>
  readonly failures: ReadonlyArray<string>
}

export const median = (values: ReadonlyArray<number>): number => {
  if (values.length === 0) return Number.NaN
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

const short = (value: number): string =>
  Number.isNaN(value)
    ? "–"
    : value >= 10
    ? Math.round(value).toLocaleString("en-US")
    : value.toFixed(value >= 1 ? 1 : 2)

const millions = (events: number): string => events >= 1e6 ? `${events / 1e6}M` : events.toLocaleString("en-US")
const megabytes = (bytes: number): string => Math.round(bytes / 1e6).toLocaleString("en-US")

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const line = (row: ReadonlyArray<string>) =>
    `| ${
      row.map((cell, column) => column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)).join(" | ")
    } |`
  const rule = `| ${
    widths.map((width, column) => column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`).join(" | ")
  } |`
  return [line(rows[0]!), rule, ...rows.slice(1).map(line)].join("\n")
}

export const tables = ({ figures, rows, sizes, subscriber }: Results): string => {
  const last = sizes.length - 1
  const parts = [table([
    ["", ...sizes.map((size) => `${millions(size)} events`), `${millions(sizes[last]!)} : ${millions(sizes[0]!)}`],
    ...figures.map(({ rounds, title, unit }) => {
      const medians = rounds.map(median)
      // Of a round each, since what else the machine does changes from round to round.
      const ratios = rounds[last]!.flatMap((value, round) => {
        const first = rounds[0]![round]
        return first === undefined ? [] : [value / first]
      })
      return [`${title}, ${unit}`, ...medians.map(short), ratios.length === 0 ? "–" : short(median(ratios))]
    })
  ])]
  if (subscriber.length > 0) {
    parts.push(table([
      ["A subscriber after", ...subscriber.map(({ events }) => millions(events))],
      ["heap in use, MB", ...subscriber.map(({ heapUsed }) => megabytes(heapUsed))],
      ["resident, MB", ...subscriber.map(({ rss }) => megabytes(rss))],
      ["seconds", ...subscriber.map(({ seconds }) => short(seconds))]
    ]))
  }
  if (rows.length > 0) {
    parts.push(table([
      ["bytes an event", "table", "indexes", "both", "events written"],
      ...rows.map(({ contestant, events, indexBytes, tableBytes }) => [
        contestant,
        short(tableBytes),
        short(indexBytes),
        short(tableBytes + indexBytes),
        events.toLocaleString("en-US")
      ])
    ]))
  }
  return parts.join("\n\n")
}
