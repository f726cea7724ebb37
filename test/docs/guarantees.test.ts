/** Every guarantee names the test files that fail without it. */
import { assert, describe, it } from "@effect/vitest"
import { linksOf, read, section } from "./Markdown.ts"

const guide = read("docs/guarantees.md")

const entriesOf = (heading: string, marker: RegExp) =>
  section(guide, heading).split(marker).slice(1).map((entry) => entry.trim())

describe.each(
  [
    ["## Invariants", /^\d+\. /m, 18],
    ["## Production requirements", /^\d+\. /m, 15],
    ["## Beyond these", /^- /m, 4]
  ] as const
)("docs/guarantees.md, %s", (heading, marker, count) => {
  const entries = entriesOf(heading, marker)

  it(`has ${count} entries`, () => {
    assert.strictEqual(entries.length, count)
  })

  it("links files that contain tests in every entry", () => {
    for (const entry of entries) {
      const [, tests] = entry.split(/^ *Tests: /m)
      assert(tests !== undefined, entry)
      const targets = linksOf(tests).map(({ target }) => target.replace("../", ""))
      assert.isNotEmpty(targets, entry)
      for (const target of targets) {
        assert.match(target, /^(test|src\/conformance)\//)
        assert.match(read(target), /\b(it|test|layer|everySuite)[.(]|@ts-expect-error/, target)
      }
    }
  })
})
