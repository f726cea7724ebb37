/**
 * Changes the core in small ways, one at a time, and runs the tests that reach the change: a change that no test notices survives. Run by
 * `npm run test:mutants -- --count 200 --seed 1 --only src/consumer`.
 *
 * Stryker makes the mutants and runs the tests. This script draws a seeded sample of all mutants, since all of them take days, and
 * prints what survived.
 */
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, relative, resolve } from "node:path"
import { parseArgs } from "node:util"
import { equivalents } from "./equivalents.ts"
import type { Range, Sampled } from "./SamplePlugin.ts"

interface Place {
  readonly line: number
  readonly column: number
}

interface Mutant {
  readonly fileName: string
  readonly location: { readonly start: Place; readonly end: Place }
  readonly mutatorName: string
  readonly replacement: string
}

interface Result extends Mutant {
  readonly status: string
  readonly statusReason?: string
}

interface Instrumenter {
  readonly instrument: (
    files: ReadonlyArray<{ readonly name: string; readonly content: string; readonly mutate: boolean }>,
    options: object
  ) => Promise<{ readonly mutants: ReadonlyArray<Mutant> }>
}

const root = resolve(import.meta.dirname, "../..")

/** The layers of the core. The others are adapters, which have suites on a database, and tools for tests. */
const excludedFolders = ["pg", "pglite", "testing", "conformance"]

/** Mutations of texts, most of which are messages, and of what only the type check can see. */
const excludedMutations = ["StringLiteral", "Regex", "ObjectLiteral"]

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "200" },
    seed: { type: "string", default: "1" },
    only: { type: "string", default: "src" },
    concurrency: { type: "string", default: "2" },
    /** Also tests mutants of code that runs while modules load. Each takes a run of all tests. */
    static: { type: "boolean", default: false }
  }
})

/** Stryker is installed in this folder only. */
const stryker = async <A>(name: string): Promise<A> => {
  const entry = join(import.meta.dirname, "node_modules/@stryker-mutator", name, "dist/src/index.js")
  if (!existsSync(entry)) throw new Error("Stryker is not installed: run npm run test:mutants")
  return await import(entry) as A
}

const allMutants = async (files: ReadonlyArray<string>): Promise<ReadonlyArray<Mutant>> => {
  const { Instrumenter } = await stryker<{ readonly Instrumenter: new(logger: object) => Instrumenter }>("instrumenter")
  const silent = () => {}
  const logger = { info: silent, debug: silent, warn: silent, isDebugEnabled: () => false }
  const { mutants } = await new Instrumenter(logger).instrument(
    files.map((name) => ({ name, content: readFileSync(join(root, name), "utf8"), mutate: true })),
    { plugins: null, excludedMutations, ignorers: [] }
  )
  return mutants.filter(({ mutatorName }) => !excludedMutations.includes(mutatorName))
}

/** Park and Miller's generator. */
const random = (seed: number) => {
  let state = (seed * 48271) % 2147483647 || 1
  return (below: number) => (state = (state * 48271) % 2147483647) % below
}

const rangeOf = ({ location: { end, start } }: Mutant): Range => ({
  start: { line: start.line + 1, column: start.column },
  end: { line: end.line + 1, column: end.column }
})

const sampledOf = (mutant: Mutant): Sampled => ({
  ...rangeOf(mutant),
  fileLength: readFileSync(join(root, mutant.fileName), "utf8").length
})

/** Draws places in the code until there are enough mutants of them: one place may have several. */
const draw = (mutants: ReadonlyArray<Mutant>, count: number, seed: number) => {
  const byPlace = Map.groupBy(mutants, (mutant) => JSON.stringify([mutant.fileName, rangeOf(mutant)]))
  const places = Array.from(byPlace.values())
  const below = random(seed)
  const drawn: Array<Mutant> = []
  let size = 0
  while (size < count && places.length > 0) {
    const [place] = places.splice(below(places.length), 1)
    drawn.push(place![0]!)
    size += place!.length
  }
  return drawn
}

const textOf = ({ fileName, location: { end, start } }: Mutant): string => {
  const lines = readFileSync(resolve(root, fileName), "utf8").split("\n").slice(start.line - 1, end.line)
  const last = lines.length - 1
  return lines.map((line, i) => line.slice(i === 0 ? start.column - 1 : 0, i === last ? end.column - 1 : undefined))
    .join("\n")
}

const shorten = (text: string) => {
  const line = text.replaceAll(/\s+/g, " ").trim()
  return line.length > 160 ? `${line.slice(0, 157)}...` : line
}

const isEquivalent = (mutant: Mutant): boolean =>
  equivalents.some(({ after, before, file }) =>
    file === relative(root, resolve(root, mutant.fileName)) && before === shorten(textOf(mutant))
    && after === shorten(mutant.replacement)
  )

const show = (mutant: Mutant & { readonly status: string }) => {
  const { column, line } = mutant.location.start
  return `${relative(root, resolve(root, mutant.fileName))}:${line}:${column} [${mutant.status}, ${mutant.mutatorName}]
  - ${shorten(textOf(mutant))}
  + ${shorten(mutant.replacement)}`
}

process.chdir(root)
const files = globSync("src/**/*.ts").filter((file) =>
  file.startsWith(values.only) && !excludedFolders.includes(file.split("/")[1]!)
)
const mutants = await allMutants(files.toSorted())
const sampled = draw(mutants, Number(values.count), Number(values.seed))
const folder = mkdtempSync(join(tmpdir(), "evsrc-mutants-"))
const sampleFile = join(folder, "sample.json")
writeFileSync(sampleFile, JSON.stringify(sampled.map(sampledOf)))
process.env["MUTANT_SAMPLE"] = sampleFile

const { Stryker } = await stryker<
  { readonly Stryker: new(options: object) => { readonly runMutationTest: () => Promise<ReadonlyArray<Result>> } }
>("core")
const results = await new Stryker({
  testRunner: "vitest",
  vitest: { configFile: "test/mutants/vitest.config.ts", related: false },
  plugins: ["@stryker-mutator/vitest-runner", join(import.meta.dirname, "SamplePlugin.ts")],
  ignorers: ["sample"],
  mutate: sampled.map((mutant) => {
    const { end, start } = rangeOf(mutant)
    return `${mutant.fileName}:${start.line}:${start.column}-${end.line}:${end.column}`
  }),
  mutator: { excludedMutations },
  // Only to read tsconfig.json would Stryker need the API that TypeScript 7 does not have.
  tsconfigFile: "none",
  tempDirName: join(folder, "sandbox"),
  coverageAnalysis: "perTest",
  ignoreStatic: !values.static,
  concurrency: Number(values.concurrency),
  // A mutant that makes a test wait shall fail that test before it times out here.
  timeoutMS: 90_000,
  dryRunTimeoutMinutes: 20,
  reporters: ["survivors"],
  allowEmpty: true
}).runMutationTest()
rmSync(folder, { recursive: true, force: true })

const tested = results.filter(({ status }) => !["Ignored", "CompileError", "Pending"].includes(status))
const survivors = tested.filter(({ status }) => status === "Survived" || status === "NoCoverage")
const [equivalent, alive] = [survivors.filter(isEquivalent), survivors.filter((mutant) => !isEquivalent(mutant))]
console.log("\nSurvivors:")
for (const survivor of alive) console.log(show(survivor))
const statics = results.filter(({ statusReason }) => statusReason?.startsWith("Static")).length
const killed = tested.length - survivors.length
const rate = (100 * killed / Math.max(1, tested.length - equivalent.length)).toFixed(1)
console.log(
  `${tested.length} of ${mutants.length} mutants (seed ${values.seed}): ${killed} killed (${rate} %), ${alive.length} survived, `
    + `${equivalent.length} equivalent; ${statics} static ones were not run`
)
if (tested.length === 0) process.exitCode = 1
