/**
 * Reads blocks, links, headings and tables of Markdown, for the tests of the documentation.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"

export const root = Path.resolve(import.meta.dirname, "../..")

export const read = (path: string): string => Fs.readFileSync(Path.join(root, path), "utf8")

/** A fenced block, and the text between it and the block before. */
export interface Block {
  readonly language: string
  readonly code: string
  readonly before: string
}

export const blocksOf = (markdown: string): ReadonlyArray<Block> => {
  const parts = markdown.split(/^ *```(.*)\n([^]*?)^ *```$/m)
  return Array.from({ length: (parts.length - 1) / 3 }, (_, i) => ({
    before: parts[i * 3]!,
    language: parts[i * 3 + 1]!,
    code: parts[i * 3 + 2]!
  }))
}

export const withoutBlocks = (markdown: string): string => markdown.replace(/^ *```.*\n[^]*?^ *```$/gm, "")

export interface Link {
  readonly text: string
  readonly target: string
}

export const linksOf = (markdown: string): ReadonlyArray<Link> =>
  Array.from(withoutBlocks(markdown).matchAll(/\[([^\]]*)\]\(([^)\s]+)\)/g), ([, text, target]) => ({
    text: text!,
    target: target!
  }))

/** The anchors that GitHub gives to headings. */
export const anchorsOf = (markdown: string): ReadonlyArray<string> =>
  Array.from(
    withoutBlocks(markdown).matchAll(/^#{1,6} +(.+)$/gm),
    ([, heading]) => heading!.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-")
  )

/** The text below a heading, up to the next of its level or above. */
export const section = (markdown: string, heading: string): string => {
  const level = heading.indexOf(" ")
  const start = markdown.indexOf(`\n${heading}\n`)
  if (start === -1) throw new Error(`There is no "${heading}"`)
  const rest = markdown.slice(start + heading.length + 2)
  const end = rest.search(new RegExp(`^#{1,${level}} `, "m"))
  return end === -1 ? rest : rest.slice(0, end)
}

/** The rows of the first table, cells without the backticks around a name. */
export const tableOf = (markdown: string): ReadonlyArray<ReadonlyArray<string>> => {
  const [table] = /^\|.*\n\| ?-.*\n(\|.*\n)+/m.exec(markdown) ?? []
  if (table === undefined) throw new Error("There is no table")
  return table.trim().split("\n").slice(2).map((row) =>
    row.slice(1, -1).split("|").map((cell) => cell.trim().replace(/^`([^`]+)`$/, "$1"))
  )
}
