/** The code of every guide is code that is run: a block of `docs/<guide>.md` is part of `test/docs/<guide>.test.ts`. */
import { assert, describe, it } from "@effect/vitest"
import { blocksOf, read } from "./Markdown.ts"

/** How many blocks a guide has at least: a guide whose blocks are not found would pass. */
const guides = {
  "archiving": 6,
  "audit": 10,
  "personal-data": 7,
  "read-models": 13,
  "replay": 6,
  "snapshots": 6,
  "testing": 6,
  "time-travel": 9,
  "versions": 8
}

const withoutSpace = (text: string): string => text.replace(/\s+/g, "")

describe("every block of a guide is part of its test", () => {
  for (const [guide, least] of Object.entries(guides)) {
    it(guide, () => {
      const blocks = blocksOf(read(`docs/${guide}.md`))
      const code = withoutSpace(read(`test/docs/${guide}.test.ts`))
      assert.isAtLeast(blocks.length, least)
      assert.deepStrictEqual(blocks.filter((block) => !code.includes(withoutSpace(block.code))), [])
    })
  }
})
