/** The code of the guide to archiving is code that is run. */
import { assert, it } from "@effect/vitest"
import { blocksOf, read } from "./Markdown.ts"

const withoutSpace = (text: string): string => text.replace(/\s+/g, "")

it("every block of docs/archiving.md is part of test/guide/archiving.test.ts", () => {
  const blocks = blocksOf(read("docs/archiving.md"))
  const tests = withoutSpace(read("test/guide/archiving.test.ts"))
  assert.isAbove(blocks.length, 5)
  for (const { code, language } of blocks) {
    assert.strictEqual(language, "ts")
    assert.isTrue(tests.includes(withoutSpace(code)), code)
  }
})
