/** The checksums of an export, as another program would compute them from the documentation of the format. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { createHash } from "node:crypto"
import * as ExportChecksums from "../../src/transfer/ExportChecksums.ts"

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex")

describe("the checksums of an export", () => {
  it.effect("are digests of the anchor, the line's number and its body", () =>
    Effect.gen(function*() {
      const { digest, sums } = yield* ExportChecksums.checksummer
      const { anchor } = ExportChecksums.start
      const bodies = ["{\"a\":1}", "{\"b\":2}"]
      const [made, after] = yield* sums(ExportChecksums.start, bodies)
      const expected = bodies.map((body, index) => sha256(`${anchor}\n${index + 1}\n${body}`).slice(0, 16))
      assert.deepStrictEqual(made, expected)
      assert.deepStrictEqual(after, { line: 2, anchor, sums: expected })
      assert.strictEqual(yield* digest(after), sha256(`${anchor}\n${expected.join("")}`))
    }))

  it.effect("are the same however the lines are divided into pages", () =>
    Effect.gen(function*() {
      const { digest, sums } = yield* ExportChecksums.checksummer
      const bodies = Array.from({ length: 2100 }, (_, n) => `{"n":${n}}`)
      const [all, after] = yield* sums(ExportChecksums.start, bodies)
      const [first, middle] = yield* sums(ExportChecksums.start, bodies.slice(0, 700))
      const [rest, end] = yield* sums(middle, bodies.slice(700))
      assert.deepStrictEqual([...first, ...rest], all)
      assert.deepStrictEqual(end, after)
      assert.notStrictEqual(yield* digest(after), yield* digest(middle))
    }))
})
