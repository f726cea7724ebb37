import { assert, it } from "@effect/vitest"
import { Duration, Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import { EventStore, Position, Projection, ProjectionStore, type Projector } from "evsrc"
import * as ConsumerReads from "../../../src/consumer/ConsumerReads.ts"
import * as RebuildProgress from "../../../src/projection/rebuild/RebuildProgress.ts"

const Counted = Schema.TaggedUnion({ Counted: { n: Schema.Int }, Ignored: {} })

const idle: Projector.ConsumerStatus = {
  consumer: "counts@1",
  state: "starting",
  position: Position.start,
  head: Position.start,
  last: Position.start,
  lag: 0n,
  partitions: 0,
  parked: 0,
  applied: 0,
  heartbeat: 0,
  detail: undefined
}

for (const partitions of [1, 3]) {
  it.effect(`the progress of a rebuild has the number of events to apply: ${partitions} partitions`, () =>
    Effect.gen(function*() {
      const counts = Projection.make("counts", {
        events: Counted,
        document: Schema.Int,
        partitions,
        key: () => "all",
        evolve: { Counted: (count) => (count ?? 0) + 1, Ignored: Projection.ignore }
      })
      const events = yield* EventStore.driver
      const store = yield* ProjectionStore.driver
      for (let n = 0; n < 5; n++) yield* EventStore.append(Counted, `s${n}`, [{ _tag: "Counted", n }])
      yield* EventStore.append(Counted, "s0", [{ _tag: "Ignored" }])
      const { generation } = yield* store.beginGeneration({ consumer: counts.id, head: Position.make(6n) })
      yield* store.claim({
        consumer: counts.id,
        generation,
        owner: "me",
        partitions,
        partitionedBy: "document",
        reads: ConsumerReads.format(ConsumerReads.of(counts)),
        lease: Duration.minutes(1)
      })
      const { read } = yield* RebuildProgress.make({
        projection: counts,
        generation,
        events,
        store,
        worker: { consumer: counts, run: Effect.never, wake: Effect.void, status: () => idle }
      })
      yield* TestClock.adjust("1 second")
      const { applied, head, phase, total } = yield* read
      assert.deepStrictEqual({ applied, head, phase, total }, {
        applied: 0,
        head: Position.make(6n),
        phase: "building",
        total: 5
      })
    }).pipe(Effect.scoped, Effect.provide([EventStore.layerMemory, ProjectionStore.layerMemory])))
}
