/** Handlers in the transaction that moves the checkpoint. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schedule, Schema, Stream } from "effect"
import { EventStore, Projection, ProjectionStore } from "evsrc"
import * as BatchProcessor from "../../src/consumer/BatchProcessor.ts"
import * as ConsumerKey from "../../src/consumer/ConsumerKey.ts"
import { internals } from "../../src/core/internals.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const ticks = Projection.make("ticks", {
  events: Tick,
  document: Schema.Int,
  key: () => "all",
  evolve: { Ticked: (n) => (n ?? 0) + 1 }
})

describe("a transactional processor", () => {
  for (const advanced of ["advanced", "lost", "changed"] as const) {
    it.effect(`returns the result of a commit that ${advanced}, and rolls back unless it advanced`, () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
        yield* store.append(Tick, "s", [{ _tag: "Ticked", n: 1 }])
        const events = yield* Stream.runCollect(store.readAllEncoded())
        let rollbacks = 0
        let handled = 0
        const processor = BatchProcessor.transactional(
          { ...ticks, parks: [] },
          () => Effect.sync(() => handled++),
          { retry: Schedule.recurs(0), retryTimeout: Duration.seconds(1) },
          {
            ...driver,
            transaction: (effect) => Effect.tapError(driver.transaction(effect), () => Effect.sync(() => rollbacks++))
          }
        )
        const result = { advanced, note: "of this commit" }
        assert.deepStrictEqual(
          yield* processor.apply(
            { generation: "ticks@1", partition: 0, epoch: 1n },
            ConsumerKey.selectAll(ticks, events),
            () => Effect.succeed(result)
          ),
          result
        )
        assert.deepStrictEqual({ handled, rollbacks }, { handled: 1, rollbacks: advanced === "advanced" ? 0 : 1 })
      }).pipe(Effect.provide([EventStore.layerMemory, ProjectionStore.layerMemory])))
  }
})
