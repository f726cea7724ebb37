/** The code of the guide to time travel is code that is run. */
import { assert, it } from "@effect/vitest"
import { blocksOf, read } from "./Markdown.ts"

const withoutSpace = (text: string): string => text.replace(/\s+/g, "")

it("every block of docs/time-travel.md is part of test/guide/time-travel.test.ts", () => {
  const blocks = blocksOf(read("docs/time-travel.md"))
  const tests = withoutSpace(read("test/guide/time-travel.test.ts"))
  assert.isAbove(blocks.length, 8)
  for (const { code, language } of blocks) {
    assert.strictEqual(language, "ts")
    assert.isTrue(tests.includes(withoutSpace(code)), code)
  }
})
