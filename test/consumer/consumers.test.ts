import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, References, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import {
  EventStore,
  EventStoreError,
  Parking,
  type Position,
  Projection,
  ProjectionStore,
  Projector,
  StoreUnavailable
} from "evsrc"
import type { EventStoreDriver, ProjectionStoreDriver } from "evsrc"
import { internals } from "../../src/core/internals.ts"
import { attentive } from "../support/Attentive.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const ticks = (partitions = 1) =>
  Projection.make("ticks", {
    events: Tick,
    document: Schema.Int,
    partitions,
    key: () => "all",
    evolve: { Ticked: (n) => (n ?? 0) + 1 }
  })
const Ticks = ticks()

const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)
const fastOptions = { lease: "300 millis", retryDelay: { first: "5 millis", max: "10 millis" } } as const

const tick = Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, "s", [{ _tag: "Ticked", n: 1 }]))

const awaitConsumer = (position: Position.Position, projection: Projection.Any = Ticks) =>
  Effect.flatMap(
    ProjectionStore.ProjectionStore,
    (store) => store.awaitPosition(projection, position, "1 minute")
  )

const until = (isRight: (status: Projector.ConsumerStatus) => boolean) =>
  Effect.flatMap(Projector.Projector, ({ status }) => status).pipe(
    Effect.map(([status]) => status!),
    Effect.repeat({ until: isRight, schedule: Schedule.spaced("5 millis") }),
    Effect.timeout("1 minute")
  )

/** The stores in the context with some of their operations replaced. */
const withDrivers = (change: {
  readonly events?: (
    driver: EventStoreDriver.EventStoreDriver
  ) => Partial<EventStoreDriver.EventStoreDriver>
  readonly store?: (
    driver: ProjectionStoreDriver.ProjectionStoreDriver
  ) => Partial<ProjectionStoreDriver.ProjectionStoreDriver>
}) =>
  Layer.merge(
    EventStore.layer(
      Effect.map(EventStore.EventStore, ({ [internals]: { driver } }) => ({ ...driver, ...change.events?.(driver) }))
    ),
    ProjectionStore.layer(
      Effect.map(
        ProjectionStore.ProjectionStore,
        ({ [internals]: { driver } }) => ({ ...driver, ...change.store?.(driver) })
      )
    )
  )

const withoutLogs = Effect.provideService(References.MinimumLogLevel, "None")

const unavailable = Effect.fail(
  new EventStoreError({ reason: new StoreUnavailable({ message: "a test", cause: undefined }) })
)

describe("the workers of a consumer", () => {
  for (
    const [what, fails] of [
      ["an error", unavailable],
      ["a defect", Effect.die("a test")],
      ["an interruption", Effect.interrupt]
    ] as const
  ) {
    it.live(`continue after ${what} of any store operation`, () =>
      Effect.gen(function*() {
        const failingStores = withDrivers({
          events: ({ readAll }) => {
            let reads = 0
            return { readAll: (page) => ++reads % 2 === 1 && reads < 8 ? fails : readAll(page) }
          },
          store: ({ advance, claim, parkedKeys }) => {
            let [claims, advances, parkedReads] = [0, 0, 0]
            return {
              claim: (request) => ++claims % 2 === 1 && claims < 8 ? fails : claim(request),
              advance: (request) => ++advances < 3 ? fails : advance(request),
              parkedKeys: (...args) => ++parkedReads < 3 ? fails : parkedKeys(...args)
            }
          }
        })
        yield* Effect.gen(function*() {
          for (let n = 0; n < 5; n++) yield* awaitConsumer((yield* tick).position)
          const status = yield* until(({ applied, state }) => state === "live" && applied === 5)
          assert.deepInclude(status, { partitions: 1, detail: undefined })
        }).pipe(
          Effect.provide(Projector.layer([Ticks], { ...fastOptions, lease: "1 hour" })),
          Effect.provide(failingStores)
        )
      }).pipe(Effect.provide(stores), withoutLogs))
  }

  for (const [what, fails] of [["a defect", Effect.die("a test")], ["an interruption", Effect.interrupt]] as const) {
    it.live(`report that they are stuck throughout the retries after ${what}`, () =>
      Effect.gen(function*() {
        const states = new Set<string>()
        let failures = 0
        const fixed = yield* Deferred.make<void>()
        const failingStores = withDrivers({
          store: ({ advance }) => ({
            advance: (request) =>
              Effect.suspend(() => {
                if (Deferred.isDoneUnsafe(fixed)) return advance(request)
                failures++
                return fails
              })
          })
        })
        yield* tick
        yield* Effect.gen(function*() {
          yield* until(({ state }) => state === "stuck")
          const projector = yield* Projector.Projector
          const polling = yield* Effect.forkChild(Effect.forever(
            Effect.andThen(
              Effect.map(projector.status, ([status]) => states.add(status!.state)),
              Effect.yieldNow
            )
          ))
          const before = failures
          yield* Effect.repeat(Effect.sync(() => failures), {
            until: (n) => n > before + 5,
            schedule: Schedule.spaced("1 millis")
          })
          yield* Fiber.interrupt(polling)
          assert.deepStrictEqual(Array.from(states), ["stuck"])
          yield* Deferred.succeed(fixed, undefined)
          yield* until(({ state }) => state === "live")
        }).pipe(Effect.provide(Projector.layer([Ticks], fastOptions)), Effect.provide(failingStores))
      }).pipe(Effect.provide(stores), withoutLogs))
  }

  it.live("keep the lease of a partition they cannot interrupt, and release it later", () =>
    Effect.gen(function*() {
      const four = ticks(4)
      const options = { ...fastOptions, lease: "2 seconds" } as const
      const released = yield* Deferred.make<void>()
      const hanging = yield* Deferred.make<void>()
      const slowStores = withDrivers({
        store: ({ advance }) => ({
          advance: (request) =>
            request.partition === 3
              ? Effect.uninterruptible(
                Effect.andThen(
                  Effect.andThen(Deferred.succeed(hanging, undefined), Deferred.await(released)),
                  advance(request)
                )
              )
              : advance(request)
        })
      })
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const owners = Effect.map(driver.progress(four.id), (all) => all.map(({ owner }) => owner))
      const onceOwners = (isRight: (all: ReadonlyArray<string | undefined>) => boolean) =>
        owners.pipe(
          Effect.repeat({ until: isRight, schedule: Schedule.spaced("5 millis") }),
          Effect.timeout("1 minute")
        )
      yield* tick
      yield* Effect.gen(function*() {
        yield* Deferred.await(hanging)
        const [one] = yield* owners
        // The second worker is due two partitions of the first, one of which hangs.
        yield* Effect.gen(function*() {
          const shared = yield* onceOwners((all) => all[2] !== one && all[2] !== undefined)
          assert.deepStrictEqual(shared.map((owner) => owner === one), [true, true, false, true])
          // Longer than a lease.
          yield* Effect.sleep("2500 millis")
          assert.deepStrictEqual((yield* owners).map((owner) => owner === one), [true, true, false, true])
          yield* Deferred.succeed(released, undefined)
          const handed = yield* onceOwners((all) => all[3] !== one && all[3] !== undefined)
          assert.deepStrictEqual(handed.map((owner) => owner === one), [true, true, false, false])
          yield* awaitConsumer((yield* tick).position, four)
        }).pipe(Effect.provide(Layer.fresh(attentive(Projector.layer([four], options), four))))
      }).pipe(Effect.provide(attentive(Projector.layer([four], options), four).pipe(Layer.provide(slowStores))))
    }).pipe(Effect.provide(stores), withoutLogs))

  it.live("stop at once while the store hangs, and interrupt its calls", () =>
    Effect.gen(function*() {
      let hanging = 0
      const never = Effect.acquireUseRelease(
        Effect.sync(() => hanging++),
        () => Effect.never,
        () => Effect.sync(() => hanging--)
      )
      let isHanging = false
      const hangingStores = withDrivers({
        events: ({ readAll }) => ({ readAll: (page) => Effect.suspend(() => isHanging ? never : readAll(page)) }),
        store: ({ claim }) => ({ claim: (request) => Effect.suspend(() => isHanging ? never : claim(request)) })
      })
      yield* Effect.gen(function*() {
        // With pages of one event the reader reads the next page in advance.
        for (let n = 0; n < 3; n++) yield* awaitConsumer((yield* tick).position)
        isHanging = true
        yield* tick
        yield* Effect.repeat(Effect.sync(() => hanging), {
          until: (n) => n === 2,
          schedule: Schedule.spaced("5 millis")
        })
      }).pipe(
        Effect.provide(Projector.layer([Ticks], { ...fastOptions, batchSize: 1 })),
        Effect.provide(hangingStores),
        Effect.timeout("1 minute")
      )
      assert.strictEqual(hanging, 0)
    }).pipe(Effect.provide(stores), withoutLogs))

  it.effect("carry out a request of their own process at once", () =>
    Effect.gen(function*() {
      let isPoison = true
      const poisonous = Projection.make("poisonous", {
        events: Tick,
        document: Schema.Int,
        key: () => "all",
        evolve: {
          Ticked: (n) => {
            if (isPoison) throw new Error("poison")
            return (n ?? 0) + 1
          }
        }
      })
      yield* Effect.gen(function*() {
        yield* awaitConsumer((yield* tick).position, poisonous)
        isPoison = false
        const retry = yield* Effect.forkChild(Parking.retry(poisonous, "all"))
        // Less than the interval at which the workers poll for requests.
        yield* TestClock.adjust("100 millis")
        assert.strictEqual(retry.pollUnsafe()?._tag, "Success")
      }).pipe(Effect.provide(Projector.layer([poisonous], { lease: "1 hour" })))
    }).pipe(Effect.provide(stores), withoutLogs))

  it.live("report the progress of the other workers in standby", () =>
    Effect.gen(function*() {
      const { position } = yield* tick
      yield* awaitConsumer(position)
      const standby = yield* until(({ position: at, state }) => state === "standby" && at === position).pipe(
        Effect.provide(Layer.fresh(Projector.layer([Ticks], fastOptions)))
      )
      assert.deepInclude(standby, { head: position, lag: 0n, partitions: 0 })
    }).pipe(Effect.provide(Projector.layer([Ticks], fastOptions)), Effect.provide(stores), withoutLogs))
})
