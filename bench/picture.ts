/** Results as a picture: bars of the ratio to the floor, on a logarithmic scale, in colours that light and dark pages both carry. */
import { type Cell, cells } from "./cells.ts"
import { figure, type Results } from "./report.ts"

const colours: Readonly<Record<string, string>> = {
  evsrc: "#2f81f7",
  "evsrc again": "#9cc3fb",
  pgbench: "#8b949e",
  emmett: "#d9822b",
  castore: "#3a9d5d",
  "dcb-es": "#b65fcf"
}

const bar = 11
const gap = 14
const left = 230
const width = 860
const right = 70

/** Where a ratio lies between 1/64 and 8. */
const x = (ratio: number): number => {
  const share = (Math.log2(ratio) + 6) / 9
  return left + Math.min(1, Math.max(0, share)) * (width - left - right)
}

interface Bar {
  readonly contestant: string
  readonly ratio: number
}

const barsOf = (results: Results, cell: Cell): ReadonlyArray<Bar> => {
  const floor = figure(results, cell, "floor")?.rate
  if (floor === undefined) return []
  return results.contestants.flatMap((contestant) => {
    const rate = contestant === "floor" ? undefined : figure(results, cell, contestant)?.rate
    return rate === undefined ? [] : [{ contestant, ratio: rate / floor }]
  })
}

export const picture = (results: Results): string => {
  const out: Array<string> = []
  const top = 74
  let y = top
  for (const cell of cells) {
    const bars = barsOf(results, cell)
    if (bars.length === 0) continue
    out.push(`<text x="${left - 10}" y="${y + bars.length * bar / 2 + 4}" text-anchor="end">${cell.title}</text>`)
    for (const { contestant, ratio } of bars) {
      const start = x(1 / 64)
      out.push(
        `<rect x="${start}" y="${y}" width="${(x(ratio) - start).toFixed(1)}" height="${bar - 2}" fill="${
          colours[contestant] ?? "#8b949e"
        }"/>`,
        `<text class="small" x="${(x(ratio) + 4).toFixed(1)}" y="${y + bar - 3}">${ratio.toFixed(2)}</text>`
      )
      y += bar
    }
    y += gap
  }
  const lines = [1 / 64, 1 / 16, 1 / 4, 1, 4].map((ratio) => {
    const at = x(ratio).toFixed(1)
    const label = ratio < 1 ? `1/${1 / ratio}` : String(ratio)
    return `<line x1="${at}" x2="${at}" y1="${top - 8}" y2="${y}" class="${ratio === 1 ? "floor" : "grid"}"/>`
      + `<text class="small" x="${at}" y="${top - 13}" text-anchor="middle">${ratio === 1 ? "floor" : label}</text>`
  })
  const shown = results.contestants.filter((contestant) => contestant !== "floor")
  const legend = shown.map((contestant, index) =>
    `<rect x="${left + index * 105}" y="29" width="10" height="10" fill="${colours[contestant] ?? "#8b949e"}"/>`
    + `<text x="${left + index * 105 + 15}" y="38">${contestant}</text>`
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" width="${width}" height="${y}" role="img">
<title>Operations a second as a ratio to the floor, a prepared INSERT or SELECT by pg; more is better</title>
<style>
  text { font: 12px system-ui, sans-serif; fill: #57606a }
  .small { font-size: 10px }
  .grid { stroke: #8b949e; stroke-opacity: 0.35 }
  .floor { stroke: #8b949e; stroke-width: 2 }
  @media (prefers-color-scheme: dark) { text { fill: #adbac7 } }
</style>
<text x="10" y="18">Operations a second, as a ratio to the floor (a prepared INSERT or SELECT by pg); logarithmic, more is better. ${
    results.date.slice(0, 10)
  }</text>
${[...legend, ...lines, ...out].join("\n")}
</svg>
`
}
