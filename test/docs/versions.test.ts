/** The code of the guide to versions of events is code that is run. */
import { assert, it } from "@effect/vitest"
import { blocksOf, read } from "./Markdown.ts"

const withoutSpace = (text: string): string => text.replace(/\s+/g, "")

it("every block of docs/versions.md is part of test/guide/versions.test.ts", () => {
  const blocks = blocksOf(read("docs/versions.md"))
  const tests = withoutSpace(read("test/guide/versions.test.ts"))
  assert.isAbove(blocks.length, 7)
  for (const { code, language } of blocks) {
    assert.strictEqual(language, "ts")
    assert.isTrue(tests.includes(withoutSpace(code)), code)
  }
})
