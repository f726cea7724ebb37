/** The code of the guide to replaying is code that is run, and what it prints is printed. */
import { assert, it } from "@effect/vitest"
import { blocksOf, read } from "./Markdown.ts"

const withoutSpace = (text: string): string => text.replace(/\s+/g, "")

it("every block of docs/replay.md is part of test/guide/replay.test.ts", () => {
  const blocks = blocksOf(read("docs/replay.md"))
  const tests = withoutSpace(read("test/guide/replay.test.ts"))
  assert.isAbove(blocks.length, 5)
  for (const { code, language } of blocks) {
    assert.include(["ts", "text"], language)
    assert.isTrue(tests.includes(withoutSpace(code)), code)
  }
})
