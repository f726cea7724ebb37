/** The code of the guide to personal data is code that is run. */
import { assert, it } from "@effect/vitest"
import { blocksOf, read } from "./Markdown.ts"

const withoutSpace = (text: string): string => text.replace(/\s+/g, "")

it("every block of docs/personal-data.md is part of test/guide/personal-data.test.ts", () => {
  const blocks = blocksOf(read("docs/personal-data.md"))
  const tests = withoutSpace(read("test/guide/personal-data.test.ts"))
  assert.isAbove(blocks.length, 6)
  for (const { code, language } of blocks) {
    assert.strictEqual(language, "ts")
    assert.isTrue(tests.includes(withoutSpace(code)), code)
  }
})
