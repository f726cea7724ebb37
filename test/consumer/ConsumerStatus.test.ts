import { assert, describe, it } from "@effect/vitest"
import { combine, type PartitionStatus } from "../../src/consumer/ConsumerStatus.ts"
import * as Position from "../../src/core/Position.ts"

const status = (position: number, head: number, more: Partial<PartitionStatus> = {}): PartitionStatus => ({
  state: "live",
  position: Position.make(BigInt(position)),
  head: Position.make(BigInt(head)),
  parked: 0,
  detail: undefined,
  ...more
})

const start = Position.start

describe("the status of a worker and its partitions", () => {
  it("has the slowest position, the highest head, the sum of parked streams and the largest lag", () => {
    const partitions = [status(4, 9, { parked: 2 }), status(7, 12, { parked: 1 }), status(8, 8)]
    assert.deepStrictEqual(combine(status(0, 3), partitions, start), {
      ...status(4, 12, { parked: 3 }),
      last: start,
      lag: 5n
    })
  })

  it("has the lag to the last committed event, also above the head", () => {
    const last = Position.make(15n)
    const partitions = [status(4, 9), status(7, 12)]
    assert.deepStrictEqual(combine(status(0, 3), partitions, last), { ...status(4, 12), last, lag: 11n })
  })

  it("has the head of the worker when no partition has read further", () => {
    assert.deepStrictEqual(combine(status(0, 20), [status(4, 9)], start), { ...status(4, 20), last: start, lag: 5n })
  })

  it("is that of the worker without partitions", () => {
    assert.deepStrictEqual(combine(status(2, 3), [], start), { ...status(2, 3), last: start, lag: 0n })
  })

  it("has the state of the worst partition, or of a worker whose requests fail", () => {
    const stuck = status(4, 9, { state: "stuck", detail: "a bug" })
    const retrying = status(0, 9, { state: "retrying", detail: "no database" })
    const shown = ({ detail, state }: PartitionStatus) => [state, detail]
    assert.deepStrictEqual(shown(combine(status(0, 9), [status(5, 9), stuck], start)), ["stuck", "a bug"])
    assert.deepStrictEqual(shown(combine(retrying, [status(5, 9)], start)), ["retrying", "no database"])
  })
})
