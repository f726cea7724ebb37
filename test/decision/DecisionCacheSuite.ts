/**
 * The suite of decisions on cached matches and on appends in flight, which every back end passes.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { upTo } from "../../src/conformance/EventStoreFixtures.ts"
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventQuery from "../../src/event/EventQuery.ts"
import type { EventStoreDriver } from "../../src/eventStore/driver/EventStoreDriver.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"

/** A counter is changed by an amount. `seen` are the states of its models on which that was decided. */
const CounterEvent = Schema.TaggedUnion({
  Changed: { counters: Schema.Array(Schema.String), amount: Schema.Int, seen: Schema.Array(Schema.Int) }
}).pipe(Event.tags({ counter: "counters" }))
const { Changed } = CounterEvent.cases

/** A fold whose result depends on every event and on their order. */
const next = (state: number, amount: number): number => (state * 31 + amount + 7) % 1_000_003

const stateOf = (counter: string) =>
  Decision.model({
    events: CounterEvent,
    tags: { counter },
    initial: 1,
    evolve: { Changed: (state, { amount }) => next(state, amount) }
  })

class Odd extends Schema.TaggedError<Odd>()("Odd", { state: Schema.Int }) {}

/** Changes counters. With `refuse` it fails on the state of the first one; an amount of 0 changes nothing. */
const Change = Command.make("Change", {
  payload: { counters: Schema.Array(Schema.String), amount: Schema.Int, refuse: Schema.optionalKey(Schema.Boolean) },
  error: Odd
})
const change = Decision.make(Change, {
  events: CounterEvent,
  models: ({ counters }) => Object.fromEntries(counters.map((counter) => [counter, stateOf(counter)])),
  decide: (states, { amount, counters, refuse = false }) => {
    const seen = counters.map((counter) => states[counter]!)
    if (refuse) return Result.fail(new Odd({ state: seen[0]! }))
    return amount === 0 ? [] : [Changed.make({ counters, amount, seen })]
  }
})

const withoutRetry = { conflictRetry: Schedule.recurs(0) }
const changing = Decision.layer(change, withoutRetry)

/** Another process: a store on the same log, which caches for itself. It counts the calls of the driver. */
const process = Effect.fnUntraced(function*() {
  const { driver } = (yield* EventStore.EventStore)[internals]
  const calls = { reads: 0, appends: 0 }
  const counting: EventStoreDriver = {
    ...driver,
    append: (request) => {
      calls.appends++
      return driver.append(request)
    },
    readByQuery: (page) => {
      calls.reads++
      return driver.readByQuery(page)
    }
  }
  const store = yield* EventStore.make(counting)
  return { calls, layer: Layer.succeed(EventStore.EventStore, store), store }
})

const on = (
  { layer }: Effect.Success<ReturnType<typeof process>>,
  options: Decision.DecisionOptions = withoutRetry
) => Layer.provide(Decision.layer(change, options), layer)

const dispatch = (counters: ReadonlyArray<string>, amount: number) => CommandBus.dispatch(Change, { counters, amount })

/** Fails unless every event was decided on exactly the events before it; returns the states of the counters. */
const verify = Effect.fnUntraced(function*(counters: ReadonlyArray<string>) {
  const store = yield* EventStore.EventStore
  const { events } = yield* store.readByQuery(
    EventQuery.make(CounterEvent, counters.map((counter) => ({ tags: [Event.tag("counter", counter)] })))
  )
  const states = new Map<string, number>()
  for (const { data, position } of events) {
    const { amount, counters: changed, seen } = data as typeof Changed.Type
    const before = changed.map((counter) => states.get(counter) ?? 1)
    if (seen.length > 0) equal(seen, before, `the states of ${changed.join()} at position ${position}`)
    for (const counter of changed) states.set(counter, next(states.get(counter) ?? 1, amount))
  }
  return { events: events.length, states }
})

/**
 * Decisions on what the process knows.
 *
 * @since 0.1.0
 * @category suites
 */
export const decisionCaches: ReadonlyArray<Case<EventStore.EventStore>> = [
  test("a decision on tags that were seen takes one call of the store, one on a new tag two", function*() {
    const own = yield* process()
    const [a, b, c] = [unique("a"), unique("b"), unique("c")]
    const callsOf = Effect.fnUntraced(function*(counters: ReadonlyArray<string>) {
      Object.assign(own.calls, { reads: 0, appends: 0 })
      yield* dispatch(counters, 1)
      return [own.calls.reads, own.calls.appends]
    })
    yield* Effect.gen(function*() {
      equal(yield* callsOf([a, b]), [1, 1], "new tags")
      equal(yield* callsOf([a, b]), [0, 1], "seen tags")
      equal(yield* callsOf([b]), [0, 1], "one of them")
      equal(yield* callsOf([b, c]), [1, 1], "one new tag")
      equal(yield* callsOf([c, a]), [0, 1], "seen tags in other decisions")
    }).pipe(Effect.provide(on(own)))
    yield* verify([a, b, c])
    yield* Effect.gen(function*() {
      const [d, e] = [unique("d"), unique("e")]
      equal(yield* callsOf([d, a]), [0, 1], "a new tag that is taken to be new")
      yield* Effect.provide(dispatch([e], 1), changing)
      equal(yield* callsOf([e]), [1, 2], "one that is not new")
      yield* verify([a, b, c, d, e])
    }).pipe(Effect.provide(on(own, { ...withoutRetry, load: "assumeNew" })))
    yield* Effect.gen(function*() {
      equal(yield* callsOf([a, b]), [1, 1], "fresh")
    }).pipe(Effect.provide(on(own, { ...withoutRetry, load: "fresh" })))
  }),

  test("a decision on old matches reads what another process has written, and decides again at once", function*() {
    const [own, other] = [yield* process(), yield* process()]
    const [a, b] = [unique("a"), unique("b")]
    const [here, there] = [on(own), on(other)]
    yield* Effect.provide(dispatch([a, b], 1), here)
    yield* Effect.provide(dispatch([b], 2), there)
    Object.assign(own.calls, { reads: 0, appends: 0 })
    yield* Effect.provide(dispatch([a, b], 3), here)
    equal(own.calls, { reads: 1, appends: 2 }, "calls of the store")
    const { states } = yield* verify([a, b])
    yield* Effect.provide(dispatch([a], 4), there)
    const error = yield* Effect.flip(
      Effect.provide(CommandBus.dispatch(Change, { counters: [a], amount: 1, refuse: true }), here)
    )
    equal(error, new Odd({ state: next(states.get(a)!, 4) }), "a rejection rests on all events")
    const last = yield* Effect.provide(dispatch([a], 5), there)
    const empty = yield* Effect.provide(dispatch([a], 0), here)
    equal([empty.position, empty.eventId], [last.position, last.events[0]!.id], "the receipt of no events")
  }),

  test("models of the same query that close over other values, or begin with others, share no state", function*() {
    const Weigh = Command.make("Weigh", { payload: { counter: Schema.String, weight: Schema.Int, first: Schema.Int } })
    const add = { Changed: (sum: number, { amount }: typeof Changed.Type) => sum + amount }
    const weigh = Decision.make(Weigh, {
      events: CounterEvent,
      models: ({ counter, first, weight }) => ({
        weighed: Decision.model({
          events: CounterEvent,
          tags: { counter },
          initial: 0,
          evolve: { Changed: (sum, { amount }) => sum + weight * amount }
        }),
        begun: Decision.model({
          events: CounterEvent,
          tags: { counter },
          initial: { sum: first },
          evolve: {
            Changed: ({ sum }, { amount }) => ({ sum: sum + amount })
          }
        }),
        shared: Decision.model({ events: CounterEvent, tags: { counter }, initial: first, evolve: add })
      }),
      decide: ({ begun, shared, weighed }, { counter }) => [
        Changed.make({ counters: [counter, `of ${counter}`], amount: 1, seen: [weighed, begun.sum, shared] })
      ]
    })
    const counter = unique("a")
    const store = yield* EventStore.EventStore
    const expected: Array<ReadonlyArray<number>> = []
    yield* Effect.gen(function*() {
      for (const [n, [weight, first]] of [[1, 0], [10, 0], [1, 5], [1, 5], [3, 0], [1, 0]].entries()) {
        yield* CommandBus.dispatch(Weigh, { counter, weight: weight!, first: first! })
        expected.push([n * weight!, first! + n, first! + n])
      }
    }).pipe(Effect.provide(Decision.layer(weigh, withoutRetry)))
    const { events } = yield* store.readByQuery(
      EventQuery.make(CounterEvent, [{ tags: [Event.tag("counter", counter)] }])
    )
    equal(events.map(({ data }) => (data as typeof Changed.Type).seen), expected, "the states")
  }),

  test("decisions rest on exactly the events before them, beside processes, interruptions and repeats", function*() {
    const processes = [yield* process(), yield* process()]
    const counters = upTo(4).map((n) => unique(`c${n}`))
    const store = yield* EventStore.EventStore
    const layers = processes.map((one) => on(one, { conflictRetry: Schedule.recurs(200) }))
    const some = Effect.map(Random.shuffle(counters), (shuffled) => shuffled.slice(0, 1 + shuffled[0]!.length % 2))
    const one = Effect.fnUntraced(function*(n: number) {
      const chosen = (yield* some).slice(0, 1 + n % 3)
      const payload = { counters: chosen, amount: n, ...(n % 11 === 0 ? { refuse: true } : {}) }
      const decision = Effect.provide(
        CommandBus.dispatch(Change, payload, { commandId: unique("command") }),
        layers[n % 2]!
      )
      if (n % 13 === 0) {
        yield* store.append(CounterEvent, unique("s"), [Changed.make({ counters: chosen, amount: n, seen: [] })])
      }
      if (n % 7 !== 0) return yield* Effect.exit(decision)
      const fiber = yield* Effect.forkChild(decision)
      yield* Effect.repeat(Effect.yieldNow, { times: yield* Random.nextIntBetween(0, 60) })
      yield* Fiber.interrupt(fiber)
      return yield* Fiber.await(fiber)
    })
    const exits = yield* Effect.forEach(upTo(160), one, { concurrency: 24 })
    for (const exit of exits) {
      const error = Option.getOrUndefined(Exit.findErrorOption(exit))
      ok(error === undefined || error instanceof Odd, String(error))
      ok(!Exit.hasDies(exit), String(exit))
    }
    const { events } = yield* verify(counters)
    const written = exits.filter(Exit.isSuccess).length
    ok(events >= written, `${events} events of ${written} decisions and others`)
  })
]
