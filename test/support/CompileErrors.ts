/**
 * Compiles programs with one mistake each.
 */
import { execFile } from "node:child_process"
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")

/** A program with one mistake, and what the first two lines of the message say: the culprit, and what would be right. */
export interface Mistake {
  readonly name: string
  readonly program: string
  readonly says: ReadonlyArray<string>
}

/** By mistake, the first two lines of the compiler's messages. */
export const compile = async (
  domain: string,
  mistakes: ReadonlyArray<Mistake>
): Promise<ReadonlyMap<string, string>> => {
  await mkdir(join(root, ".data"), { recursive: true })
  const folder = await mkdtemp(join(root, ".data/compile-errors-"))
  try {
    for (const { name, program } of mistakes) {
      await writeFile(join(folder, `${name}.ts`), `${domain}\nexport const mistake = () =>\n  ${program}\n`)
    }
    await writeFile(
      join(folder, "tsconfig.json"),
      JSON.stringify({ extends: join(root, "tsconfig.json"), compilerOptions: { plugins: [] }, include: ["*.ts"] })
    )
    const output = await new Promise<string>((resolve) =>
      execFile(join(root, "node_modules/.bin/tsc"), ["-p", folder, "--pretty", "false"], (_, stdout) => resolve(stdout))
    )
    return firstLines(output)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const firstLines = (output: string): ReadonlyMap<string, string> => {
  const messages = new Map<string, string>()
  const lines = output.split("\n")
  for (const [index, line] of lines.entries()) {
    const [, name, message] = /([A-Za-z]+)\.ts\(\d+,\d+\): error TS\d+: (.*)$/.exec(line) ?? []
    if (name === undefined || message === undefined || messages.has(name)) continue
    const second = lines[index + 1] ?? ""
    messages.set(name, second.startsWith("  ") ? `${message}\n${second.trim()}` : message)
  }
  return messages
}
