import { assert, describe, it } from "@effect/vitest"
import { DateTime } from "effect"
import * as ProcessState from "../../src/process/ProcessState.ts"

describe("the state of an instance", () => {
  it("does not grow with the number of its events", () => {
    let state = ProcessState.initial(null)
    const sizes = new Set<number>()
    for (let n = 100_000; n < 200_000; n++) {
      state = ProcessState.evolve(state, { kind: "send", name: "Do", payload: {}, index: n, isLatestOnly: false })
      state = ProcessState.evolve(state, {
        kind: "rejected",
        name: "Do",
        sent: `${n}`,
        sentAt: DateTime.makeUnsafe(n),
        error: {}
      })
      if (n % 10_000 === 0) sizes.add(Object.values(state).filter(Array.isArray).length + Object.keys(state).length)
    }
    assert.strictEqual(sizes.size, 1)
    assert.isBelow(JSON.stringify(state).length, 300)
  })
})
