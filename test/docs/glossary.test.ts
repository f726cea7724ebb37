/** Every entry of the glossary has a definition of one line and names the equivalents. */
import { assert, describe, it } from "@effect/vitest"
import { read } from "./Markdown.ts"

const entries = read("docs/glossary.md").split("\n\n").filter((paragraph) => paragraph.startsWith("**"))

describe("docs/glossary.md", () => {
  it("explains every term of the project in two lines", () => {
    assert.isAtLeast(entries.length, 60)
    for (const entry of entries) {
      assert.match(entry, /^\*\*[^*]+\.\*\* \S.*\\\n\S.*\n?$/, entry)
      assert.isAtMost(entry.split("\n")[0]!.length, 170, entry)
    }
  })

  it("names the equivalents in Axon, Marten, KurrentDB and emmett", () => {
    for (const entry of entries) {
      assert.match(entry.split("\n")[1]!, /^Axon: [^·]+ · Marten: [^·]+ · KurrentDB: [^·]+ · emmett: [^·]+$/, entry)
    }
  })

  it("defines no term twice", () => {
    const terms = entries.map((entry) => /^\*\*([^*]+)\.\*\*/.exec(entry)![1]!)
    assert.deepStrictEqual(terms, [...new Set(terms)])
  })
})
