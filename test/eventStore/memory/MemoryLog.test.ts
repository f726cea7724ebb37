/** What the log in memory accepts of another log, and what it finds afterwards. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Option } from "effect"
import { Position, StreamId, Version } from "evsrc"
import type { RestoreResult } from "../../../src/eventStore/driver/EventStoreDriver.ts"
import * as MemoryLog from "../../../src/eventStore/memory/MemoryLog.ts"

const rowOf = (
  position: number,
  stream: string,
  version: number,
  more: Partial<MemoryLog.Row> = {}
): MemoryLog.Row => ({
  stream: StreamId.StreamId.make(stream),
  version: Version.make(version),
  position: Position.make(BigInt(position)),
  recordedAt: DateTime.makeUnsafe(0),
  id: `00000000-0000-4000-8000-${String(position).padStart(12, "0")}`,
  type: "Ticked",
  schemaVersion: 1,
  data: "{}",
  metadata: "{}",
  tags: [],
  ...more
})

const command = (commandId: string): Partial<MemoryLog.Row> => ({ commandId, commandEvents: 1 })

/** Restores batches one after another into an empty log, each after the last position, and returns the log and the last result. */
const restored = (...batches: ReadonlyArray<ReadonlyArray<MemoryLog.Row>>) => {
  const log = MemoryLog.make()
  const results = batches.map((events) => MemoryLog.restore(log, { after: MemoryLog.headOf(log), events }))
  return { log, result: results.at(-1)! }
}

const rejected = (position: number, detail: string): RestoreResult => ({
  _tag: "Rejected",
  position: Position.make(BigInt(position)),
  detail
})

describe("a restored log in memory", () => {
  it("has the rows, the receipts and the closed streams", () => {
    const [first, other, closing] = [
      rowOf(2, "a", 1, command("c1")),
      rowOf(3, "b", 1),
      rowOf(7, "a", 2, { closes: true })
    ]
    const rows = [first, other, closing]
    const { log, result } = restored(rows)
    assert.deepStrictEqual(result, { _tag: "Restored" })
    assert.deepStrictEqual(log.rows, rows)
    assert.deepStrictEqual(MemoryLog.streamOf(log, "a"), [first, closing])
    assert.deepStrictEqual(Array.from(log.commands), [["c1", first]], "the rows with a command id only")
    assert.deepStrictEqual(
      Option.map(MemoryLog.receiptOf(log, "c1"), ({ receipt }) => receipt.events.map(({ position }) => position)),
      Option.some([Position.make(2n)])
    )
    assert.deepStrictEqual(Array.from(log.closed.values(), ({ position, stream }) => [stream, position]), [
      ["a", Position.make(7n)]
    ])
  })

  it("rejects an event of a closed stream, closed in this batch or before", () => {
    const [closing, later] = [rowOf(1, "a", 1, { closes: true }), rowOf(2, "a", 2)]
    for (const batches of [[[closing, later]], [[closing], [later]]]) {
      const { log, result } = restored(...batches)
      assert.deepStrictEqual(result, rejected(2, "its stream was closed before"))
      assert.deepStrictEqual(log.rows, batches.length === 1 ? [] : [closing])
    }
  })

  it("rejects a command id that was used in this batch or before", () => {
    const [first, second] = [rowOf(1, "a", 1, command("c1")), rowOf(2, "b", 1, command("c1"))]
    for (const batches of [[[first, second]], [[first], [second]]]) {
      assert.deepStrictEqual(restored(...batches).result, rejected(2, "its command id was used before"))
    }
    assert.deepStrictEqual(restored([first, rowOf(2, "b", 1, command("c2"))]).result, { _tag: "Restored" })
    assert.deepStrictEqual(restored([rowOf(1, "a", 1), rowOf(2, "a", 2)]).result, { _tag: "Restored" })
  })

  it("rejects positions and versions out of order", () => {
    assert.deepStrictEqual(
      restored([rowOf(2, "a", 1), rowOf(2, "b", 1)]).result,
      rejected(2, "its position is not after 2")
    )
    assert.deepStrictEqual(
      restored([rowOf(2, "a", 1), rowOf(3, "a", 3)]).result,
      rejected(3, "its stream is at version 1, so its version cannot be 3")
    )
  })
})
