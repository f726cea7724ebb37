import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Metric, References, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate, Command, CommandBus, EventStore, SnapshotPolicy, StreamId, Version } from "evsrc"
import * as Errors from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import { fakeSnapshot } from "./SnapshotFixtures.ts"

const Added = Command.make("Added", { payload: { id: Schema.String, amount: Schema.Int } })
const Small = Schema.Int.check(Schema.isBetween({ minimum: -1_000, maximum: 1_000 }))
const counter = (snapshots: SnapshotPolicy.Policy, evolveVersion = 1) =>
  Aggregate.make("Counter", {
    id: "id",
    state: Schema.Struct({ sums: Schema.Array(Small) }),
    events: Schema.TaggedUnion({ Added: { id: Schema.String, amount: Schema.Int } }),
    commands: [Added]
  }).decider({
    initial: { sums: [] },
    snapshots,
    evolveVersion,
    evolve: { Added: ({ sums }, { amount }) => ({ sums: [...sums, (sums.at(-1) ?? 0) + evolveVersion * amount] }) },
    decide: { Added: (_, command) => [{ _tag: "Added", ...command }] }
  })
type Counter = ReturnType<typeof counter>

const add = (decider: Counter, id: string, amount: number) =>
  Effect.provide(CommandBus.dispatch(Added, { id, amount }), Aggregate.layer(decider))

/** A process without cached states, on the log in the context. */
const startProcess = Effect.gen(function*() {
  const { driver } = (yield* EventStore.EventStore)[internals]
  const store = yield* EventStore.make(driver)
  return {
    store,
    run: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provideService(self, EventStore.EventStore, store)
  }
})

const snapshotKey = (decider: Counter, id: string) => ({
  stream: StreamId.StreamId.make(`Counter-${id}`),
  fingerprint: decider.stateSnapshots!.fingerprint
})

describe("snapshots", () => {
  it.effect.prop(
    "every load returns the fold of the events, whatever the snapshots contain",
    [
      Schema.Array(Schema.Struct({
        process: Schema.Literals([0, 1, 2, 3]),
        id: Schema.Literals(["a", "b"]),
        action: Schema.Literals(["add", "add", "load", "loadPast", "corrupt", "fake", "restart"]),
        amount: Schema.Int.check(Schema.isBetween({ minimum: -600, maximum: 600 }))
      })).check(Schema.isMaxLength(60))
    ],
    ([steps]) =>
      Effect.gen(function*() {
        const { driver } = (yield* EventStore.EventStore)[internals]
        const programs = [
          counter(SnapshotPolicy.every(2)),
          counter(SnapshotPolicy.every(3)),
          counter(SnapshotPolicy.every(2), 2),
          counter(SnapshotPolicy.afterCost(0), 2)
        ]
        const processes = [yield* startProcess, yield* startProcess, yield* startProcess, yield* startProcess]
        const added: Record<string, Array<number>> = { a: [], b: [] }
        const sums = (version: number, amounts: ReadonlyArray<number>) => {
          const all: Array<number> = []
          for (const amount of amounts) all.push((all.at(-1) ?? 0) + version * amount)
          return all
        }
        for (const step of steps) {
          const { run, store } = processes[step.process]!
          const decider = programs[step.process]!
          const evolveVersion = step.process < 2 ? 1 : 2
          const amounts = added[step.id]!
          const key = snapshotKey(decider, step.id)
          switch (step.action) {
            case "add":
              yield* run(add(decider, step.id, step.amount))
              amounts.push(step.amount)
              break
            case "load": {
              const loaded = yield* run(Aggregate.load(decider, step.id))
              assert.deepStrictEqual(loaded.state, { sums: sums(evolveVersion, amounts) })
              assert.strictEqual(loaded.version, amounts.length)
              break
            }
            case "loadPast": {
              const atVersion = Version.make(Math.abs(step.amount) % (amounts.length + 1))
              const loaded = yield* run(Aggregate.load(decider, step.id, { atVersion }))
              assert.deepStrictEqual(loaded.state, { sums: sums(evolveVersion, amounts.slice(0, atVersion)) })
              break
            }
            case "corrupt":
              yield* driver.snapshots.drop([key.stream])
              yield* driver.snapshots.write(fakeSnapshot(key.stream, key.fingerprint, 1, {
                state: step.amount < 0 ? `{"sums":[${step.amount * 7}]}` : `{"sums":[13]}`
              }))
              break
            case "fake":
              yield* driver.snapshots.drop([key.stream])
              yield* driver.snapshots.write(fakeSnapshot(key.stream, key.fingerprint, Math.abs(step.amount)))
              break
            case "restart":
              yield* store[internals].snapshots.settled
              processes[step.process] = yield* startProcess
          }
        }
      }).pipe(
        Effect.scoped,
        Effect.provide(EventStore.layerMemory),
        Effect.provideService(References.MinimumLogLevel, "None")
      )
  )

  it.live("counts every outcome and logs every failure", () =>
    Effect.gen(function*() {
      const logs: Array<string> = []
      const observed = Layer.mergeAll(
        EventStore.layerMemory,
        Logger.layer([Logger.map(Logger.formatJson, (line) => void logs.push(line))])
      )
      const decider = counter(SnapshotPolicy.every(2))
      const counts = yield* Effect.gen(function*() {
        const { driver } = (yield* EventStore.EventStore)[internals]
        const writer = yield* startProcess
        const key = snapshotKey(decider, "a")
        const loadUncached = Effect.gen(function*() {
          const { run, store } = yield* startProcess
          yield* run(Aggregate.load(decider, "a"))
          yield* store[internals].snapshots.settled
        })
        for (const n of [1, 2]) yield* writer.run(add(decider, "a", n))
        yield* writer.store[internals].snapshots.settled
        yield* loadUncached
        yield* driver.snapshots.drop([key.stream])
        yield* driver.snapshots.write(fakeSnapshot(key.stream, key.fingerprint, 2, { state: "?" }))
        yield* loadUncached
        yield* driver.snapshots.drop([key.stream])
        yield* driver.snapshots.write(fakeSnapshot(key.stream, key.fingerprint, 2, { state: `{"sums":[]}` }))
        yield* loadUncached
        for (const n of [1, 9_999]) yield* writer.run(add(decider, "a", n))
        yield* writer.store[internals].snapshots.settled
        const broken = yield* EventStore.make({
          ...driver,
          snapshots: { ...driver.snapshots, read: () => Effect.die("no read"), write: () => Effect.die("no write") }
        })
        const other = counter(SnapshotPolicy.every(2), 2)
        for (const n of [1, 2]) {
          yield* add(other, "b", n).pipe(Effect.provideService(EventStore.EventStore, broken))
          yield* broken[internals].snapshots.settled
        }
        const metrics = yield* Metric.snapshot
        return Object.fromEntries(metrics.flatMap((metric) =>
          metric.id.startsWith("evsrc_snapshot") && metric.type === "Counter"
            ? [[`${metric.id} ${metric.attributes?.["outcome"]}`, metric.state.count]]
            : []
        ))
      }).pipe(Effect.scoped, Effect.provide(observed), Effect.provideService(Metric.MetricRegistry, new Map()))
      assert.deepStrictEqual(counts, {
        "evsrc_snapshot_reads_total none": 1,
        "evsrc_snapshot_reads_total hit": 1,
        "evsrc_snapshot_reads_total undecodable": 1,
        "evsrc_snapshot_reads_total stale": 1,
        "evsrc_snapshot_reads_total failed": 1,
        "evsrc_snapshot_writes_total written": 3,
        "evsrc_snapshot_writes_total unencodable": 1,
        "evsrc_snapshot_writes_total failed": 1
      })
      const warnings = logs.map((line) =>
        JSON.parse(line)
      ).map(({ annotations, level, message }) => [
        level,
        annotations.stream,
        Array.isArray(message) ? message[0] : message
      ])
      assert.deepStrictEqual(warnings, [
        ["WARN", "Counter-a", "A snapshot cannot be decoded; the state is folded from its events"],
        ["WARN", "Counter-a", "The last event of a snapshot is not in its stream; the state is folded from its events"],
        ["WARN", "Counter-a", "A state cannot be encoded, so no snapshot is written"],
        ["WARN", "Counter-b", "A snapshot cannot be read; states are folded from their events: no read"],
        ["WARN", "Counter-b", "A snapshot cannot be written: no write"]
      ])
    }))

  it.effect("an outage writes one line and is tried at intervals, and its end writes one", () =>
    Effect.gen(function*() {
      const lines: Array<unknown> = []
      let [isOut, tried] = [true, 0]
      const { driver } = (yield* EventStore.EventStore)[internals]
      const down: Effect.Effect<never, Errors.EventStoreError> = Effect.fail(Errors.storeError(
        new Errors.StoreUnavailable({ message: "connect ECONNREFUSED", cause: undefined })
      ))
      const { read, write } = driver.snapshots
      const store = yield* EventStore.make({
        ...driver,
        snapshots: {
          ...driver.snapshots,
          read: (key) => {
            tried++
            return isOut ? down : read(key)
          },
          write: (...args) => isOut ? down : write(...args)
        }
      })
      const decider = counter(SnapshotPolicy.every(1))
      const addTo = (ids: string) =>
        Effect.forEach(
          Array.from({ length: 50 }, (_, n) => `${ids}${n}`),
          (id) => Effect.andThen(add(decider, id, 1), store[internals].snapshots.settled)
        ).pipe(
          Effect.provideService(EventStore.EventStore, store),
          Effect.provide(Logger.layer([Logger.make(({ message }) => void lines.push(message))]))
        )
      yield* addTo("a")
      assert.strictEqual(tried, 1, "reads in the first seconds of the outage")
      yield* TestClock.adjust("6 seconds")
      yield* addTo("b")
      assert.strictEqual(tried, 2, "reads after 6 seconds")
      yield* TestClock.adjust("6 seconds")
      isOut = false
      yield* addTo("c")
      assert.strictEqual(tried, 52, "reads after the outage")
      assert.deepStrictEqual(lines.flat(), [
        "Snapshots cannot be read; states are folded from their events: connect ECONNREFUSED",
        "Snapshots cannot be written: connect ECONNREFUSED",
        "The read of snapshots has recovered after 12s",
        "The write of snapshots has recovered after 12s"
      ])
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("closing the store interrupts the write in progress and discards queued ones", () =>
    Effect.gen(function*() {
      const decider = counter(SnapshotPolicy.every(1))
      const { driver } = (yield* EventStore.EventStore)[internals]
      let interrupted = 0
      yield* Effect.scoped(Effect.gen(function*() {
        const store = yield* EventStore.make({
          ...driver,
          snapshots: {
            ...driver.snapshots,
            write: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++))
          }
        })
        for (const id of ["a", "b"]) {
          yield* add(decider, id, 1).pipe(Effect.provideService(EventStore.EventStore, store))
        }
        yield* Effect.yieldNow
      }))
      assert.strictEqual(interrupted, 1, "the number of interrupted writes")
      assert.deepStrictEqual(yield* driver.snapshots.page(undefined, 10), [])
    }).pipe(Effect.provide(EventStore.layerMemory)))
})
