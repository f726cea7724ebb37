import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { DeliveryAudit, EventStore, Parking, Position, Projection, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import type { DeliveryState } from "../../src/consumer/CheckpointDriver.ts"
import { internals } from "../../src/core/internals.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const poison = new Set<number>()
const Ticks = Projection.make("ticks", {
  events: Tick,
  document: Schema.Struct({ count: Schema.Int }),
  key: () => "all",
  evolve: {
    Ticked: (d, { n }) => {
      if (poison.has(n)) throw new Error("poison")
      return { count: (d?.count ?? 0) + 1 }
    }
  }
})

const tick = (stream: string, n: number) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, stream, [{ _tag: "Ticked", n }]))

describe("an audit on PostgreSQL", () => {
  it.live("is of one moment, while streams are parked, retried and skipped", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      poison.clear()
      for (const n of [-1, -2, -3]) poison.add(n)
      yield* Effect.gen(function*() {
        const busy = yield* Effect.forkChild(Effect.gen(function*() {
          for (let round = 0; round < 40; round++) {
            yield* tick("a", round % 2 === 0 ? -1 : -2)
            const { position } = yield* tick("a", round)
            const projections = yield* ProjectionStore.ProjectionStore
            yield* projections.awaitPosition(Ticks, position, "30 seconds")
            if (round % 2 === 0) yield* Parking.skip(Ticks, "a", { reason: "a test" })
            else {
              poison.delete(-2)
              yield* Parking.retry(Ticks, "a")
              poison.add(-2)
            }
          }
        }))
        const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
        const ledgers: Array<DeliveryState> = []
        while (busy.pollUnsafe() === undefined) {
          const { first, status } = yield* DeliveryAudit.run(Ticks)
          assert.deepStrictEqual([status === "faulty", first], [false, undefined])
          for (let looks = 0; looks < 20; looks++) {
            const deliveryState = yield* driver.deliveryState(Ticks.id, 0, true)
            if (Option.isSome(deliveryState)) ledgers.push(deliveryState.value)
          }
        }
        yield* Fiber.join(busy)
        assert.isAbove(ledgers.length, 100)
        const log = yield* Stream.runCollect((yield* EventStore.EventStore).readAllEncoded())
        for (const { applied, parked, position, segments, skipped } of ledgers) {
          const expected = log.filter((event) =>
            event.position <= position && !skipped.includes(event.position)
            && !parked.some((one) => one.stream === event.stream && event.position >= one.position)
          )
          assert.strictEqual(Number(applied), expected.length, `at ${position}`)
          assert.strictEqual(
            segments.reduce((sum, one) => sum + one.events, 0),
            expected.length,
            `segments at ${position}`
          )
        }
        const { partitions: [whole], status } = yield* DeliveryAudit.run(Ticks)
        assert.deepStrictEqual(
          [status, whole?.events, whole?.applied, whole?.parked, whole?.skipped],
          ["complete", 80, 60, 0, 20]
        )
        // Without a parked stream's row, and without the record that an event was skipped, they are missing.
        yield* tick("b", -3)
        yield* (yield* ProjectionStore.ProjectionStore).awaitPosition(
          Ticks,
          (yield* tick("c", 1)).position,
          "30 seconds"
        )
        assert.strictEqual((yield* DeliveryAudit.run(Ticks)).partitions[0]?.parked, 1)
      }).pipe(Effect.provide(Projector.layer([Ticks])))
      yield* sql`delete from evsrc.parked`
      const lost = yield* DeliveryAudit.run(Ticks)
      assert.isTrue(lost.first?.kind === "missing" && lost.first.event.stream === "b")
    }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(layerPostgres())))))

  it.live("tells when the segments do not make up the total, and when an older backup of the log was restored", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      poison.clear()
      let last = Position.start
      for (let n = 0; n < 5; n++) last = (yield* tick("a", n)).position
      yield* (yield* ProjectionStore.ProjectionStore).awaitPosition(Ticks, last, "30 seconds").pipe(
        Effect.provide(Projector.layer([Ticks]))
      )
      yield* sql`update evsrc.checkpoints set applied = applied + 1`
      const { first } = yield* DeliveryAudit.run(Ticks)
      assert.deepInclude(first, { kind: "unresolved", expected: 5, applied: 6 })
      yield* sql`update evsrc.checkpoints set applied = 5, position = 1000000`
      const error = yield* Effect.flip(DeliveryAudit.run(Ticks))
      assert.include(error.message, "beyond the end of the log")
    }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(layerPglite())))))
})
