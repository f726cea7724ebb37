/**
 * Tables for people. A table that is wider than the terminal becomes a list.
 *
 * @since 0.1.0
 */
import * as CliOutput from "effect/cli/CliOutput"
import { type Look, printable, type Style } from "./Style.ts"

/**
 * A cell: a text, or a text with a look.
 *
 * @since 0.1.0
 * @category models
 */
export type Cell = string | { readonly text: string; readonly look: Look }

/**
 * A column: its heading, and whether its cells are numbers, which stand on the right.
 *
 * @since 0.1.0
 * @category models
 */
export interface Column {
  readonly heading: string
  readonly isNumber?: boolean | undefined
}

const textOf = (cell: Cell): string => printable(typeof cell === "string" ? cell : cell.text)

const widthOf = CliOutput.displayWidth

const padded = (text: string, width: number, isNumber: boolean | undefined): string => {
  const space = " ".repeat(Math.max(0, width - widthOf(text)))
  return isNumber === true ? space + text : text + space
}

const shown = (style: Style, cell: Cell, text: string): string =>
  typeof cell === "string" ? text : style.as(cell.look, text)

/**
 * Returns the lines of a table.
 *
 * @since 0.1.0
 * @category combinators
 */
export const lines = (
  style: Style,
  columns: ReadonlyArray<Column>,
  rows: ReadonlyArray<ReadonlyArray<Cell>>
): ReadonlyArray<string> => {
  if (rows.length === 0) return []
  const widths = columns.map(({ heading }, index) =>
    Math.max(widthOf(heading), ...rows.map((row) => widthOf(textOf(row[index]!))))
  )
  const total = widths.reduce((sum, width) => sum + width, 2 * (columns.length - 1))
  if (style.columns !== undefined && total > style.columns) return list(style, columns, rows)
  const line = (cells: ReadonlyArray<string>) => cells.join("  ").trimEnd()
  return [
    line(columns.map(({ heading, isNumber }, index) => style.as("dim", padded(heading, widths[index]!, isNumber)))),
    ...rows.map((row) =>
      line(row.map((cell, index) => shown(style, cell, padded(textOf(cell), widths[index]!, columns[index]!.isNumber))))
    )
  ]
}

/** Returns the rows one below the other, each cell on a line of its own. */
const list = (
  style: Style,
  columns: ReadonlyArray<Column>,
  rows: ReadonlyArray<ReadonlyArray<Cell>>
): ReadonlyArray<string> =>
  rows.flatMap((row, index) => [
    ...index === 0 ? [] : [""],
    ...row.flatMap((cell, column) =>
      textOf(cell) === ""
        ? []
        : [`${style.as("dim", `${columns[column]!.heading}:`)} ${shown(style, cell, textOf(cell))}`]
    )
  ])
