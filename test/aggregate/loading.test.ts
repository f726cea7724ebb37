import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate, Command, CommandBus, EventStore, EventStoreError, Position, Version } from "evsrc"
import { internals } from "../../src/core/internals.ts"

const CounterEvent = Schema.TaggedUnion({ Added: { id: Schema.String, amount: Schema.Number } })
const Add = Command.make("Add", { payload: { id: Schema.String, amount: Schema.Number } })
const Counter = Aggregate.make("Counter", {
  id: "id",
  state: Schema.Number,
  events: CounterEvent,
  commands: [Add]
})
const CounterDecider = Counter.decider({
  initial: 0,
  evolve: {
    Added: (sum, event) => {
      if (event.amount === 13) throw new Error("thirteen")
      return sum + event.amount + ("undeclared" in event ? 100 : 0)
    }
  },
  decide: {
    Add: (_, command) => {
      // No store keeps what the Schema does not declare, so the stored event differs from the decided one.
      const added = { ...CounterEvent.cases.Added.make(command), undeclared: true }
      return [added]
    }
  }
})
const counters = Aggregate.layer(CounterDecider)
const add = (id: string, amount: number) => Effect.provide(CommandBus.dispatch(Add, { id, amount }), counters)
const stale = (id: string) => Aggregate.load(CounterDecider, id, { policy: "stale" })

/** Another process on the store in the context, which counts its reads. */
const another = Effect.gen(function*() {
  const { driver } = (yield* EventStore.EventStore)[internals]
  let reads = 0
  const store = yield* EventStore.make({
    ...driver,
    readStream: (page) => {
      reads++
      return driver.readStream(page)
    }
  })
  return {
    reads: () => reads,
    run: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provideService(self, EventStore.EventStore, store)
  }
})

const bounded = (capacity: number) => Effect.provideService(Aggregate.StateCache, { capacity, timeToLive: "1 minute" })

/** Returns a store whose log `restore` replaces with that of `backup`, as the restore of a backup does under a running program. */
const restorable = Effect.gen(function*() {
  const { driver } = (yield* EventStore.EventStore)[internals]
  const backup = yield* Effect.provide(EventStore.EventStore, Layer.fresh(EventStore.layerMemory))
  let current = driver
  const store = yield* EventStore.make({
    ...driver,
    append: (request) => current.append(request),
    readStream: (page) => current.readStream(page)
  })
  return {
    backup,
    restore: () => {
      current = backup[internals].driver
    },
    run: Effect.provideService(EventStore.EventStore, store)
  }
})

describe("the cached states of a process", () => {
  it.effect("are the most recently used, up to the capacity", () =>
    Effect.gen(function*() {
      const { reads, run } = yield* another
      yield* run(Effect.gen(function*() {
        for (const id of ["a", "b", "a", "c"]) yield* add(id, 1)
        assert.strictEqual(reads(), 3)
        for (const id of ["a", "c"]) yield* stale(id)
        assert.strictEqual(reads(), 3, "the last two")
        yield* stale("b")
        assert.strictEqual(reads(), 4, "and not the third")
      })).pipe(bounded(2))
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("are none with a capacity of 0, and commands still work", () =>
    Effect.gen(function*() {
      const { reads, run } = yield* another
      yield* run(Effect.gen(function*() {
        for (const id of ["a", "a"]) yield* add(id, 1)
        assert.strictEqual((yield* stale("a")).state, 2)
        assert.strictEqual(reads(), 3)
      })).pipe(bounded(0))
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("expire, later after each read or write of the stream", () =>
    Effect.gen(function*() {
      const { reads, run } = yield* another
      yield* run(Effect.gen(function*() {
        yield* add("a", 1)
        yield* TestClock.adjust("40 seconds")
        yield* add("a", 1)
        yield* TestClock.adjust("40 seconds")
        yield* stale("a")
        assert.strictEqual(reads(), 1, "cached by the second append")
        yield* TestClock.adjust("30 seconds")
        yield* stale("a")
        assert.strictEqual(reads(), 2, "a stale load does not extend the time")
      })).pipe(bounded(10))
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("are folded from the encoded events, not from the decided ones", () =>
    Effect.gen(function*() {
      const { run } = yield* another
      yield* run(add("a", 1))
      yield* run(add("a", 1))
      assert.strictEqual((yield* run(stale("a"))).state, 2)
      assert.strictEqual((yield* Aggregate.load(CounterDecider, "a")).state, 2)
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("appends an event on which evolve throws, and fails the next load", () =>
    Effect.gen(function*() {
      yield* add("a", 1)
      assert.strictEqual((yield* add("a", 13)).version, Version.make(2))
      for (const load of [stale("a"), Aggregate.load(CounterDecider, "a")]) {
        const exit = yield* Effect.exit(load)
        assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "no failure", "thirteen")
      }
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("a command detects a log that was restored from an older backup", () =>
    Effect.gen(function*() {
      const { backup, restore, run } = yield* restorable
      for (const n of [1, 2, 4]) yield* run(add("a", n))
      yield* Effect.provideService(add("a", 1), EventStore.EventStore, backup)
      restore()
      assert.strictEqual((yield* run(add("a", 8))).version, Version.make(2))
      assert.strictEqual((yield* run(stale("a"))).state, 9)
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("a command never decides on a state that a restored log does not have, even at the same version", () =>
    Effect.gen(function*() {
      const { backup, restore, run } = yield* restorable
      for (const n of [1, 2, 4]) yield* run(add("a", n))
      yield* run(add("b", 1))
      for (const n of [10, 20, 40]) yield* Effect.provideService(add("a", n), EventStore.EventStore, backup)
      restore()
      assert.strictEqual((yield* run(add("a", 80))).version, Version.make(4))
      assert.strictEqual((yield* run(stale("a"))).state, 150)
      assert.strictEqual((yield* run(stale("b"))).version, Version.zero, "no other state of the lost log stays cached")
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("a command that names the last event of its stream fails where that is another event", () =>
    Effect.gen(function*() {
      const dispatch = (expected: number | "any" | undefined, lastEventId: string) =>
        CommandBus.dispatch(Add, { id: "a", amount: 1 }, {
          ...(expected === undefined ? {} : { expected: expected === "any" ? expected : Version.make(expected) }),
          lastEventId
        }).pipe(Effect.provide(counters))
      const lost = crypto.randomUUID()
      const [first] = (yield* add("a", 1)).events
      const reasonOf = (error: { readonly _tag: string }) =>
        error instanceof EventStoreError ? error.reason._tag : error._tag
      assert.strictEqual(reasonOf(yield* Effect.flip(dispatch(1, lost))), "LogDiverged")
      for (const expected of ["any", undefined] as const) {
        assert.strictEqual(reasonOf(yield* Effect.flip(dispatch(expected, lost))), "InvalidRequest")
      }
      assert.strictEqual(reasonOf(yield* Effect.flip(dispatch(2, lost))), "ConcurrencyConflict")
      assert.strictEqual((yield* dispatch(1, first!.id)).version, Version.make(2))
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("a load detects a log that was restored from an older backup", () =>
    Effect.gen(function*() {
      const { restore, run } = yield* restorable
      yield* run(add("a", 1))
      restore()
      assert.strictEqual((yield* run(Aggregate.load(CounterDecider, "a"))).version, Version.zero)
      assert.strictEqual((yield* run(stale("a"))).version, Version.zero)
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("a slow reader does not replace a newer state", () =>
    Effect.gen(function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      const gate = yield* Deferred.make<void>()
      let slow = false
      const store = yield* EventStore.make({
        ...driver,
        readStream: (page) =>
          Effect.suspend(() => {
            const wait = slow ? Deferred.await(gate) : Effect.void
            slow = false
            return Effect.tap(driver.readStream(page), () => wait)
          })
      })
      const run = Effect.provideService(EventStore.EventStore, store)
      yield* run(add("a", 1))
      slow = true
      const reader = yield* Effect.forkChild(run(Aggregate.load(CounterDecider, "a")), { startImmediately: true })
      yield* run(add("a", 2))
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual((yield* Fiber.join(reader)).state, 1)
      assert.strictEqual((yield* run(stale("a"))).state, 3)
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("a load as of a position starts from a cached state before that position", () =>
    Effect.gen(function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      const from: Array<number> = []
      const store = yield* EventStore.make({
        ...driver,
        readStream: (page) => {
          from.push(page.from)
          return driver.readStream(page)
        }
      })
      const run = Effect.provideService(EventStore.EventStore, store)
      for (const n of [1, 2, 4]) yield* run(add("a", n))
      const cached = yield* run(Aggregate.load(CounterDecider, "a"))
      for (const [atPosition, starts, state] of [[cached.position, 3, 7], [Position.make(2n), 1, 3]] as const) {
        from.length = 0
        assert.strictEqual((yield* run(Aggregate.load(CounterDecider, "a", { atPosition }))).state, state)
        assert.deepStrictEqual(from.slice(0, 1), [starts], `as of position ${atPosition}`)
      }
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect.prop(
    "several processes all end with the state of the log",
    [Schema.Array(Schema.Struct({
      process: Schema.Literals([0, 1, 2]),
      id: Schema.Literals(["a", "b"]),
      does: Schema.Literals(["add", "load", "stale"]),
      amount: Schema.Int
    }))],
    ([steps]) =>
      Effect.gen(function*() {
        const processes = [yield* another, yield* another, yield* another]
        for (const step of steps) {
          const { run } = processes[step.process]!
          const amount = step.amount === 13 ? 0 : step.amount
          if (step.does === "add") yield* run(add(step.id, amount))
          if (step.does === "stale") yield* run(stale(step.id))
          if (step.does === "load") {
            const empty = yield* another
            assert.deepStrictEqual(
              yield* run(Aggregate.load(CounterDecider, step.id)),
              yield* empty.run(Aggregate.load(CounterDecider, step.id))
            )
          }
        }
        for (const id of ["a", "b"]) {
          const sum = steps.filter((s) => s.does === "add" && s.id === id && s.amount !== 13)
            .reduce((total, s) => total + s.amount, 0)
          for (const { run } of processes) {
            const loaded = yield* run(Aggregate.load(CounterDecider, id))
            assert.strictEqual(loaded.state, sum)
            assert.strictEqual(loaded.version, steps.filter((s) => s.does === "add" && s.id === id).length)
          }
        }
      }).pipe(Effect.provide(EventStore.layerMemory))
  )
})
