/** What an audit reports of several partitions with several faults. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Option, Schema } from "effect"
import { EventStore, Position, Projection, ProjectionStore } from "evsrc"
import type { DeliveryState } from "../../src/consumer/CheckpointDriver.ts"
import * as ConsumerReads from "../../src/consumer/ConsumerReads.ts"
import { digestOf } from "../../src/consumer/DeliveryLog.ts"
import { filterOf } from "../../src/consumer/PartitionProcessor.ts"
import { internals } from "../../src/core/internals.ts"
import type { EncodedEvent } from "../../src/event/RecordedEvent.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const ticks = Projection.make("ticks", {
  events: Tick,
  document: Schema.Int,
  partitions: 2,
  partitionBy: "stream",
  key: () => "all",
  evolve: { Ticked: (n) => (n ?? 0) + 1 }
})
const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

/** Appends events to many streams, and returns those of each partition. */
const append = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  for (let n = 0; n < 24; n++) yield* store.append(Tick, `Tick-${n}`, [{ _tag: "Ticked", n }])
  const page = { after: Position.start, limit: 100 }
  const eventsOf = (partition: number) =>
    Effect.map(store[internals].driver.readAll({ ...page, ...filterOf(ticks, partition) }), ({ events }) => events)
  return [yield* eventsOf(0), yield* eventsOf(1)] as const
})

/** The delivery log of a partition that has applied all of these events except the lost ones. One segment for each event. */
const stateOf = (events: ReadonlyArray<EncodedEvent>, lost: ReadonlyArray<EncodedEvent | undefined>): DeliveryState => {
  const segments = events.map((event) => ({
    first: event.position,
    events: lost.includes(event) ? 0 : 1,
    digest: lost.includes(event) ? 0n : digestOf(event.id)
  }))
  return {
    position: Position.make(24n),
    deliveryFrom: Position.start,
    reads: ConsumerReads.format(ConsumerReads.of(ticks)),
    earlierReads: [],
    applied: BigInt(segments.reduce((sum, { events }) => sum + events, 0)),
    digest: segments.reduce((xor, { digest }) => xor ^ digest, 0n),
    parked: [],
    skipped: [],
    segments
  }
}

/** Audits partitions that have these delivery logs. */
const audit = (states: ReadonlyArray<DeliveryState>, options?: DeliveryAudit.AuditOptions) =>
  Effect.gen(function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    yield* driver.claim({
      consumer: ticks.id,
      owner: "me",
      partitions: 2,

      partitionedBy: "stream",
      reads: ConsumerReads.format(ConsumerReads.of(ticks)),
      lease: Duration.minutes(1)
    })
    const store = yield* ProjectionStore.make({
      ...driver,
      deliveryState: (_, partition) => Effect.succeed(Option.fromUndefinedOr(states[partition]))
    })
    return yield* Effect.provideService(DeliveryAudit.run(ticks, options), ProjectionStore.ProjectionStore, store)
  })

describe("an audit", () => {
  it.effect("is complete when every event was applied", () =>
    Effect.gen(function*() {
      const [a, b] = yield* append
      const { first, status } = yield* audit([stateOf(a, []), stateOf(b, [])])
      assert.deepStrictEqual({ first, status }, { first: undefined, status: "complete" })
    }).pipe(Effect.provide(stores)))

  it.effect("names the fault at the lowest position of all partitions", () =>
    Effect.gen(function*() {
      const [a, b] = yield* append
      for (const [lostOfA, lostOfB] of [[a.at(-1), b[0]], [a[0], b.at(-1)]]) {
        const lowest = lostOfA!.position < lostOfB!.position ? lostOfA : lostOfB
        const { first, status } = yield* audit([stateOf(a, [lostOfA]), stateOf(b, [lostOfB])])
        assert.deepStrictEqual([status, first?.kind, first?.position], ["faulty", "missing", lowest?.position])
      }
    }).pipe(Effect.provide(stores)))

  it.effect("names the fault of the first partition among those at the same position", () =>
    Effect.gen(function*() {
      const [a, b] = yield* append
      const unresolved = (events: ReadonlyArray<EncodedEvent>) => ({ ...stateOf(events, []), applied: 100n })
      const { first, partitions } = yield* audit([unresolved(a), unresolved(b)])
      const kinds = partitions.map(({ faults }) => faults.map(({ kind, position }) => [kind, position]))
      assert.deepStrictEqual(kinds, [[["unresolved", Position.make(1n)]], [["unresolved", Position.make(1n)]]])
      assert.strictEqual(first, partitions[0]?.faults[0])
    }).pipe(Effect.provide(stores)))

  it.effect("returns the first faults of each partition and the number of the others", () =>
    Effect.gen(function*() {
      const [a, b] = yield* append
      const states = [stateOf(a, [a[1], a[2], a[4]]), stateOf(b, [b[3]])]
      const { partitions } = yield* audit(states, { maxFaults: 1 })
      assert.deepStrictEqual(
        partitions.map(({ faults, more }) => [faults.map(({ position }) => position), more]),
        [[[a[1]?.position], 2], [[b[3]?.position], 0]]
      )
    }).pipe(Effect.provide(stores)))
})
