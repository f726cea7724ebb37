/** Each code block of `docs/<guide>.md` is part of `test/docs/<guide>.test.ts`, or of a module of test/docs that this imports. */
import { assert, describe, it } from "@effect/vitest"
import { blocksOf, read } from "./Markdown.ts"

/** The least number of blocks of each guide, because a guide without blocks would pass. */
const guides = {
  "aggregates": 9,
  "archiving": 6,
  "audit": 10,
  "coming-from": 10,
  "decisions": 7,
  "event-store": 7,
  "http": 8,
  "observability": 2,
  "operations": 4,
  "process-managers": 7,
  "promises": 10,
  "personal-data": 7,
  "read-models": 12,
  "replay": 6,
  "snapshots": 6,
  "stalls": 1,
  "subscriptions": 3,
  "testing": 6,
  "time-travel": 9,
  "versions": 8
}

/** The languages of code for other products. */
const foreign = new Set(["java", "csharp", "typescript"])

const sourceOf = (guide: string): string => {
  const test = read(`test/docs/${guide}.test.ts`)
  const modules = Array.from(test.matchAll(/from "\.\/(\w+\.ts)"/g), ([, name]) => read(`test/docs/${name}`))
  return [test, ...modules].join("\n").replaceAll(/^export /gm, "")
}

const withoutSpace = (text: string): string => text.replace(/\s+/g, "")

describe("every block of a guide is part of its test", () => {
  for (const [guide, least] of Object.entries(guides)) {
    it(guide, () => {
      const blocks = blocksOf(read(`docs/${guide}.md`)).filter(({ language }) => !foreign.has(language))
      const code = withoutSpace(sourceOf(guide))
      assert.isAtLeast(blocks.length, least)
      assert.deepStrictEqual(blocks.filter((block) => !code.includes(withoutSpace(block.code))), [])
    })
  }
})
