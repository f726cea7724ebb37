/** Folding the events that a command has just written. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Schema } from "effect"
import { Aggregate, Command, Position, StreamId, Version } from "evsrc"
import * as AggregateState from "../../src/aggregate/AggregateState.ts"
import type { EncodedEvent } from "../../src/event/RecordedEvent.ts"

const Added = Schema.TaggedUnion({ Added: { id: Schema.String, amount: Schema.Int } })
const Add = Command.make("Add", { payload: { id: Schema.String, amount: Schema.Int } })
const decider = Aggregate.make("Sum", { id: "id", state: Schema.Int, events: Added, commands: [Add] }).decider({
  initial: 0,
  evolve: { Added: (sum, { amount }) => sum + amount },
  decide: { Add: (_, command) => [Added.cases.Added.make(command)] }
})

const added = (version: number, amount: unknown): EncodedEvent => ({
  position: Position.make(BigInt(10 * version)),
  stream: StreamId.StreamId.make("Sum-a"),
  version: Version.make(version),
  type: "Added",
  schemaVersion: 1,
  id: `id-${version}`,
  data: { id: "a", amount } as EncodedEvent["data"],
  metadata: {},
  tags: [],
  recordedAt: DateTime.makeUnsafe(0)
})

const foldWritten = (...written: ReadonlyArray<EncodedEvent>) =>
  AggregateState.foldWritten(decider, AggregateState.empty(decider), written)

describe("the fold of written events", () => {
  it("continues the state before them", () => {
    const state = foldWritten(added(1, 2), added(2, 3))
    assert.deepStrictEqual(state, {
      state: 5,
      version: Version.make(2),
      position: Position.make(20n),
      eventId: "id-2"
    })
    assert.strictEqual(AggregateState.foldWritten(decider, state!, [added(3, 4)])?.state, 9)
  })

  it("is undefined when an event does not follow the state", () => {
    assert.isUndefined(foldWritten(added(2, 2)))
    assert.isUndefined(foldWritten(added(1, 2), added(3, 3)))
    assert.isUndefined(foldWritten(added(1, 2), added(1, 2)))
  })

  it("is undefined when an event does not decode", () => {
    assert.isUndefined(foldWritten(added(1, "two")))
    assert.isUndefined(foldWritten(added(1, 2), added(2, "three")))
  })
})
