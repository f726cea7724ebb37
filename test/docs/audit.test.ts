/** The code of the guide to audits is code that is run. */
import { assert, it } from "@effect/vitest"
import { blocksOf, read } from "./Markdown.ts"

const withoutSpace = (text: string): string => text.replace(/\s+/g, "")

it("every block of docs/audit.md, text and SQL too, is part of test/guide/audit.test.ts", () => {
  const blocks = blocksOf(read("docs/audit.md"))
  const tests = withoutSpace(read("test/guide/audit.test.ts"))
  assert.isAbove(blocks.length, 9)
  for (const { code, language } of blocks) {
    assert.include(["ts", "text", "sql"], language)
    assert.isTrue(tests.includes(withoutSpace(code)), code)
  }
})
