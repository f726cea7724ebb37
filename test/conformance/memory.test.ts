import { assert, it } from "@effect/vitest"
import { EventStore } from "evsrc"
import { chained, everySuite, hashChain, memory, names, suiteNames } from "./backEnds.ts"
import * as LongCases from "./longCases.ts"

everySuite("memory", memory)
chained("memory", EventStore.layerMemoryWith(hashChain))

it("the cases that databases leave out of a short run exist", () => {
  assert.deepStrictEqual(LongCases.unusedPatterns(names), [])
  assert.deepStrictEqual(LongCases.suitesOnPglite.filter((suite) => !suiteNames.includes(suite)), [])
})
