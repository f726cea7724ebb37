import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, Fiber, Layer, Logger, Metric, Schema } from "effect"
import { TestClock } from "effect/testing"
import { EventStore, Health, Position, Projection, ProjectionStore, StoreUnavailable, StreamId, Version } from "evsrc"
import * as ConsumerReads from "../../src/consumer/ConsumerReads.ts"
import { storeError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import type { LockHolder } from "../../src/eventStore/driver/EventStoreDriver.ts"

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

/** Claims the partitions, which sends a heartbeat. */
const claim = (consumer: Projection.Any = Ticks, owner = "me") =>
  Effect.flatMap(
    driver,
    (driver) =>
      driver.claim({
        consumer: consumer.id,
        owner,
        partitions: consumer.partitions,
        partitionedBy: "document",
        reads: ConsumerReads.format(ConsumerReads.of(consumer)),
        lease: Duration.seconds(10)
      })
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

/** Returns the values of gauges, of the consumer where they have one. */
const gaugesOf = (ids: ReadonlyArray<string>) =>
  Effect.map(Metric.snapshot, (metrics) =>
    ids.map((id) => {
      const state = metrics.find((one) => one.id === id && (one.attributes?.["consumer"] ?? Ticks.id) === Ticks.id)
        ?.state
      return state !== undefined && "value" in state ? state.value : undefined
    }))

/** Returns the status of a consumer, followed by the reasons. */
const assess = (consumer: Projection.Any = Ticks) =>
  Effect.map(Health.of([consumer]), ({ reasons, status }) => [status, ...reasons])

/** A session that holds a lock, in a transaction since a time. */
const sessionSince = (since: DateTime.Utc) => ({
  pid: 4711,
  role: "app",
  application: "orders",
  prepared: undefined,
  state: "idle in transaction",
  since
})

describe("health", () => {
  it.effect("is red until the first heartbeat", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* assess(), ["red", "ticks@1: no worker has ever run it"])
      yield* claim()
      assert.deepStrictEqual(yield* assess(), ["green"])
    }).pipe(Effect.provide(stores)))

  it.effect("is red when heartbeats stop, even with no event to apply", () =>
    Effect.gen(function*() {
      yield* claim()
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(yield* assess(), ["green"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* assess(), ["red", "ticks@1: its worker me sent no heartbeat for 21 s"])
      yield* claim()
      assert.deepStrictEqual(yield* assess(), ["green"])
      yield* (yield* driver).release(Ticks.id, "me")
      assert.deepStrictEqual(yield* assess(), ["yellow", "ticks@1: no worker owns it at the moment"])
      yield* TestClock.adjust("21 seconds")
      assert.deepStrictEqual(yield* assess(), ["red", "ticks@1: no worker has owned it for 21 s"])
    }).pipe(Effect.provide(stores)))

  it.effect("is red when a live worker applies nothing while events wait", () =>
    Effect.gen(function*() {
      yield* claim()
      yield* tick
      yield* advance(0n, 1n, 1)
      yield* TestClock.adjust("1 hour")
      yield* claim()
      yield* tick
      yield* tick
      assert.deepStrictEqual(yield* assess(), ["green"], "directly after the append")
      yield* TestClock.adjust("11 seconds")
      assert.deepStrictEqual(yield* assess(), [
        "yellow",
        "ticks@1: it is behind: 2 events wait, the oldest for 11 s"
      ])
      yield* TestClock.adjust("20 seconds")
      yield* claim()
      assert.deepStrictEqual(yield* assess(), [
        "red",
        "ticks@1: no event was applied for 31 s, while 2 events wait"
      ])
      yield* advance(1n, 2n, 1)
      assert.deepStrictEqual(
        yield* assess(),
        ["yellow", "ticks@1: it is behind: 1 event waits, the oldest for 31 s"],
        "after an event was applied"
      )
      yield* advance(2n, 3n, 1)
      assert.deepStrictEqual(yield* assess(), ["green"])
    }).pipe(Effect.provide(stores)))

  it.effect("is yellow, then red, while a transaction holds readers back from 168 events", () =>
    Effect.gen(function*() {
      const { driver: log } = (yield* EventStore.EventStore)[internals]
      yield* claim()
      yield* tick
      yield* advance(0n, 1n, 1)
      yield* TestClock.adjust("1 hour")
      const since = yield* DateTime.now
      const held = yield* EventStore.make({
        ...log,
        head: Effect.succeed(Position.make(1n)),
        inFlight: Effect.map(log.inFlight, ({ readAt }) => ({
          readAt,
          appends: [{
            ...sessionSince(since),
            lowWaterMark: Position.make(1n),
            waitingSince: undefined
          }]
        }))
      })
      yield* claim()
      for (let n = 0; n < 168; n++) yield* tick
      const check = Effect.provideService(Health.of([Ticks]), EventStore.EventStore, held)
      const holder = (seconds: number) =>
        `log: no reader gets past position 1, while 168 events wait, the oldest for ${seconds} s: the session 4711 (role "app", `
        + `application "orders", idle in transaction) holds the in-flight low-water mark of an append, its transaction began `
        + `${seconds} s ago; end it with SELECT pg_terminate_backend(4711)`
      assert.strictEqual((yield* check).status, "green", "directly after the appends")
      yield* TestClock.adjust("11 seconds")
      yield* claim()
      const yellow = yield* check
      assert.deepStrictEqual([yellow.status, yellow.reasons], ["yellow", [
        holder(11),
        "ticks@1: it is behind: 168 events wait, the oldest for 11 s"
      ]])
      yield* TestClock.adjust("29 seconds")
      yield* claim()
      const red = yield* check
      assert.deepStrictEqual([red.status, red.reasons], ["red", [
        holder(40),
        "ticks@1: no event was applied for 40 s, while 168 events wait"
      ]])
      assert.deepStrictEqual(red.consumers[0]?.lag, { events: 168, isMore: false, seconds: 40 })
      assert.deepStrictEqual(red.log.lag, { events: 168, isMore: false, seconds: 40 })
      const metrics = yield* Metric.snapshot
      const gauge = metrics.find(({ id }) => id === "evsrc_readers_held_back_seconds")
      assert.deepInclude(gauge?.state, { value: 40 })
    }).pipe(Effect.scoped, Effect.provide(stores), Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("names a transaction that holds locks if others wait or a consumer is stalled", () =>
    Effect.gen(function*() {
      const { driver: log } = (yield* EventStore.EventStore)[internals]
      yield* claim()
      yield* TestClock.adjust("1 hour")
      const since = yield* DateTime.now
      const holder = (waiting: number) => ({
        ...sessionSince(since),
        querySince: since,
        locks: ["rows of the table checkpoints", "the lock of a stream"],
        waiting,
        waitingSince: undefined
      })
      const inWords = (seconds: number) =>
        `the session 4711 (role "app", application "orders", idle in transaction) holds rows of the table checkpoints and the lock of a stream, `
        + `its transaction began ${seconds} s ago and its last statement ${seconds} s ago; end it with SELECT pg_terminate_backend(4711)`
      const check = Effect.fnUntraced(function*(waiting: number, more: Partial<LockHolder> = {}) {
        const held = yield* EventStore.make({ ...log, lockHolders: Effect.succeed([{ ...holder(waiting), ...more }]) })
        const { reasons, status } = yield* Effect.provideService(Health.of([Ticks]), EventStore.EventStore, held)
        return [status, ...reasons]
      })
      yield* claim()
      assert.deepStrictEqual(yield* check(2), ["green"], "for a moment")
      yield* TestClock.adjust("11 seconds")
      yield* claim()
      assert.deepStrictEqual(yield* check(0), ["green"], "while no session waits")
      assert.deepStrictEqual(yield* check(1), [
        "yellow",
        `log: 1 session waits for a lock of another transaction: ${inWords(11)}`
      ])
      yield* TestClock.adjust("20 seconds")
      yield* claim()
      // Appends of another process may wait for it, although none shows.
      assert.deepStrictEqual(yield* check(0, { keepsOutAppends: true }), [
        "yellow",
        `log: appends cannot get a lock of another transaction: ${inWords(31)}`
      ])
      assert.deepStrictEqual(yield* check(1, { keepsOutAppends: true, waitingAppends: 2 }), [
        "red",
        `log: 1 session and 2 appends wait for a lock of another transaction: ${inWords(31)}`
      ])
      assert.deepStrictEqual(yield* check(2), [
        "red",
        `log: 2 sessions wait for a lock of another transaction: ${inWords(31)}`
      ])
      yield* TestClock.adjust("21 seconds")
      const noHeartbeat = /^ticks@1: its worker me sent no heartbeat for 21 s$/
      const [status, first = "", second] = yield* check(0)
      assert.match(first, noHeartbeat)
      assert.deepStrictEqual([status, second], ["red", `ticks@1: ${inWords(52)}`])
    }).pipe(Effect.scoped, Effect.provide(stores)))

  it.effect("is yellow while keys are parked", () =>
    Effect.gen(function*() {
      yield* claim()
      const { position } = yield* tick
      yield* advance(0n, 1n, 0)
      yield* (yield* driver).park(Ticks.id, 0, [{
        key: "s",
        stream: StreamId.StreamId.make("s"),
        version: Version.make(1),
        position,
        eventId: "00000000-0000-4000-8000-000000000000",
        type: "Ticked",
        error: "a test"
      }])
      assert.deepStrictEqual(yield* assess(), ["yellow", "ticks@1: 1 key is parked"])
      assert.strictEqual((yield* Health.of([Ticks])).consumers[0]?.parked, 1)
    }).pipe(Effect.provide(stores)))

  it.effect("is red for a checkpoint beyond the log or another number of partitions", () =>
    Effect.gen(function*() {
      yield* claim()
      yield* tick
      yield* advance(0n, 7n, 0)
      assert.deepStrictEqual(yield* assess(), [
        "red",
        "ticks@1: its checkpoint is beyond the end of the log; check whether an older backup of the events was restored"
      ])
      const two = projection("two", 2)
      yield* claim(two)
      assert.deepStrictEqual(yield* assess(two), ["green"])
      assert.deepStrictEqual(
        yield* assess(projection("two", 3)),
        [
          "yellow",
          "two@1: it works with 2 partitions, while this definition has 3; the number changes once no program with 2 runs any more (worker me)"
        ]
      )
    }).pipe(Effect.provide(stores)))

  it.effect("has the worst status of all consumers and partitions, and their total lag", () =>
    Effect.gen(function*() {
      const two = projection("two", 2)
      yield* claim()
      yield* claim(two)
      yield* (yield* driver).release(two.id, "me", 1)
      for (let n = 0; n < 5; n++) yield* tick
      const health = yield* Health.of([Ticks, two], { maxCount: 3 })
      assert.deepStrictEqual([health.status, health.reasons], [
        "yellow",
        ["two@1: partition 1: no worker owns it at the moment"]
      ])
      assert.deepStrictEqual(
        health.consumers.map((one) => [one.consumer, one.status, one.lag.events, one.lag.isMore]),
        [
          ["ticks@1", "green", 3, true],
          ["two@1", "yellow", 3, true]
        ]
      )
      assert.strictEqual(health.log.head, Position.make(5n))
    }).pipe(Effect.provide(stores)))

  it.effect("computes the throughput since an earlier report", () =>
    Effect.gen(function*() {
      const check = yield* Health.make([Ticks])
      const throughput = Effect.map(check, (health) => health.consumers[0]?.throughput)
      yield* claim()
      assert.strictEqual(yield* throughput, undefined, "in the first report")
      yield* TestClock.adjust("4 seconds")
      yield* advance(0n, 1n, 100)
      assert.strictEqual(yield* throughput, 25)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* throughput, 20, "since the first report")
      yield* TestClock.adjust("25 seconds")
      yield* throughput
      yield* TestClock.adjust("10 seconds")
      yield* advance(1n, 2n, 60)
      yield* throughput
      assert.strictEqual(yield* throughput, 6, "since the report ten seconds earlier")
    }).pipe(Effect.provide(stores)))

  it.effect("computes the throughput of ten seconds or more, however often it is checked", () =>
    Effect.gen(function*() {
      const check = yield* Health.make([Ticks])
      const throughput = Effect.map(check, (health) => health.consumers[0]?.throughput)
      yield* claim()
      yield* advance(0n, 1n, 100)
      yield* throughput
      for (let second = 1; second <= 10; second++) {
        yield* TestClock.adjust("1 second")
        yield* throughput
      }
      yield* advance(1n, 2n, 100)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* throughput, 100 / 11, "since the first report")
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual(yield* throughput, 100 / 19, "since the second report, which is old enough now")
    }).pipe(Effect.provide(stores)))

  it.effect("sets the gauges at intervals", () =>
    Effect.gen(function*() {
      yield* claim()
      yield* tick
      yield* Health.watch([Ticks])
      yield* TestClock.adjust("25 seconds")
      const ids = ["lag_events", "lag_seconds", "heartbeat_age_seconds", "health"].map((id) => `evsrc_consumer_${id}`)
      assert.deepStrictEqual(yield* gaugesOf(ids), [1, 20, 20, 1])
    }).pipe(Effect.scoped, Effect.provide(stores), Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("makes as many requests to the store for 64 partitions as for one", () =>
    Effect.gen(function*() {
      const { driver: log } = (yield* EventStore.EventStore)[internals]
      let requests = 0
      const counted = <A, E>(request: Effect.Effect<A, E>) => Effect.tap(request, () => Effect.sync(() => requests++))
      const counting = yield* EventStore.make({
        ...log,
        readAll: (page) => counted(log.readAll(page)),
        lag: (request) => counted(log.lag(request)),
        partitionLags: (request) => counted(log.partitionLags(request)),
        eventIds: (positions) => counted(log.eventIds(positions)),
        eventCounts: (ranges) => counted(log.eventCounts(ranges))
      })
      const counts: Array<number> = []
      for (const partitions of [1, 64]) {
        const consumer = projection(`of${partitions}`, partitions)
        yield* claim(consumer)
        yield* tick
        requests = 0
        const { consumers } = yield* Effect.provideService(Health.of([consumer]), EventStore.EventStore, counting)
        assert.strictEqual(consumers[0]?.partitions.length, partitions)
        counts.push(requests)
      }
      assert.strictEqual(counts[0], counts[1])
    }).pipe(Effect.provide(stores)))

  it.effect("fails after its timeout, and says what it could not read", () =>
    Effect.gen(function*() {
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const hanging = yield* ProjectionStore.make({
        ...driver,
        progress: (generation) =>
          generation === "two@1" ? Effect.uninterruptible(Effect.never) : driver.progress(generation)
      })
      yield* claim()
      const fiber = yield* Health.of([Ticks, projection("two")], { timeout: "3 seconds" }).pipe(
        Effect.provideService(ProjectionStore.ProjectionStore, hanging),
        Effect.flip,
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("3 seconds")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error.reason._tag, "StoreUnavailable")
      assert.strictEqual(
        error.message,
        "The health check has not ended within 3s (timeout): it could not read the health of two@1, after that of 1 of 2 consumers"
      )
    }).pipe(Effect.provide(stores)))

  it.effect("turns the gauges of health red while the check fails, and logs why", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel}: ${String(message)}`))
      const store = yield* EventStore.EventStore
      const error = storeError(new StoreUnavailable({ message: "The database is unavailable", cause: undefined }))
      let isDown = false
      const { driver } = store[internals]
      const last = Effect.suspend(() => isDown ? Effect.fail(error) : driver.last)
      yield* claim()
      yield* Health.watch([Ticks]).pipe(
        Effect.provideService(EventStore.EventStore, yield* EventStore.make({ ...driver, last })),
        Effect.provide(Logger.layer([logger]))
      )
      const gauges = Effect.andThen(
        TestClock.adjust("10 seconds"),
        gaugesOf(["evsrc_log_health", "evsrc_consumer_health"])
      )
      assert.deepStrictEqual(yield* gauges, [0, 0])
      isDown = true
      assert.deepStrictEqual([yield* gauges, yield* gauges], [[2, 2], [2, 2]])
      isDown = false
      yield* claim()
      assert.deepStrictEqual(yield* gauges, [0, 0])
      assert.deepStrictEqual(lines, [
        "Warn: The health of consumers could not be checked: The database is unavailable",
        "Info: The health check has recovered after 20s"
      ])
    }).pipe(Effect.scoped, Effect.provide(stores), Effect.provideService(Metric.MetricRegistry, new Map())))
})
