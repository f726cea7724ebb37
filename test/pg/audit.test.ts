import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { DeliveryAudit, EventStore, Parking, Position, Projection, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import type { DeliveryState } from "../../src/consumer/CheckpointDriver.ts"
import * as ConsumerReads from "../../src/consumer/ConsumerReads.ts"
import { internals } from "../../src/core/internals.ts"
import * as LogPosition from "../../src/core/LogPosition.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const poison = new Set<number>()
const Ticks = Projection.make("ticks", {
  partitionBy: "stream",
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

/** Parks the stream a 40 times, and skips or retries it in turn. */
const parkRepeatedly = Effect.gen(function*() {
  const projections = yield* ProjectionStore.ProjectionStore
  for (let round = 0; round < 40; round++) {
    yield* tick("a", round % 2 === 0 ? -1 : -2)
    const { position } = yield* tick("a", round)
    yield* projections.awaitPosition(Ticks, position, "1 minute")
    if (round % 2 === 0) yield* Parking.skip(Ticks, "a", { reason: "a test" })
    else {
      poison.delete(-2)
      yield* Parking.retry(Ticks, "a")
      poison.add(-2)
    }
  }
})

/** Audits and reads the delivery state while a fiber runs. Returns the states. */
const statesDuring = Effect.fnUntraced(function*<E>(busy: Fiber.Fiber<void, E>) {
  const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
  const states: Array<DeliveryState> = []
  while (busy.pollUnsafe() === undefined) {
    const { first, status } = yield* DeliveryAudit.run(Ticks)
    assert.deepStrictEqual([status === "faulty", first], [false, undefined])
    for (let reads = 0; reads < 20; reads++) {
      const state = yield* driver.deliveryState(Ticks.id, 0, true)
      if (Option.isSome(state)) states.push(state.value)
    }
  }
  yield* Fiber.join(busy)
  return states
})

/** Asserts that each state counts the events of the log up to its own position. */
const assertConsistent = Effect.fnUntraced(function*(states: ReadonlyArray<DeliveryState>) {
  assert.isAbove(states.length, 100)
  const log = yield* Stream.runCollect((yield* EventStore.EventStore).readAllEncoded())
  for (const { applied, parked, position, segments, skipped } of states) {
    const expected = log.filter((event) =>
      event.position <= position && !skipped.some(({ position }) => position === event.position)
      && !parked.some((one) => one.key === event.stream && event.position >= one.position)
    )
    assert.strictEqual(Number(applied), expected.length, `at ${position}`)
    assert.strictEqual(
      segments.reduce((sum, one) => sum + one.events, 0),
      expected.length,
      `segments at ${position}`
    )
  }
})

describe("an audit on PostgreSQL", () => {
  it.live("is consistent as of one position while streams are parked and retried", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      poison.clear()
      for (const n of [-1, -2, -3]) poison.add(n)
      yield* Effect.gen(function*() {
        const projections = yield* ProjectionStore.ProjectionStore
        yield* assertConsistent(yield* statesDuring(yield* Effect.forkChild(parkRepeatedly)))
        const { partitions: [whole], status } = yield* DeliveryAudit.run(Ticks)
        assert.deepStrictEqual(
          [status, whole?.events, whole?.applied, whole?.parked, whole?.skipped],
          ["complete", 80, 60, 0, 20]
        )
        yield* tick("b", -3)
        yield* projections.awaitPosition(Ticks, (yield* tick("c", 1)).position, "30 seconds")
        assert.strictEqual((yield* DeliveryAudit.run(Ticks)).partitions[0]?.parked, 1)
      }).pipe(Effect.provide(Projector.layer([Ticks])))
      // Without the row of its parked stream an event is missing.
      yield* sql`delete from evsrc.parked`
      const { first } = yield* DeliveryAudit.run(Ticks)
      assert(first?.kind === "missing", first?.kind)
      assert.strictEqual(first.event.stream, "b")
    }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(layerPostgres())))))

  it.live("reports a wrong total, and a checkpoint beyond the end of a restored log", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      poison.clear()
      let last = Position.start
      for (let n = 0; n < 5; n++) last = (yield* tick("a", n)).position
      yield* (yield* ProjectionStore.ProjectionStore).awaitPosition(Ticks, last, "1 minute").pipe(
        Effect.provide(Projector.layer([Ticks]))
      )
      yield* sql`update evsrc.checkpoints set applied = applied + 1`
      const { first } = yield* DeliveryAudit.run(Ticks)
      assert.deepInclude(first, { kind: "unresolved", expected: 5, applied: 6 })
      yield* sql`update evsrc.checkpoints set applied = 5, position = 1000000`
      const error = yield* Effect.flip(DeliveryAudit.run(Ticks))
      assert.include(error.message, "beyond the end of the log")
    }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(layerPglite())))))

  it.live("knows what was skipped after a reset, although the clock was set back", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      poison.clear()
      poison.add(-1)
      const parkAndSkip = Effect.gen(function*() {
        yield* tick("a", -1)
        const { position } = yield* tick("b", 1)
        yield* (yield* ProjectionStore.ProjectionStore).awaitPosition(Ticks, position, "1 minute")
        yield* Parking.skip(Ticks, "a", { reason: "a test" })
      })
      yield* parkAndSkip.pipe(Effect.provide(Layer.fresh(Projector.layer([Ticks]))))
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const { position } = yield* tick("b", 2)
      const reads = ConsumerReads.format(ConsumerReads.of(Ticks))
      const to = LogPosition.make(position, undefined)
      yield* driver.resetCheckpoints({
        consumer: Ticks.id,
        generation: Ticks.id,
        to,
        lost: [],
        reads,
        evenIfLeased: true
      })
      yield* parkAndSkip.pipe(Effect.provide(Layer.fresh(Projector.layer([Ticks]))))
      yield* sql`update evsrc.parking_log set at = at - interval '1 hour'`
      const { partitions: [whole], status } = yield* DeliveryAudit.run(Ticks)
      assert.deepStrictEqual([status, whole?.skipped], ["complete", 1])
    }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(layerPostgres())))))
})
