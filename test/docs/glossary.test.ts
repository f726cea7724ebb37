/** Every entry of the glossary has a definition of one line and names the equivalents. */
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { read, root, withoutBlocks } from "./Markdown.ts"

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

  it("is followed: no page uses a home-made word for one of its terms", () => {
    const pages = Fs.readdirSync(Path.join(root, "docs")).filter((name) => name.endsWith(".md"))
    const homeMade =
      /\b(followers?|safe heads?|nudges?|set aside|set-aside|swap\w*|in the clear|to the letter|anew|whoever|somebody|conversations?|entities)\b/gi
    assert.isAtLeast(pages.length, 20)
    for (const page of ["README.md", "CHANGELOG.md", ...pages.map((name) => `docs/${name}`)]) {
      const text = withoutBlocks(read(page)).replaceAll(/^Axon: .*$/gm, "")
      assert.deepStrictEqual(text.match(homeMade) ?? [], [], page)
    }
  })
})
