import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Position, StreamId, Version } from "evsrc"
import { digestOf } from "../../src/consumer/DeliveryLog.ts"
import { type Audited, faultsOf } from "../../src/operations/AuditDiagnosis.ts"

/** Ids as those of a test that makes them predictable, which differ in a few bits. */
const events = Array.from({ length: 256 }, (_, i): Audited => ({
  id: `00000000-0000-4000-8000-${String(i).padStart(12, "0")}`,
  stream: StreamId.StreamId.make("s"),
  version: Version.make(i + 1),
  position: Position.make(BigInt(i + 1)),
  type: "Ticked"
}))

const xorOf = (all: ReadonlyArray<Audited>) => all.reduce((xor, { id }) => xor ^ digestOf(id), 0n)

/** What is said of a segment of these events of which others were applied. */
const told = (applied: ReadonlyArray<Audited>, left: ReadonlyArray<Audited> = []) => {
  const expected = events.filter((event) => !left.includes(event))
  return faultsOf({
    from: Position.make(1n),
    upTo: Position.make(256n),
    expected,
    left,
    count: expected.length,
    xor: xorOf(expected),
    applied: applied.length,
    digest: xorOf(applied)
  }).map((fault) =>
    "event" in fault ? [fault.kind, fault.event] : "events" in fault ? [fault.kind, ...fault.events] : [fault.kind]
  )
}

const Index = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))

describe("the faults of a segment", () => {
  it.effect.prop(
    "of which any one or two events are missing or doubled are these",
    [Index, Index],
    ([i, j]) =>
      Effect.sync(() => {
        const [a, b] = [events[i]!, events[j]!]
        assert.deepStrictEqual(told(events), [])
        assert.deepStrictEqual(told(events.filter((event) => event !== a)), [["missing", a]])
        assert.deepStrictEqual(told([...events, a]), [["doubled", a]])
        if (a === b) return
        const both = a.position < b.position ? [a, b] : [b, a]
        assert.deepStrictEqual(
          told(events.filter((event) => event !== a && event !== b)),
          both.map((event) => ["missing", event])
        )
        assert.deepStrictEqual(told([...events, a, b]), both.map((event) => ["doubled", event]))
        assert.deepStrictEqual(told([...events.filter((event) => event !== a), b]), [["exchanged", ...both]])
      })
  )

  it("tells what was applied though it should not have been", () => {
    const [a, b, c] = [events[10]!, events[20]!, events[30]!]
    const rest = events.filter((event) => event !== a)
    assert.deepStrictEqual(told(rest, [a]), [])
    assert.deepStrictEqual(told(events, [a]), [["unexpected", a]])
    assert.deepStrictEqual(told(events.filter((event) => event !== b), [a]), [["missing", b], ["unexpected", a]])
    assert.deepStrictEqual(told([...events, b], [a]), [["doubled", b], ["unexpected", a]])
    assert.deepStrictEqual(told([...rest, { ...c, id: "ffffffff-0000-4000-8000-000000000000" }], [a]), [["unknown"]])
  })

  it("says so when it cannot tell", () => {
    assert.deepStrictEqual(told(events.filter((_, i) => ![3, 50, 100].includes(i))), [["unresolved"]])
    assert.deepStrictEqual(told([...events, events[3]!, events[3]!]), [["unresolved"]])
  })
})
