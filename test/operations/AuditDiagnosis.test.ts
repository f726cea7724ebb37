import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Position, StreamId, Version } from "evsrc"
import { digestOf } from "../../src/consumer/DeliveryLog.ts"
import { type AuditedEvent, faultsOf } from "../../src/operations/AuditDiagnosis.ts"

/** Ids as those of a test that makes them predictable, which differ in a few bits. */
const events = Array.from({ length: 256 }, (_, i): AuditedEvent => ({
  id: `00000000-0000-4000-8000-${String(i).padStart(12, "0")}`,
  stream: StreamId.StreamId.make("s"),
  version: Version.make(i + 1),
  position: Position.make(BigInt(i + 1)),
  type: "Ticked"
}))

const deliveryOf = (event: AuditedEvent) => ({ event, digest: digestOf(event.id) })
const xorOf = (all: ReadonlyArray<AuditedEvent>) => all.reduce((xor, { id }) => xor ^ digestOf(id), 0n)

/** The faults of a segment that should have all events but the excluded ones, and has the applied ones. */
const diagnose = (applied: ReadonlyArray<AuditedEvent>, excluded: ReadonlyArray<AuditedEvent> = []) => {
  const expected = events.filter((event) => !excluded.includes(event))
  return faultsOf({
    from: Position.make(1n),
    upTo: Position.make(256n),
    expected: expected.map(deliveryOf),
    excluded: excluded.map(deliveryOf),
    expectedCount: expected.length,
    expectedDigest: xorOf(expected),
    applied: applied.length,
    digest: xorOf(applied)
  }).map((fault) =>
    "event" in fault ? [fault.kind, fault.event] : "events" in fault ? [fault.kind, ...fault.events] : [fault.kind]
  )
}

const Index = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))

describe("the faults of a segment", () => {
  it.effect.prop(
    "names any one or two events that are missing or doubled",
    [Index, Index],
    ([i, j]) =>
      Effect.sync(() => {
        const [a, b] = [events[i]!, events[j]!]
        assert.deepStrictEqual(diagnose(events), [])
        assert.deepStrictEqual(diagnose(events.filter((event) => event !== a)), [["missing", a]])
        assert.deepStrictEqual(diagnose([...events, a]), [["doubled", a]])
        if (a === b) return
        const both = a.position < b.position ? [a, b] : [b, a]
        assert.deepStrictEqual(
          diagnose(events.filter((event) => event !== a && event !== b)),
          both.map((event) => ["missing", event])
        )
        assert.deepStrictEqual(diagnose([...events, a, b]), both.map((event) => ["doubled", event]))
        assert.deepStrictEqual(diagnose([...events.filter((event) => event !== a), b]), [["exchanged", ...both]])
      })
  )

  it("names events that should not have been applied", () => {
    const [a, b, c] = [events[10]!, events[20]!, events[30]!]
    const rest = events.filter((event) => event !== a)
    assert.deepStrictEqual(diagnose(rest, [a]), [])
    assert.deepStrictEqual(diagnose(events, [a]), [["unexpected", a]])
    assert.deepStrictEqual(diagnose(events.filter((event) => event !== b), [a]), [["missing", b], ["unexpected", a]])
    assert.deepStrictEqual(diagnose([...events, b], [a]), [["doubled", b], ["unexpected", a]])
    assert.deepStrictEqual(diagnose([...rest, { ...c, id: "ffffffff-0000-4000-8000-000000000000" }], [a]), [[
      "unknown"
    ]])
  })

  it("is unresolved when no single fault explains the difference", () => {
    assert.deepStrictEqual(diagnose(events.filter((_, i) => ![3, 50, 100].includes(i))), [["unresolved"]])
    assert.deepStrictEqual(diagnose([...events, events[3]!, events[3]!]), [["unresolved"]])
  })
})
