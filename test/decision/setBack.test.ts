/** Decisions on cached matches of a log that was set back, and what the cache keeps. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Result, Schema } from "effect"
import { Command, CommandBus, Decision, Event, EventQuery, EventStore } from "evsrc"
import { internals } from "../../src/core/internals.ts"
import * as ModelCache from "../../src/decision/ModelCache.ts"

const SeatEvent = Schema.TaggedUnion({ Taken: { show: Schema.String, before: Schema.Int } }).pipe(
  Event.tags({ show: "show" })
)
class Full extends Schema.TaggedError<Full>()("Full", { taken: Schema.Int }) {}
const Take = Command.make("Take", { payload: { show: Schema.String, seats: Schema.Int }, error: Full })
const take = Decision.make(Take, {
  events: SeatEvent,
  models: ({ show }) => ({
    taken: Decision.model({ events: SeatEvent, tags: { show }, initial: 0, evolve: { Taken: (taken) => taken + 1 } })
  }),
  decide: ({ taken }, { seats, show }) =>
    taken >= seats ? Result.fail(new Full({ taken })) : [{ _tag: "Taken", show, before: taken }]
})

const fresh = Effect.provide(EventStore.EventStore, Layer.fresh(EventStore.layerMemory))
const seat = (store: EventStore.EventStore["Service"], before: number) =>
  store.append(SeatEvent, "s", [{ _tag: "Taken", show: "hamlet", before }])
const dispatch = (seats: number) => CommandBus.dispatch(Take, { show: "hamlet", seats })

/** A store whose log is replaced by another one with the same number of events or fewer, and that log. */
const replaceable = Effect.gen(function*() {
  const [first, second] = [yield* fresh, yield* fresh]
  let current = first[internals].driver
  const store = yield* EventStore.make({
    ...current,
    append: (request) => current.append(request),
    readByQuery: (page) => current.readByQuery(page),
    receipt: (id) => current.receipt(id),
    eventTypes: Effect.suspend(() => current.eventTypes),
    head: Effect.suspend(() => current.head)
  })
  const replace = Effect.sync(() => {
    current = second[internals].driver
  })
  return { second, store, replace }
})

describe("decisions on cached matches of a log that was set back", () => {
  it.effect.each([0, 1, 3, 5])(
    "are made on the log of %i events that there is now",
    (events) =>
      Effect.gen(function*() {
        const { replace, second, store } = yield* replaceable
        const layer = Decision.layer(take).pipe(Layer.provide(Layer.succeed(EventStore.EventStore, store)))
        for (let n = 0; n < events; n++) yield* seat(second, n)
        yield* Effect.gen(function*() {
          for (let n = 0; n < 3; n++) yield* dispatch(9)
          yield* replace
          const error = yield* Effect.flip(dispatch(0))
          assert.deepStrictEqual(error, new Full({ taken: events }), "a rejection")
          const { position } = yield* dispatch(9)
          assert.strictEqual(Number(position), events + 1)
          const written = (yield* second[internals].driver.eventsAt([position]))[0]!
          assert.deepStrictEqual(written.data, { show: "hamlet", before: events })
        }).pipe(Effect.provide(layer))
      }).pipe(Effect.scoped)
  )
})

describe("the cache of matches", () => {
  const sizeOf = (store: EventStore.EventStore["Service"]) =>
    ModelCache.ofStore(store[internals].driver, { capacity: 1, events: 1, modelEvents: 1 }).size()

  it.effect("is bounded in queries and events, and keeps no append that has ended", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const layer = Layer.provide(
        Decision.layer(take),
        Layer.succeed(Decision.ModelCacheLimits, { capacity: 5, events: 12, modelEvents: 4 })
      )
      yield* Effect.gen(function*() {
        yield* Effect.forEach(
          Array.from({ length: 60 }, (_, n) => n),
          (n) => CommandBus.dispatch(Take, { show: `show ${n % 12}`, seats: 99 }),
          { concurrency: 10 }
        )
        for (let n = 0; n < 3; n++) yield* CommandBus.dispatch(Take, { show: `other ${n}`, seats: 99 })
      }).pipe(Effect.provide(layer))
      const { events, queries, sent, tags } = sizeOf(store)
      assert.isAtMost(queries, 5)
      assert.isAtMost(events, 12)
      assert.isAbove(queries, 0)
      assert.deepStrictEqual([sent, tags], [0, queries])
      const { events: written } = yield* store.readByQuery(
        EventQuery.make(SeatEvent, [{ tags: [Event.tag("show", "show 0")] }])
      )
      assert.deepStrictEqual(written.map(({ data }) => (data as { before: number }).before), [0, 1, 2, 3, 4])
    }).pipe(Effect.provide(EventStore.layerMemory)))
})
