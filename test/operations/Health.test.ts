import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Metric, Schema } from "effect"
import { TestClock } from "effect/testing"
import { EventStore, Health, Position, Projection, ProjectionStore, StreamId, Version } from "evsrc"
import { internals } from "../../src/core/internals.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const projection = (name: string, partitions = 1) =>
  Projection.make(name, {
    events: Tick,
    document: Schema.Int,
    partitions,
    key: () => "all",
    evolve: { Ticked: (n) => (n ?? 0) + 1 }
  })
const Ticks = projection("ticks")

const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

const tick = Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, "s", [{ _tag: "Ticked", n: 1 }]))

const driver = Effect.map(ProjectionStore.ProjectionStore, (store) => store[internals].driver)

/** A heartbeat of somebody. */
const claim = (consumer: Projection.Any = Ticks, owner = "me") =>
  Effect.flatMap(
    driver,
    (driver) =>
      driver.claim({ consumer: consumer.id, owner, partitions: consumer.partitions, lease: Duration.seconds(10) })
  )

const advance = (from: bigint, to: bigint, events: number) =>
  Effect.flatMap(driver, (driver) =>
    driver.advance({
      generation: Ticks.id,
      partition: 0,
      epoch: 1n,
      from: Position.make(from),
      to: Position.make(to),
      changes: [],
      applied: events === 0 ? [] : [{ first: Position.make(from + 1n), events, digest: 0n }]
    }))

const judged = (consumer: Projection.Any = Ticks) =>
  Effect.map(Health.of([consumer]), ({ reasons, status }) => [status, ...reasons])

describe("health", () => {
  it.effect("is red while nobody has ever worked on it, and green from the first heartbeat on", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* judged(), ["red", "ticks@1: nobody has ever worked on it"])
      yield* claim()
      assert.deepStrictEqual(yield* judged(), ["green"])
    }).pipe(Effect.provide(stores)))

  it.effect("is red when nobody has given a heartbeat, with nothing to do, and says who owes it", () =>
    Effect.gen(function*() {
      yield* claim()
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(yield* judged(), ["green"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* judged(), ["red", "ticks@1: its worker me has given no heartbeat for 21 s"])
      yield* claim()
      assert.deepStrictEqual(yield* judged(), ["green"])
      yield* (yield* driver).release(Ticks.id, "me")
      assert.deepStrictEqual(yield* judged(), ["yellow", "ticks@1: nobody works on it at the moment"])
      yield* TestClock.adjust("21 seconds")
      assert.deepStrictEqual(yield* judged(), ["red", "ticks@1: nobody has worked on it for 21 s"])
    }).pipe(Effect.provide(stores)))

  it.effect("is red when its worker lives and applies nothing, though events wait", () =>
    Effect.gen(function*() {
      yield* claim()
      yield* tick
      yield* advance(0n, 1n, 1)
      yield* TestClock.adjust("1 hour")
      yield* claim()
      yield* tick
      yield* tick
      assert.deepStrictEqual(yield* judged(), ["green"], "they have just come")
      yield* TestClock.adjust("11 seconds")
      assert.deepStrictEqual(yield* judged(), [
        "yellow",
        "ticks@1: it is behind, with 2 events waiting, the first for 11 s"
      ])
      yield* TestClock.adjust("20 seconds")
      yield* claim()
      assert.deepStrictEqual(yield* judged(), [
        "red",
        "ticks@1: nothing has been applied for 31 s, with 2 events waiting"
      ])
      yield* advance(1n, 2n, 1)
      assert.deepStrictEqual(
        yield* judged(),
        ["yellow", "ticks@1: it is behind, with 1 event waiting, the first for 31 s"],
        "it moves"
      )
      yield* advance(2n, 3n, 1)
      assert.deepStrictEqual(yield* judged(), ["green"])
    }).pipe(Effect.provide(stores)))

  it.effect("is yellow while streams are parked", () =>
    Effect.gen(function*() {
      yield* claim()
      const { position } = yield* tick
      yield* advance(0n, 1n, 0)
      yield* (yield* driver).park(Ticks.id, 0, [{
        stream: StreamId.StreamId.make("s"),
        version: Version.make(1),
        position,
        eventId: "00000000-0000-4000-8000-000000000000",
        type: "Ticked",
        error: "a test"
      }])
      assert.deepStrictEqual(yield* judged(), ["yellow", "ticks@1: 1 stream is parked"])
      assert.strictEqual((yield* Health.of([Ticks])).consumers[0]?.parked, 1)
    }).pipe(Effect.provide(stores)))

  it.effect("is red when its checkpoint is of another log, or of another number of partitions", () =>
    Effect.gen(function*() {
      yield* claim()
      yield* tick
      yield* advance(0n, 7n, 0)
      assert.deepStrictEqual(yield* judged(), [
        "red",
        "ticks@1: its checkpoint lies beyond the end of the log: was an older backup restored?"
      ])
      const two = projection("two", 2)
      yield* claim(two)
      assert.deepStrictEqual(yield* judged(two), ["green"])
      assert.deepStrictEqual(
        (yield* judged(projection("two", 3)))[1],
        [
          "two@1: partition 0: it was begun with another number of partitions, 2"
        ][0]
      )
    }).pipe(Effect.provide(stores)))

  it.effect("of several consumers and partitions is that of the worst, with the sums of all", () =>
    Effect.gen(function*() {
      const two = projection("two", 2)
      yield* claim()
      yield* claim(two)
      yield* (yield* driver).release(two.id, "me", 1)
      for (let n = 0; n < 5; n++) yield* tick
      const health = yield* Health.of([Ticks, two], { countUpTo: 3 })
      assert.deepStrictEqual([health.status, health.reasons], [
        "yellow",
        ["two@1: partition 1: nobody works on it at the moment"]
      ])
      assert.deepStrictEqual(
        health.consumers.map((one) => [one.consumer, one.status, one.lag.events, one.lag.isMore]),
        [
          ["ticks@1", "green", 3, true],
          ["two@1", "yellow", 3, true]
        ]
      )
      assert.strictEqual(health.head, Position.make(5n))
    }).pipe(Effect.provide(stores)))

  it.effect("tells the throughput between two looks", () =>
    Effect.gen(function*() {
      const look = yield* Health.make([Ticks])
      const throughput = Effect.map(look, (health) => health.consumers[0]?.throughput)
      yield* claim()
      assert.strictEqual(yield* throughput, undefined, "of one look")
      yield* TestClock.adjust("4 seconds")
      yield* advance(0n, 1n, 100)
      assert.strictEqual(yield* throughput, 25)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* throughput, 20, "since the same look")
      yield* TestClock.adjust("25 seconds")
      yield* throughput
      yield* TestClock.adjust("10 seconds")
      yield* advance(1n, 2n, 60)
      yield* throughput
      assert.strictEqual(yield* throughput, 6, "since the look of ten seconds ago, not of all time")
    }).pipe(Effect.provide(stores)))

  it.effect("sets the gauges whenever somebody looks, and at intervals", () =>
    Effect.gen(function*() {
      yield* claim()
      yield* tick
      yield* Health.watch([Ticks])
      yield* TestClock.adjust("25 seconds")
      const metrics = yield* Metric.snapshot
      const valueOf = (id: string) => {
        const state = metrics.find((m) => m.id === id && m.attributes?.["consumer"] === Ticks.id)?.state
        return state !== undefined && "value" in state ? state.value : undefined
      }
      assert.deepStrictEqual(
        ["lag_events", "lag_seconds", "heartbeat_age_seconds", "health"].map((id) => valueOf(`evsrc_consumer_${id}`)),
        [1, 20, 20, 1]
      )
    }).pipe(Effect.scoped, Effect.provide(stores), Effect.provideService(Metric.MetricRegistry, new Map())))
})
