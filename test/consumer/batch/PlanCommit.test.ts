import { assert, describe, it } from "@effect/vitest"
import { DateTime } from "effect"
import type { Failure } from "../../../src/consumer/batch/Failure.ts"
import { outcomeOf } from "../../../src/consumer/batch/PlanCommit.ts"
import type { Delivery } from "../../../src/consumer/ConsumerKey.ts"
import { invalidRequest, storeError, UndecodableEvent } from "../../../src/core/errors.ts"
import * as Position from "../../../src/core/Position.ts"
import * as StreamId from "../../../src/core/StreamId.ts"
import * as Version from "../../../src/core/Version.ts"
import type { EncodedEvent } from "../../../src/event/RecordedEvent.ts"

const [from, to] = [Position.make(10n), Position.make(30n)]

const eventAt = (position: number): EncodedEvent => ({
  position: Position.make(BigInt(position)),
  stream: StreamId.StreamId.make(`s${position}`),
  version: Version.make(1),
  type: "Ticked",
  schemaVersion: 1,
  id: `id-${position}`,
  data: {},
  metadata: {},
  tags: [],
  recordedAt: DateTime.makeUnsafe(0)
})

const appliedAt = (position: number): Delivery => ({ event: eventAt(position), key: "s", digest: 0n })
const failedAt = (position: number): Failure => ({ event: eventAt(position), key: "s", error: invalidRequest("a bug") })
const newerAt = (position: number): Failure => {
  const { stream, type, version } = eventAt(position)
  return {
    event: eventAt(position),
    key: "s",
    error: storeError(
      new UndecodableEvent({
        problem: "NewerVersion",
        position: Position.make(BigInt(position)),
        stream,
        version,
        type,
        schemaVersion: 2,
        detail: "version 2"
      })
    )
  }
}

describe("the outcome of a batch", () => {
  it("moves the checkpoint to the end when nothing failed", () => {
    assert.deepStrictEqual(
      outcomeOf({ onFailure: "park", unknownTypes: "pass" }, { applied: [appliedAt(20)], failures: [] }, from, to),
      {
        reached: to,
        stopped: undefined,
        toPark: []
      }
    )
  })

  it("parks the failures of a consumer that parks", () => {
    const failures = [failedAt(15), failedAt(16)]
    assert.deepStrictEqual(
      outcomeOf({ onFailure: "park", unknownTypes: "pass" }, { applied: [], failures }, from, to),
      {
        reached: to,
        stopped: undefined,
        toPark: failures
      }
    )
  })

  it("stops before the failure of a consumer that stops", () => {
    const failure = failedAt(20)
    assert.deepStrictEqual(
      outcomeOf(
        { onFailure: "stop", unknownTypes: "pass" },
        { applied: [appliedAt(12), appliedAt(15)], failures: [failure] },
        from,
        to
      ),
      { reached: Position.make(15n), stopped: failure, toPark: [] }
    )
  })

  it("stays at the checkpoint when the first event stops the consumer", () => {
    const plan = { applied: [], failures: [failedAt(11)] }
    assert.strictEqual(outcomeOf({ onFailure: "stop", unknownTypes: "pass" }, plan, from, to).reached, from)
  })

  it("stops before an event of newer code and parks what failed before it", () => {
    const [failure, newer] = [failedAt(18), newerAt(20)]
    assert.deepStrictEqual(
      outcomeOf(
        { onFailure: "park", unknownTypes: "pass" },
        { applied: [appliedAt(12)], failures: [failure, newer] },
        from,
        to
      ),
      { reached: Position.make(18n), stopped: newer, toPark: [failure] }
    )
  })
})
