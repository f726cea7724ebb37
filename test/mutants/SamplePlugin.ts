/** Lets Stryker make mutants only of the nodes that the file of MUTANT_SAMPLE lists, and prints survivors as it finds them. */
import { readFileSync } from "node:fs"

interface Place {
  readonly line: number
  readonly column: number
  /** The number of characters before it. */
  readonly index?: number
}

/** Where a node is: lines count from 1, columns from 0. */
export interface Range {
  readonly start: Place
  readonly end: Place
}

/** A place in a file that has so many characters. Stryker does not tell a plugin the file's name. */
export interface Sampled extends Range {
  readonly fileLength: number
}

interface Path {
  readonly node: { readonly type: string; readonly loc?: Range | null }
}

const path = process.env["MUTANT_SAMPLE"]
const sample = path === undefined ? [] : JSON.parse(readFileSync(path, "utf8")) as ReadonlyArray<Sampled>

const isBefore = (a: Place, b: Place) => a.line < b.line || a.line === b.line && a.column <= b.column

const contains = (outer: Range, inner: Range) => isBefore(outer.start, inner.start) && isBefore(inner.end, outer.end)

let ofFile: ReadonlyArray<Sampled> = []

const shouldIgnore = ({ node: { loc, type } }: Path): string | undefined => {
  if (loc === undefined || loc === null) return undefined
  if (type === "Program") ofFile = sample.filter(({ fileLength }) => fileLength === loc.end.index)
  return ofFile.some((range) => contains(loc, range)) ? undefined : "not in the sample"
}

interface Tested {
  readonly fileName: string
  readonly location: Range
  readonly replacement: string
  readonly status: string
}

class SurvivorReporter {
  #tested = 0

  onMutantTested({ fileName, location, replacement, status }: Tested): void {
    if (status === "Ignored") return
    this.#tested++
    if (status !== "Survived" && status !== "NoCoverage") return
    const { column, line } = location.start
    console.log(`${this.#tested} tested; ${status}: ${fileName}:${line}:${column} -> ${replacement.slice(0, 200)}`)
  }
}

export const strykerPlugins = [
  { kind: "Ignore", name: "sample", value: { shouldIgnore } },
  { kind: "Reporter", name: "survivors", injectableClass: SurvivorReporter }
]
