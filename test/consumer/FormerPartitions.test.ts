import { assert, describe, it } from "@effect/vitest"
import * as FormerPartitions from "../../src/consumer/FormerPartitions.ts"
import * as Position from "../../src/core/Position.ts"
import { StreamId } from "../../src/core/StreamId.ts"

const positions = [10n, 20n].map((position) => Position.make(position))
const former = (partitionedBy: string) => [{ partitionedBy, positions, eventIds: [undefined, undefined] }]
const events = ["1", "2", "3", "4", "5", "6"].map((id) => ({
  stream: StreamId.make(`Order-${id}`),
  tags: [`order:${id}`]
}))

describe("FormerPartitions.reachedBy", () => {
  it("finds the former partition of a key of the same kind", () => {
    const reached = events.map((event) =>
      FormerPartitions.reachedBy(former("instance"), "instance", event, event.stream)
    )
    assert.deepStrictEqual(new Set(reached), new Set(positions))
  })

  it.for(["instance", "document"])("counts on what all have reached if the former keys, by %s, are unknown", (by) => {
    for (const event of events) {
      assert.strictEqual(FormerPartitions.reachedBy(former(by), "tag:order", event, event.tags[0]!), positions[0])
    }
  })
})
