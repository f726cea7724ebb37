/**
 * Prints what the types of a program on evsrc cost: instantiations, types and time of `tsc` for programs of 10, 40 and 80 aggregates.
 * Instantiations and types are the same on every machine.
 *
 * `tsc` divides the files among four checkers, and each instantiates the types that its files import; the columns for one checker show the
 * cost without these repetitions.
 */
import { execFile } from "node:child_process"
import { mkdir, rm, writeFile } from "node:fs/promises"
import { join, resolve } from "node:path"
import { promisify } from "node:util"
import { allParts, modules, type Parts } from "./program.ts"

const run = promisify(execFile)
const root = resolve(import.meta.dirname, "../..")
const folder = join(root, ".data/types")
const tsc = join(root, "node_modules/.bin/tsc")

/** What each line leaves out of the whole program. */
const programs: ReadonlyArray<readonly [label: string, aggregates: number, parts: Parts]> = [
  ...[10, 40, 80].map((aggregates) => ["whole program", aggregates, allParts] as const),
  ["Schemas and commands alone", 80, { aggregate: false, layers: false, projection: false, dispatch: false }],
  ["and aggregates", 80, { aggregate: true, layers: false, projection: false, dispatch: false }],
  ["and projections, queries", 80, { aggregate: true, layers: false, projection: true, dispatch: false }],
  ["and layers", 80, { aggregate: true, layers: true, projection: true, dispatch: false }]
]

const declarations = join(folder, "evsrc")

const figure = (diagnostics: string, name: string): string =>
  new RegExp(`^${name}:\\s+(\\S+)`, "m").exec(diagnostics)?.[1] ?? "?"

const check = async (aggregates: number, parts: Parts) => {
  const program = join(folder, "program")
  await rm(program, { recursive: true, force: true })
  await mkdir(program, { recursive: true })
  const files = modules(aggregates, parts)
  for (const [name, text] of files) await writeFile(join(program, name), text)
  await writeFile(
    join(program, "tsconfig.json"),
    JSON.stringify({
      extends: join(root, "tsconfig.json"),
      compilerOptions: {
        customConditions: [],
        allowImportingTsExtensions: true,
        noUnusedLocals: false,
        paths: { evsrc: [join(declarations, "index.d.ts")] }
      },
      include: ["*.ts"]
    })
  )
  const diagnose = async (checkers: string) => {
    const { stdout } = await run(tsc, ["-p", program, "--extendedDiagnostics", "--checkers", checkers]).catch(
      (error) => {
        throw new Error(`the generated program does not compile:\n${error.stdout.slice(0, 4_000)}`)
      }
    )
    return ["Instantiations", "Types", "Check time"].map((name) => figure(stdout, name))
  }
  return [...await diagnose("4"), ...await diagnose("1")]
}

await rm(folder, { recursive: true, force: true })
await run(tsc, ["-p", join(root, "tsconfig.build.json"), "--emitDeclarationOnly", "--outDir", declarations])
const row = (cells: ReadonlyArray<string>) =>
  cells.map((cell, index) => index === 0 ? cell.padEnd(28) : cell.padStart(10)).join("  ")
console.log(row(["", "aggregates", ...["4 checkers", "1 checker"].flatMap((of) => [of, "types", "time"])]))
for (const [label, aggregates, parts] of programs) {
  console.log(row([label, String(aggregates), ...await check(aggregates, parts)]))
}
