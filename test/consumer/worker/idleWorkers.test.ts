import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Layer, References, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  EventStore,
  EventStoreError,
  Health,
  Parking,
  Projection,
  ProjectionStore,
  type ProjectionStoreDriver,
  Projector,
  StoreUnavailable,
  Subscription
} from "evsrc"
import * as ConsumerKey from "../../../src/consumer/ConsumerKey.ts"
import * as ConsumerReads from "../../../src/consumer/ConsumerReads.ts"
import * as ParkingRequestWakeups from "../../../src/consumer/parking/ParkingRequestWakeups.ts"
import { internals } from "../../../src/core/internals.ts"
import { countWakeUps, provideClock } from "../../support/VirtualTime.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })

let isPoison = false
const ticks = (partitions = 1) =>
  Projection.make("ticks", {
    events: Tick,
    document: Schema.Int,
    partitions,
    key: () => "all",
    evolve: {
      Ticked: (n) => {
        if (isPoison) throw new Error("poison")
        return (n ?? 0) + 1
      }
    }
  })

const tick = Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, "s", [{ _tag: "Ticked", n: 1 }]))

const driver = Effect.map(ProjectionStore.ProjectionStore, (store) => store[internals].driver)

const ownersOf = (consumer: Projection.Any) =>
  Effect.map(
    Effect.flatMap(driver, (store) => store.progress(consumer.id)),
    (all) => all.map(({ owner }) => owner)
  )

/** Starts a worker, and lets it become idle. */
const start = Effect.fnUntraced(function*(projection: Projection.Any<"async">) {
  const scope = yield* Scope.make()
  const services = yield* Layer.buildWithScope(Layer.fresh(Projector.layer([projection])), scope)
  yield* TestClock.adjust("10 seconds")
  return {
    end: Scope.close(scope, Exit.void),
    status: Effect.map(
      Effect.provide(Effect.flatMap(Projector.Projector, ({ status }) => status), services),
      ([one]) => one!
    )
  }
})

/** Lets fibers run, without time to wake any of those that sleep. */
const atOnce = TestClock.adjust("1 millis")

/** A claim as of a worker that then ends without giving anything back. */
const claimAs = (owner: string, projection: ReturnType<typeof ticks>, lease: Duration.Input) =>
  Effect.flatMap(driver, (store) =>
    store.claim({
      consumer: projection.id,
      owner,
      partitions: projection.partitions,
      partitionedBy: ConsumerKey.format(projection.partitionBy),
      reads: ConsumerReads.format(ConsumerReads.of(projection)),
      lease: Duration.fromInputUnsafe(lease)
    }))

const test = (
  name: string,
  body: () => Effect.Effect<void, unknown, EventStore.EventStore | ProjectionStore.ProjectionStore | Scope.Scope>
) =>
  it.live(name, () =>
    Effect.suspend(() => {
      isPoison = false
      return body()
    }).pipe(
      Effect.provide(Layer.fresh(Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory))),
      Effect.provideService(References.MinimumLogLevel, "None"),
      Effect.scoped,
      provideClock
    ))

describe("workers without events on a store in memory", () => {
  test(
    "keep their partitions without heartbeats",
    Effect.fnUntraced(function*() {
      const projection = ticks(4)
      const wakeUps = yield* countWakeUps(100)
      const worker = yield* start(projection)
      const other = yield* start(projection)
      const before = yield* ownersOf(projection)
      yield* TestClock.adjust("30 days")
      assert.isAtMost(wakeUps(), 100)
      assert.deepStrictEqual(yield* ownersOf(projection), before)
      assert.deepStrictEqual((yield* Health.of([projection])).reasons, [])
      const [one, two] = [yield* worker.status, yield* other.status]
      assert.strictEqual(one.heartbeat, Duration.toMillis("30 days") + 20_000)
      assert.strictEqual(two.heartbeat, one.heartbeat)
      yield* tick
      yield* atOnce
      assert.strictEqual((yield* worker.status).applied + (yield* other.status).applied, 1)
    })
  )

  test(
    "take over at once from a worker that ends",
    Effect.fnUntraced(function*() {
      const projection = ticks()
      const first = yield* start(projection)
      const second = yield* start(projection)
      yield* TestClock.adjust("1 day")
      assert.strictEqual((yield* second.status).state, "standby")
      yield* first.end
      yield* tick
      yield* atOnce
      assert.deepInclude(yield* second.status, { state: "live", applied: 1, partitions: 1 })
    })
  )

  test(
    "share their partitions with a new worker at once",
    Effect.fnUntraced(function*() {
      const projection = ticks(4)
      const first = yield* start(projection)
      yield* TestClock.adjust("1 day")
      yield* Layer.build(Layer.fresh(Projector.layer([projection])))
      yield* Effect.repeat(atOnce, { times: 10 })
      assert.strictEqual((yield* first.status).partitions, 2)
      assert.strictEqual(new Set(yield* ownersOf(projection)).size, 2)
    })
  )

  test(
    "show in standby how far the others are",
    Effect.fnUntraced(function*() {
      const projection = ticks()
      yield* start(projection)
      const standby = yield* start(projection)
      yield* TestClock.adjust("1 day")
      const { position } = yield* tick
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* standby.status, { state: "standby", position, head: position })
    })
  )

  test(
    "take over from a worker whose lease has ended",
    Effect.fnUntraced(function*() {
      const projection = ticks(2)
      const worker = yield* start(projection)
      yield* TestClock.adjust("1 day")
      yield* claimAs("another", projection, "1 minute")
      yield* atOnce
      yield* claimAs("another", projection, "1 minute")
      assert.include(yield* ownersOf(projection), "another")
      yield* TestClock.adjust("50 seconds")
      assert.strictEqual((yield* worker.status).partitions, 1)
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual((yield* worker.status).partitions, 2)
    })
  )

  test(
    "lose their leases in time when their claims fail",
    Effect.fnUntraced(function*() {
      const projection = ticks()
      let isDown = false
      const unavailable = new EventStoreError({ reason: new StoreUnavailable({ message: "a test", cause: undefined }) })
      const failing = (store: ProjectionStoreDriver.ProjectionStoreDriver) => ({
        ...store,
        claim: (request: Parameters<typeof store.claim>[0]) =>
          Effect.suspend(() => isDown ? Effect.fail(unavailable) : store.claim(request))
      })
      const store = yield* Effect.flatMap(driver, (store) => ProjectionStore.make(failing(store)))
      const first = yield* Effect.provideService(start(projection), ProjectionStore.ProjectionStore, store)
      const second = yield* start(projection)
      yield* TestClock.adjust("1 day")
      isDown = true
      yield* ParkingRequestWakeups.wake(store[internals].driver, projection.id)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* first.status).state, "retrying")
      assert.strictEqual((yield* second.status).state, "standby")
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* second.status, { state: "live", partitions: 1 })
    })
  )

  test(
    "carry out a request of another service of the store",
    Effect.fnUntraced(function*() {
      const projection = ticks()
      isPoison = true
      const worker = yield* start(projection)
      yield* tick
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* worker.status).parked, 1)
      isPoison = false
      const wakeUps = yield* countWakeUps(100)
      yield* TestClock.adjust("1 day")
      assert.isAtMost(wakeUps(), 100)
      yield* Effect.forkScoped(Effect.provideServiceEffect(
        Parking.retry(projection, "all"),
        ProjectionStore.ProjectionStore,
        Effect.flatMap(driver, ProjectionStore.make)
      ))
      yield* atOnce
      assert.deepInclude(yield* worker.status, { parked: 0, applied: 1 })
    })
  )

  test(
    "log that a handler takes longer than the lease",
    Effect.fnUntraced(function*() {
      const slow = Subscription.make("slow", { events: Tick, handle: { Ticked: () => Effect.never } })
      const services = yield* Layer.build(Subscription.layer([slow], { stopTimeout: "10 millis" }))
      yield* TestClock.adjust("1 day")
      yield* tick
      yield* TestClock.adjust("30 seconds")
      const [status] = yield* Effect.provide(
        Effect.flatMap(Subscription.Subscriptions, ({ status }) => status),
        services
      )
      assert.include(status!.detail, "in hand for")
      const { reasons } = yield* Health.of([slow])
      assert.include(reasons.join(), "in hand")
    })
  )
})
