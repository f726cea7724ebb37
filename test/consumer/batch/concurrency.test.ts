/** Handlers of several keys at a time: each key in its order, each event once, and none is passed that was neither handled nor parked. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Schedule, Schema, Stream } from "effect"
import { EventStore, Position, StoreUnavailable, Subscription } from "evsrc"
import type { BatchPlan, UpToDate } from "../../../src/consumer/batch/BatchProcessor.ts"
import * as EffectsProcessor from "../../../src/consumer/batch/EffectsProcessor.ts"
import type { Handler } from "../../../src/consumer/batch/EventHandling.ts"
import { outcomeOf } from "../../../src/consumer/batch/PlanCommit.ts"
import type * as PartitionLease from "../../../src/consumer/worker/PartitionLease.ts"
import { storeError } from "../../../src/core/errors.ts"
import type { EncodedEvent } from "../../../src/event/RecordedEvent.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })

/** What the handler of an event does in its first attempt. Later attempts succeed. */
const Step = Schema.Struct({
  key: Schema.Literals(["a", "b", "c", "d"]),
  first: Schema.Literals(["ok", "ok too", "ok again", "wrong", "unavailable"]),
  yields: Schema.Literals([0, 1, 2, 3, 4, 5])
})
type Step = typeof Step.Type

const unavailable = storeError(new StoreUnavailable({ message: "down", cause: undefined }))

/** Appends an event for each step, and returns them as they are stored. */
const appended = (steps: ReadonlyArray<Pick<Step, "key">>) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    for (const [n, { key }] of steps.entries()) yield* store.append(Tick, `s-${key}`, [{ _tag: "Ticked", n }])
    return yield* Stream.runCollect(store.readAllEncoded())
  })

const keyed = (events: ReadonlyArray<EncodedEvent>) =>
  events.map((event) => ({ event, keys: [event.stream], isSingle: true }))

const leased = { generation: "ticks", partition: 0, epoch: 1n }

const policies = {
  parks: { onFailure: "park" },
  stops: { onFailure: "stop" }
} as const

const processorOf = (
  handle: Handler,
  options: { readonly concurrency: number; readonly onFailure: "park" | "stop" }
) => {
  const subscription = Subscription.make("ticks", {
    events: Tick,
    retry: Schedule.recurs(0),
    handle: () => Effect.void,
    ...options
  })
  return EffectsProcessor.make(subscription, handle, subscription)
}

const committed = (plan: BatchPlan) => Effect.succeed({ advanced: "advanced" as const, ...plan })

describe("a subscription that handles several keys at a time", () => {
  for (const [what, { onFailure }] of Object.entries(policies)) {
    it.effect.prop(
      `handles each event once and each key in order, and ${what} at failures`,
      [Schema.Array(Step), Schema.Literals([1, 2, 3, 8])],
      ([steps, concurrency]) =>
        Effect.gen(function*() {
          const events = yield* appended(steps)
          const handled: Array<bigint> = []
          const attempted = new Set<bigint>()
          const running = new Set<string>()
          let most = 0
          const handle: Handler = Effect.fnUntraced(function*({ event, position, stream }) {
            const { first, yields } = steps[(event as typeof Tick.Type).n]!
            assert.isFalse(running.has(stream), "one event of a key at a time")
            running.add(stream)
            most = Math.max(most, running.size)
            for (let count = 0; count < yields; count++) yield* Effect.yieldNow
            running.delete(stream)
            const isFirst = !attempted.has(position)
            attempted.add(position)
            if (isFirst && first === "wrong") return yield* Effect.fail("wrong")
            if (isFirst && first === "unavailable") return yield* Effect.fail(unavailable)
            handled.push(position)
          })
          const processor = processorOf(handle, { concurrency, onFailure })
          const { consumer } = processor
          const parked = new Map<string, bigint>()
          let checkpoint = Position.start
          for (let turns = 0; turns < 100 && checkpoint < (events.at(-1)?.position ?? 0n); turns++) {
            const batch = events.filter(({ position, stream }) => position > checkpoint && !parked.has(stream))
            const exit = yield* Effect.exit(processor.apply(leased, keyed(batch), committed))
            // After a failure of the store, the worker reads the same events again.
            if (Exit.isFailure(exit)) continue
            const { reached, toPark } = outcomeOf(consumer, exit.value, checkpoint, events.at(-1)!.position)
            checkpoint = reached
            for (const { event } of toPark) parked.set(event.stream, event.position)
          }
          assert.strictEqual(checkpoint, events.at(-1)?.position ?? Position.start, "the end")
          assert.isAtMost(most, concurrency)
          for (const key of new Set(events.map(({ stream }) => stream))) {
            const ofKey = events.flatMap(({ position, stream }) => stream === key ? [position] : [])
            const until = parked.get(key)
            assert.deepStrictEqual(
              handled.filter((position) => ofKey.some((one) => one === position)),
              until === undefined ? ofKey : ofKey.filter((position) => position < until),
              key
            )
          }
        }).pipe(Effect.provide(EventStore.layerMemory))
    )
  }

  it.effect("begins events of other keys while a handler runs, and of its own key after it", () =>
    Effect.gen(function*() {
      const events = yield* appended([{ key: "a" }, { key: "a" }, { key: "b" }, { key: "c" }])
      const begun: Array<string> = []
      const open = yield* Deferred.make<void>()
      const both = yield* Deferred.make<void>()
      const handle: Handler = ({ stream, version }) =>
        Effect.gen(function*() {
          begun.push(`${stream} ${version}`)
          if (begun.length === 2) yield* Deferred.succeed(both, undefined)
          yield* Deferred.await(open)
        })
      const processor = processorOf(handle, { concurrency: 2, onFailure: "park" })
      const fiber = yield* Effect.forkChild(processor.apply(leased, keyed(events), committed))
      yield* Deferred.await(both)
      yield* Effect.yieldNow
      assert.deepStrictEqual(begun, ["s-a 1", "s-b 1"])
      yield* Deferred.succeed(open, undefined)
      const { applied } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(begun.toSorted(), ["s-a 1", "s-a 2", "s-b 1", "s-c 1"])
      assert.deepStrictEqual(applied.map(({ event }) => event.position), events.map(({ position }) => position))
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("begins no event after an interruption, and commits what its handlers have finished", () =>
    Effect.gen(function*() {
      const events = yield* appended([{ key: "a" }, { key: "b" }, { key: "a" }, { key: "c" }])
      const begun: Array<bigint> = []
      const both = yield* Deferred.make<void>()
      const open = yield* Deferred.make<void>()
      const handle: Handler = ({ position }) =>
        Effect.gen(function*() {
          begun.push(position)
          if (begun.length === 2) yield* Deferred.succeed(both, undefined)
          yield* Deferred.await(open)
        })
      const processor = processorOf(handle, { concurrency: 2, onFailure: "park" })
      let plan: BatchPlan | undefined
      const fiber = yield* Effect.forkChild(
        processor.apply(leased, keyed(events), (one) => {
          plan = one
          return committed(one)
        })
      )
      yield* Deferred.await(both)
      yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* Effect.yieldNow
      yield* Deferred.succeed(open, undefined)
      yield* Fiber.await(fiber)
      const [first, second, third] = events.map(({ position }) => position)
      assert.deepStrictEqual<ReadonlyArray<bigint | undefined>>(begun, [first, second])
      assert.deepStrictEqual(plan?.applied.map(({ event }) => event.position), [first, second])
      assert.strictEqual(plan?.untriedFrom, third)
    }).pipe(Effect.provide(EventStore.layerMemory)))

  for (const isInTime of [true, false]) {
    const what = isInTime ? "lets the keys that are behind catch up" : "leaves what does not catch up in time"
    it.live(`${what} after an interruption`, () =>
      Effect.gen(function*() {
        const events = yield* appended([{ key: "a" }, { key: "b" }, { key: "a" }, { key: "c" }, { key: "c" }])
        const begun: Array<bigint> = []
        const three = yield* Deferred.make<void>()
        const open = yield* Deferred.make<void>()
        const [first, second, third, fourth] = events.map(({ position }) => position)
        const handle: Handler = ({ position }) =>
          Effect.gen(function*() {
            begun.push(position)
            if (begun.length === 3) yield* Deferred.succeed(three, undefined)
            if (position === third && !isInTime) return yield* Effect.never
            if (position !== second) yield* Deferred.await(open)
          })
        const processor = processorOf(handle, { concurrency: 2, onFailure: "park" })
        let plan: BatchPlan | undefined
        const stopping = { ...leased, stopTimeout: isInTime ? Duration.minutes(1) : Duration.seconds(2) }
        const fiber = yield* Effect.forkChild(processor.apply(stopping, keyed(events), (one) => {
          plan = one
          return committed(one)
        }))
        yield* Deferred.await(three)
        assert.deepStrictEqual<ReadonlyArray<bigint | undefined>>(begun, [first, second, fourth])
        yield* Effect.forkChild(Fiber.interrupt(fiber))
        yield* Effect.yieldNow
        yield* Deferred.succeed(open, undefined)
        yield* Effect.timeout(Fiber.await(fiber), "1 minute")
        assert.deepStrictEqual<ReadonlyArray<bigint | undefined>>(begun, [first, second, fourth, third])
        const applied = plan?.applied.map(({ event }) => event.position)
        assert.deepStrictEqual(applied, isInTime ? events.slice(0, 4).map(({ position }) => position) : [first, second])
        assert.strictEqual(plan?.untriedFrom, isInTime ? events[4]!.position : third)
      }).pipe(Effect.provide(EventStore.layerMemory)))
  }

  it.live("interrupts each handler that does not end in time after an interruption", () =>
    Effect.gen(function*() {
      const events = yield* appended([{ key: "a" }, { key: "b" }])
      const begun: Array<string> = []
      const interrupted: Array<string> = []
      const both = yield* Deferred.make<void>()
      const handle: Handler = ({ stream }) =>
        Effect.gen(function*() {
          begun.push(stream)
          if (begun.length === 2) yield* Deferred.succeed(both, undefined)
          return yield* Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted.push(stream)))
        })
      const processor = processorOf(handle, { concurrency: 2, onFailure: "park" })
      const stopping = { ...leased, stopTimeout: Duration.millis(20) }
      const fiber = yield* Effect.forkChild(processor.apply(stopping, keyed(events), committed))
      yield* Deferred.await(both)
      yield* Effect.timeout(Fiber.interrupt(fiber), "1 minute")
      assert.deepStrictEqual(interrupted.toSorted(), ["s-a", "s-b"])
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("passes no event whose handler interrupts itself", () =>
    Effect.gen(function*() {
      const events = yield* appended([{ key: "a" }, { key: "b" }, { key: "a" }])
      const handle: Handler = ({ position }) =>
        position === events[0]!.position
          ? Effect.withFiber((fiber) => {
            fiber.interruptUnsafe()
            return Effect.never
          })
          : Effect.void
      for (const concurrency of [1, 2]) {
        const processor = processorOf(handle, { concurrency, onFailure: "park" })
        const exit = yield* Effect.exit(processor.apply(leased, keyed(events), committed))
        assert.isTrue(Exit.hasInterrupts(exit), `with a concurrency of ${concurrency}`)
      }
    }).pipe(Effect.provide(EventStore.layerMemory)))

  for (const status of ["expired", "lost"] as const) {
    it.live(`begins no handler whose lease is ${status} once the key store has responded`, () =>
      Effect.gen(function*() {
        const events = yield* appended([{ key: "a" }, { key: "b" }, { key: "a" }])
        for (const concurrency of [1, 2]) {
          const begun: Array<readonly [bigint, PartitionLease.Status]> = []
          let now: PartitionLease.Status = "held"
          const ended = yield* Deferred.make<void>()
          let asked = 0
          const upToDate: UpToDate = (events) =>
            Effect.sync(() => {
              if (++asked === 2) {
                now = status
                Deferred.doneUnsafe(ended, Effect.void)
              }
              return events
            })
          const handle: Handler = ({ position }) => Effect.sync(() => begun.push([position, now]))
          const processor = processorOf(handle, { concurrency, onFailure: "park" })
          let plan: BatchPlan | undefined
          const fiber = yield* Effect.forkChild(
            processor.apply({ ...leased, lease: { status: () => now }, upToDate }, keyed(events), (one) => {
              plan = one
              return committed(one)
            })
          )
          if (status === "expired") {
            yield* Deferred.await(ended)
            yield* Effect.sleep("50 millis")
            assert.deepStrictEqual(begun, [[events[0]!.position, "held"]])
            now = "held"
          }
          yield* Fiber.await(fiber)
          const expected = status === "lost" ? events.slice(0, 1) : events
          assert.deepStrictEqual(begun.toSorted(), expected.map(({ position }) => [position, "held"] as const))
          assert.strictEqual(plan?.untriedFrom, events[expected.length]?.position)
        }
      }).pipe(Effect.provide(EventStore.layerMemory)))
  }

  it("has a concurrency from 1 to 1000", () => {
    for (const concurrency of [0, 1.5, 1_001, NaN]) {
      assert.throws(
        () => processorOf(() => Effect.void, { concurrency, onFailure: "park" }),
        `the concurrency of "ticks" is ${concurrency}; use a whole number from 1 to 1000`
      )
    }
  })
})
