/** Reads in pages that go beyond the high-water mark lack no event that commits between two pages. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { Causation, EventStore, Limits, Position, StreamLifecycle } from "evsrc"
import * as MemoryEventStore from "../../src/eventStore/memory/MemoryEventStore.ts"

const Tick = Schema.TaggedUnion({ Ticked: {}, Summed: {} })

/** A log in which positions 1 and 2 are in flight until the first page was read. */
const layer = EventStore.layer(Effect.map(MemoryEventStore.make(), (driver) => {
  let isCommitted = false
  const page = <A extends { readonly position: Position.Position }>(
    read: (limit: number) => Effect.Effect<ReadonlyArray<A>, EventStore.AppendError>,
    limit: number
  ) =>
    Effect.suspend(() => {
      if (isCommitted) return read(limit)
      isCommitted = true
      return Effect.map(read(limit + 2), (all) => all.filter(({ position }) => position > 2n).slice(0, limit))
    })
  return {
    ...driver,
    head: Effect.suspend(() => isCommitted ? driver.head : Effect.succeed(Position.start)),
    readCorrelation: (one) => {
      const head = isCommitted ? driver.head : Effect.succeed(Position.start)
      const events = page(
        (limit) => Effect.map(driver.readCorrelation({ ...one, limit }), ({ events }) => events),
        one.limit
      )
      return Effect.all({ head, events })
    },
    closedStreams: (one) => page((limit) => driver.closedStreams({ ...one, limit }), one.limit)
  } as typeof driver
}))

const names = ["a", "b", "c", "d"]

describe("a read in pages", () => {
  it.effect("of a causation tree has the event that was in flight", () =>
    Effect.gen(function*() {
      const metadata = { correlationId: "all" }
      for (const name of names) yield* EventStore.append(Tick, name, [{ _tag: "Ticked" }], { metadata })
      const tree = yield* Causation.of({ correlationId: "all" })
      assert.deepStrictEqual(
        tree.pipe((found) => found._tag === "Some" && [found.value.events, found.value.isComplete]),
        [
          4,
          true
        ]
      )
    }).pipe(Effect.provide(layer), Effect.updateService(Limits, (limits) => ({ ...limits, pageSize: 2 }))))

  it.effect("of closed streams has the stream that was in flight", () =>
    Effect.gen(function*() {
      for (const name of names) {
        yield* EventStore.append(Tick, name, [{ _tag: "Ticked" }])
        yield* StreamLifecycle.close(Tick, name, { _tag: "Summed" })
      }
      const closed = yield* Stream.runCollect(StreamLifecycle.closed)
      assert.deepStrictEqual(Array.from(closed, ({ stream }) => String(stream)), names)
    }).pipe(Effect.provide(layer), Effect.updateService(Limits, (limits) => ({ ...limits, pageSize: 2 }))))
})
