/** Commands with decision models whose stream changes between the reads, or whose log is replaced. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Result, Schema } from "effect"
import { Aggregate, Command, CommandBus, Decision, Event, EventStore } from "evsrc"
import { internals } from "../../src/core/internals.ts"

const Counted = Schema.TaggedUnion({
  Counted: { id: Schema.String },
  /** An event that is valid only if state and model are of one moment. */
  Compared: { id: Schema.String, difference: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0 })) }
}).pipe(Event.tags({ counter: "id" }))
const counted = Counted.cases.Counted.make({ id: "a" })

class Mixture extends Schema.TaggedError<Mixture>()("Mixture", { state: Schema.Int, model: Schema.Int }) {}
const Check = Command.make("Check", { payload: { id: Schema.String }, error: Mixture })
/** Its decider throws on what cannot be. */
const Assert = Command.make("Assert", { payload: { id: Schema.String } })
const Compare = Command.make("Compare", { payload: { id: Schema.String } })
const Count = Command.make("Count", { payload: { id: Schema.String } })
const CountByDecision = Command.make("CountByDecision", { payload: { id: Schema.String } })

const evolve = { Counted: (count: number) => count + 1, Compared: (count: number) => count + 1 }
const countOf = (id: string) => Decision.model({ events: Counted, tags: { counter: id }, initial: 0, evolve })

/** State and model count the same events, so they differ only if they are not of one moment. */
const Counter = Aggregate.make("Counter", {
  id: "id",
  state: Schema.Int,
  events: Counted,
  commands: [Check, Assert, Compare, Count]
}).withModels({
  Check: ({ id }) => ({ model: countOf(id) }),
  Assert: ({ id }) => ({ model: countOf(id) }),
  Compare: ({ id }) => ({ model: countOf(id) }),
  Count: ({ id }) => ({ model: countOf(id) })
}).decider({
  initial: 0,
  evolve,
  decide: {
    Check: (state, _, { model }) => state === model ? [] : Result.fail(new Mixture({ state, model })),
    Assert: (state, command, { model }) => {
      if (state !== model) throw new Error(`${state} is not ${model}`)
      return state > 20 ? [] : [Counted.cases.Counted.make(command)]
    },
    Compare: (state, { id }, { model }) => [{ _tag: "Compared", id, difference: state - model }],
    Count: (state, command, { model }) => state === model ? [Counted.cases.Counted.make(command)] : []
  }
})
const countByDecision = Decision.make(CountByDecision, {
  events: Counted,
  stream: ({ id }) => `Counter-${id}`,
  models: ({ id }) => ({ model: countOf(id) }),
  decide: (_, command) => [Counted.cases.Counted.make(command)]
})

const fresh = Effect.provide(EventStore.EventStore, Layer.fresh(EventStore.layerMemory))

/** The numbers of the reads before which another process appends. */
const interferences = [[1], [2], [3], [1, 2], [2, 3], [1, 3], [2, 4], [1, 2, 3, 4, 5]]

const interferedBefore = Effect.fnUntraced(function*(before: ReadonlyArray<number>) {
  const inner = yield* fresh
  const { driver } = inner[internals]
  yield* inner.append(Counted, "Counter-a", [counted])
  let reads = 0
  const interfere = Effect.suspend(() =>
    before.includes(++reads) ? inner.append(Counted, "Counter-a", [counted]) : Effect.void
  ).pipe(Effect.orDie)
  return yield* EventStore.make({
    ...driver,
    readStream: (page) => Effect.andThen(interfere, driver.readStream(page)),
    readByQuery: (page) => Effect.andThen(interfere, driver.readByQuery(page))
  })
})

describe("a command with decision models", () => {
  for (const load of ["verified", "fresh"] as const) {
    it.live(`rejects on a state and models of one moment (${load})`, () =>
      Effect.gen(function*() {
        // Another process appends before the reads whose numbers are listed.
        for (const before of interferences) {
          const store = yield* interferedBefore(before)
          for (const round of [1, 2]) {
            // A decider that throws on what cannot be never does.
            yield* CommandBus.dispatch(Assert, { id: "a" })
              .pipe(
                Effect.provide(Aggregate.layer(Counter, { load })),
                Effect.provideService(EventStore.EventStore, store)
              )
            const { events } = yield* CommandBus.dispatch(Check, { id: "a" })
              .pipe(
                Effect.provide(Aggregate.layer(Counter, { load })),
                Effect.provideService(EventStore.EventStore, store)
              )
            assert.deepStrictEqual(events, [], `appends before ${before}, round ${round}`)
          }
        }
      }))
  }

  for (const load of ["verified", "fresh"] as const) {
    it.live(`has no events refused that are valid on a state and models of one moment (${load})`, () =>
      Effect.gen(function*() {
        for (const before of interferences) {
          const store = yield* interferedBefore(before)
          for (const round of [1, 2]) {
            const exit = yield* Effect.exit(CommandBus.dispatch(Compare, { id: "a" })).pipe(
              Effect.provide(Aggregate.layer(Counter, { load })),
              Effect.provideService(EventStore.EventStore, store)
            )
            assert.isTrue(Exit.isSuccess(exit), `appends before ${before}, round ${round}: ${exit}`)
          }
        }
      }))
  }

  it.live("begins again when the log is replaced before its append", () =>
    Effect.gen(function*() {
      for (const command of [Count, CountByDecision]) {
        const [first, second] = [yield* fresh, yield* fresh]
        for (let n = 0; n < 3; n++) yield* first.append(Counted, "Counter-a", [counted])
        for (let n = 0; n < 5; n++) yield* second.append(Counted, "Counter-a", [counted])
        let current = first[internals].driver
        const store = yield* EventStore.make({
          ...current,
          readStream: (page) => current.readStream(page),
          readByQuery: (page) => current.readByQuery(page),
          receipt: (id) => current.receipt(id),
          append: (request) =>
            Effect.suspend(() => {
              current = second[internals].driver
              return current.append(request)
            })
        })
        const { version } = yield* CommandBus.dispatch(command, { id: "a" }).pipe(
          Effect.provide(Layer.merge(Aggregate.layer(Counter), Decision.layer(countByDecision))),
          Effect.provideService(EventStore.EventStore, store)
        )
        assert.strictEqual(Number(version), 6, command._tag)
      }
    }))
})
