/** docs/models.md lists every mutant of every model, with the trace that finds it. */
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { blocksOf, read, root } from "./Markdown.ts"

const guide = read("docs/models.md")
const traces = Fs.readdirSync(Path.join(root, "test/models/traces")).map((name) => ({
  model: Path.basename(name, ".txt"),
  text: read(`test/models/traces/${name}`)
}))

describe("docs/models.md", () => {
  for (const { model, text } of traces) {
    it(`lists the mutants of ${model}`, () => {
      const [, section] = guide.split(`[${model}.ts]`)
      assert(section !== undefined, model)
      const rows = section.split("\n## ")[0]!.split("\n").filter((line) => line.startsWith("| ")).slice(2)
      const found = text.trim().split("\n\n").map((trace) => {
        const [head, ...steps] = trace.split("\n")
        const [, mutant, violation] = /^When (.*?), (.*):$/.exec(head!)!
        return `| ${mutant} | ${violation} | ${steps.length} |`
      })
      assert.deepStrictEqual(rows, found)
    })
  }

  it("shows a trace that the explorer found", () => {
    const [block] = blocksOf(guide)
    assert.include(traces.find(({ model }) => model === "HighWaterMark")!.text, block!.code)
  })
})
