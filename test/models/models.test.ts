/**
 * Explores all states of small models of the protocols on which everything rests; docs/models.md describes them. Every mutant of a protocol must
 * be found. The traces are in `traces`; `npx vitest run test/models -u` writes them again.
 */
import { assert, describe, expect, it } from "@effect/vitest"
import { isLong } from "../support/scale.ts"
import { commandIds } from "./CommandIds.ts"
import { explore, type Protocols, type Result } from "./Explorer.ts"
import { handOver } from "./HandOver.ts"
import { highWaterMark } from "./HighWaterMark.ts"
import { inlineProjection } from "./InlineProjection.ts"
import { lease } from "./Lease.ts"
import { logIdentity } from "./LogIdentity.ts"
import { repartitioning } from "./Repartition.ts"
import { sharedDocuments } from "./SharedDocuments.ts"

const timeout = 300_000

const describeModel = <C, P, S>(name: string, { large, make, mutants, protocol, small }: Protocols<C, P, S>) =>
  describe(`the model ${name}`, () => {
    const results = new Map<string, Result>()
    /** Explores the protocol itself, once for each configuration. */
    const resultOf = (configuration: C): Result => {
      const key = JSON.stringify(configuration)
      const result = results.get(key) ?? explore(make(configuration, protocol))
      results.set(key, result)
      return result
    }

    for (const configuration of isLong ? [...small, ...large] : small) {
      it(`has no state that violates a property, with ${JSON.stringify(configuration)}`, { timeout }, () => {
        const { states, trace, violation } = resultOf(configuration)
        assert.deepStrictEqual([violation, trace], [undefined, []])
        assert.isAbove(states, 50)
      })
    }

    it("finds every mutant by its shortest trace", { timeout }, async () => {
      const sections = Object.entries(mutants).map(([mutant, { change, configuration }]) => {
        assert.strictEqual(resultOf(configuration).violation, undefined, JSON.stringify(configuration))
        const { trace, violation } = explore(make(configuration, { ...protocol, ...change }))
        assert(violation !== undefined, `the mutant is not found: ${mutant}`)
        return [`When ${mutant}, ${violation}:`, ...trace.map((step, index) => `${index + 1}. ${step}`)].join("\n")
      })
      await expect(`${sections.join("\n\n")}\n`).toMatchFileSnapshot(`traces/${name}.txt`)
    })
  })

describeModel("HighWaterMark", highWaterMark)
describeModel("LogIdentity", logIdentity)
describeModel("Lease", lease)
describeModel("HandOver", handOver)
describeModel("Repartition", repartitioning)
describeModel("SharedDocuments", sharedDocuments)
describeModel("InlineProjection", inlineProjection)
describeModel("CommandIds", commandIds)
