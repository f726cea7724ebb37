/** When the tags in the log are counted, and what decisions do meanwhile. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Logger, Result, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Command, CommandBus, Decision, Event, EventStore } from "evsrc"
import { storeError, StoreUnavailable } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import type { EventStoreDriver } from "../../src/eventStore/driver/EventStoreDriver.ts"

const seat = { guest: Schema.String }
const Untagged = Schema.TaggedUnion({ SeatTaken: seat })
const Tagged = Untagged.pipe(Event.tags({ guest: "guest" }))
const Take = Command.make("TakeSeat", { payload: seat })
const take = Decision.make(Take, {
  events: Tagged,
  models: ({ guest }) => ({
    seats: Decision.model({ events: Tagged, tags: { guest }, initial: 0, evolve: { SeatTaken: (n) => n + 1 } })
  }),
  decide: (_, command) => [{ _tag: "SeatTaken", ...command }]
})

const dispatch = Effect.result(CommandBus.dispatch(Take, { guest: "ann" }))

const reasonOf = (result: Result.Result<unknown, unknown>): string => {
  if (Result.isSuccess(result)) return "taken"
  const { reason } = result.failure as { readonly reason: { readonly _tag: string } }
  return reason._tag
}
const decide = Effect.map(dispatch, reasonOf)

/** A store that counts as `count` says, and the number of its counts. */
const counting = (count: (driver: EventStoreDriver) => EventStoreDriver["eventTypes"]) =>
  Effect.gen(function*() {
    const { driver } = (yield* Effect.provide(EventStore.EventStore, Layer.fresh(EventStore.layerMemory)))[internals]
    let counts = 0
    const store = yield* EventStore.make({
      ...driver,
      eventTypes: Effect.suspend(() => {
        counts++
        return count(driver)
      })
    })
    const layer = Decision.layer(take).pipe(Layer.provideMerge(Layer.succeed(EventStore.EventStore, store)))
    return { counts: () => counts, layer }
  })

/** A store whose counts wait until `open`, once `close` was called. */
const gated = Effect.gen(function*() {
  const [gate, counted] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
  let isOpen = true
  const store = yield* counting(({ eventTypes }) =>
    Effect.suspend(() =>
      isOpen ? eventTypes : Effect.andThen(Deferred.await(gate), eventTypes).pipe(
        Effect.tap(() => Deferred.succeed(counted, undefined))
      )
    )
  )
  const close = Effect.sync(() => {
    isOpen = false
  })
  return { ...store, close, open: Deferred.succeed(gate, undefined), counted: Deferred.await(counted) }
})

/** A process of the earlier release takes a seat, without the tag. */
const takeUntagged = EventStore.append(Untagged, "Seat-1", [{ _tag: "SeatTaken", guest: "ann" }])

describe("the count of the tags in the log", () => {
  it.effect("runs once beside decisions, which use the last one until it ends", () =>
    Effect.gen(function*() {
      const { close, counted, counts, layer, open } = yield* gated
      yield* Effect.gen(function*() {
        assert.strictEqual(yield* decide, "taken")
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual(yield* decide, "taken")
        assert.strictEqual(counts(), 1)
        yield* close
        yield* takeUntagged
        yield* TestClock.adjust("2 seconds")
        const decisions = yield* Effect.forEach(Array.from({ length: 20 }), () => decide, { concurrency: 5 })
        assert.deepStrictEqual(new Set(decisions), new Set(["taken"]))
        yield* TestClock.adjust("20 seconds")
        assert.strictEqual(yield* decide, "taken")
        assert.strictEqual(counts(), 2)
        yield* open
        yield* counted
        yield* Effect.yieldNow
        assert.strictEqual(
          yield* Effect.repeat(decide, { until: (reason) => reason !== "taken", times: 100 }),
          "EventsUntagged"
        )
      }).pipe(Effect.provide(layer))
    }))

  it.effect("is awaited by a decision when the last one is 30 s old", () =>
    Effect.gen(function*() {
      const { close, layer, open } = yield* gated
      yield* Effect.gen(function*() {
        assert.strictEqual(yield* decide, "taken")
        yield* takeUntagged
        yield* close
        yield* TestClock.adjust("31 seconds")
        const decision = yield* Effect.forkChild(decide)
        yield* TestClock.adjust("1 seconds")
        assert.isUndefined(decision.pollUnsafe())
        yield* open
        assert.strictEqual(yield* Fiber.join(decision), "EventsUntagged")
      }).pipe(Effect.provide(layer))
    }))

  it.effect("is logged when it fails, and fails only decisions without one of the last 30 s", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.layer([Logger.make(({ logLevel, message }) => {
        lines.push(`${logLevel} ${String(message)}`)
      })])
      let isDown = false
      const unavailable = Effect.fail(storeError(new StoreUnavailable({ message: "no answer", cause: undefined })))
      const { counts, layer } = yield* counting(({ eventTypes }) => isDown ? unavailable : eventTypes)
      yield* Effect.gen(function*() {
        assert.strictEqual(yield* decide, "taken")
        isDown = true
        yield* TestClock.adjust("6 seconds")
        // Between two decisions the clock lets the count run.
        for (const counted of [2, 2, 3]) {
          assert.strictEqual(yield* decide, "taken")
          yield* TestClock.adjust("1500 millis")
          assert.strictEqual(counts(), counted)
        }
        assert.deepStrictEqual(lines, [
          "Warn The tags of the events in the log cannot be counted. Decisions use the last count until it is 30 s old: no answer"
        ])
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual(yield* decide, "StoreUnavailable")
        isDown = false
        assert.strictEqual(yield* decide, "taken")
      }).pipe(Effect.provide(Layer.merge(layer, logger)))
    }))
})
