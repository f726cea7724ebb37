/** The code of the guide to read models is code that is run. */
import { assert, it } from "@effect/vitest"
import { blocksOf, read } from "./Markdown.ts"

const withoutSpace = (text: string): string => text.replace(/\s+/g, "")

it("every block of docs/read-models.md is part of test/guide/read-models.test.ts", () => {
  const blocks = blocksOf(read("docs/read-models.md"))
  const tests = withoutSpace(read("test/guide/read-models.test.ts"))
  assert.isAbove(blocks.length, 12)
  for (const { code, language } of blocks) {
    assert.strictEqual(language, "ts")
    assert.isTrue(tests.includes(withoutSpace(code)), code)
  }
})
