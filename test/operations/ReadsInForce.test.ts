/** Which code decided over the events of a partition, after changes of what it reads. */
import { assert, it } from "@effect/vitest"
import { DateTime } from "effect"
import { Position, Version } from "evsrc"
import type { EarlierReads } from "../../src/consumer/CheckpointDriver.ts"
import * as ConsumerKey from "../../src/consumer/ConsumerKey.ts"
import * as ConsumerReads from "../../src/consumer/ConsumerReads.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as ReadsInForce from "../../src/operations/ReadsInForce.ts"

const readsOf = (types: ReadonlyArray<string>, streamPrefix?: string) =>
  ConsumerReads.format({
    keeps: "handlers",
    types,
    ignores: {},
    tags: [],
    ...(streamPrefix === undefined ? {} : { streamPrefix })
  })

const until = (
  reads: string,
  position: bigint,
  parked: Readonly<Record<string, bigint>> = {}
): EarlierReads => ({
  reads,
  position: Position.make(position),
  parked: Object.entries(parked).map(([key, position]) => ({ key, position: Position.make(position) }))
})

const delivery = (position: bigint, type: string, key = "Order-1") =>
  ConsumerKey.delivery(
    {
      id: "018f0000-0000-7000-8000-000000000000",
      stream: StreamId.make("Order-1"),
      version: Version.make(1),
      position: Position.make(position),
      type,
      schemaVersion: 1,
      data: {},
      tags: [],
      metadata: {},
      recordedAt: DateTime.makeUnsafe(0)
    },
    key,
    true
  )

const isRead = (
  reads: string,
  earlierReads: ReadonlyArray<EarlierReads>,
  ...[position, type, key]: Parameters<typeof delivery>
) => ReadsInForce.of({ reads, earlierReads }).isRead(delivery(position, type, key))

it("an event counts by what was read before the first change after it", () => {
  const earlier = [until(readsOf(["A"]), 10n), until(readsOf(["A", "B"]), 20n)]
  const now = readsOf(["B"])
  const read = [10n, 11n, 20n, 21n].map((position) => ["A", "B"].filter((type) => isRead(now, earlier, position, type)))
  assert.deepStrictEqual(read, [["A"], ["A", "B"], ["A", "B"], ["B"]])
})

it("an event that waits for a parked key at a change counts by what was read later", () => {
  const earlier = [until(readsOf(["A"]), 10n, { "Order-1": 5n }), until(readsOf(["B"]), 20n, { "Order-1": 8n })]
  const now = readsOf(["C"])
  const read = [4n, 5n, 7n, 8n, 20n].map((position) =>
    ["A", "B", "C"].filter((type) => isRead(now, earlier, position, type)).join()
  )
  assert.deepStrictEqual(read, ["A", "B", "B", "C", "C"])
  assert.isTrue(isRead(now, earlier, 8n, "A", "Order-2"), "another key")
})

it("an event of unknown key that waits at a change counts by what was read later", () => {
  const earlier = [until(readsOf(["A"]), 10n, { [ConsumerKey.unknownKey]: 10n })]
  assert.deepStrictEqual([9n, 10n].map((position) => isRead(readsOf(["B"]), earlier, position, "A")), [true, false])
})

it("the filter selects what was read at any time", () => {
  const earlier = [until(readsOf(["A"], "Order-"), 10n)]
  const filterOf = (reads: string) => ReadsInForce.of({ reads, earlierReads: earlier }).filter
  assert.deepStrictEqual(filterOf(readsOf(["B"], "Order-")), { types: ["B", "A"], streamPrefix: "Order-" })
  assert.deepStrictEqual(filterOf(readsOf(["B"])), { types: ["B", "A"] })
})
