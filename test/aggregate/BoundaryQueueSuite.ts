/**
 * The suite of commands with decision models that arrive together, beside commands without models and decisions, which every back end passes.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
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

/** An amount is added to a tally and to groups. `seen` are the states on which that was decided: of the tally, if any, and of the groups. */
const TallyEvent = Schema.TaggedUnion({
  Added: {
    tally: Schema.String,
    groups: Schema.Array(Schema.String),
    amount: Schema.Int,
    seen: Schema.Array(Schema.Int)
  }
}).pipe(Event.tags({ tally: "tally", group: "groups" }))
const { Added } = TallyEvent.cases

/** A fold whose result depends on every event and on their order. */
const next = (state: number, amount: number): number => (state * 31 + amount + 7) % 1_000_003

const evolve = { Added: (state: number, { amount }: typeof Added.Type) => next(state, amount) }
const groupOf = (group: string) => Decision.model({ events: TallyEvent, tags: { group }, initial: 1, evolve })
const groupsOf = ({ groups }: { readonly groups: ReadonlyArray<string> }) =>
  Object.fromEntries(groups.map((group) => [group, groupOf(group)]))

class Refused extends Schema.TaggedError<Refused>()("Refused", { seen: Schema.Array(Schema.Int) }) {}

const payload = { tally: Schema.String, groups: Schema.Array(Schema.String), amount: Schema.Int }
/** An amount of 0 is refused, and a negative one dies. */
const Add = Command.make("AddToTally", { payload, error: Refused })
const AddAlone = Command.make("AddAlone", { payload })
const AddByDecision = Command.make("AddByDecision", { payload, error: Refused })

const decide = (seen: ReadonlyArray<number>, command: typeof Add.payloadSchema.Type) => {
  if (command.amount < 0) throw new Error("broken")
  return command.amount === 0 ? Result.fail(new Refused({ seen })) : [Added.make({ ...command, seen })]
}

const Tally = Aggregate.make("Tally", {
  id: "tally",
  state: Schema.Int,
  events: TallyEvent,
  commands: [Add, AddAlone]
}).withModels({ AddToTally: groupsOf }).decider({
  initial: 1,
  evolve,
  decide: {
    AddToTally: (state, command, models) => decide([state, ...command.groups.map((group) => models[group]!)], command),
    AddAlone: (state, command) => [Added.make({ ...command, seen: [state] })]
  }
})
const addByDecision = Decision.make(AddByDecision, {
  events: TallyEvent,
  models: groupsOf,
  decide: (models, command) => decide(command.groups.map((group) => models[group]!), command)
})

const withoutRetry = { conflictRetry: Schedule.recurs(0) }
export const handlers = (options: Aggregate.AggregateOptions) =>
  Layer.merge(Aggregate.layer(Tally, options), Decision.layer(addByDecision, options))
const once = handlers(withoutRetry)

export const added = (tally: string, groups: ReadonlyArray<string>, amount = 1, commandId?: string) =>
  CommandBus.dispatch(Add, { tally, groups, amount }, commandId === undefined ? {} : { commandId })

/** Another process: a store on the same log, which caches for itself. It counts the calls of the driver. */
const process = Effect.fnUntraced(function*(change: (driver: EventStoreDriver) => EventStoreDriver = (same) => same) {
  const driver = change((yield* EventStore.EventStore)[internals].driver)
  const calls = { reads: 0, appends: 0 }
  const store = yield* EventStore.make({
    ...driver,
    append: (request) => {
      calls.appends++
      return driver.append(request)
    },
    readByQuery: (page) => {
      calls.reads++
      return driver.readByQuery(page)
    },
    readStream: (page) => {
      calls.reads++
      return driver.readStream(page)
    }
  })
  return { calls, layer: Layer.succeed(EventStore.EventStore, store) }
})

interface States {
  readonly tallies: ReadonlyMap<string, number>
  readonly groups: ReadonlyMap<string, number>
}

/** Fails unless every event was decided on exactly the events before it. Returns the states after each event. */
export const verify = Effect.fnUntraced(function*(groups: ReadonlyArray<string>, tallies: ReadonlyArray<string> = []) {
  const store = yield* EventStore.EventStore
  const { events } = yield* store.readByQuery(
    EventQuery.make(TallyEvent, [
      ...groups.map((group) => ({ tags: [Event.tag("group", group)] })),
      ...tallies.map((tally) => ({ tags: [Event.tag("tally", tally)] }))
    ])
  )
  const history: Array<States> = [{ tallies: new Map(), groups: new Map() }]
  for (const { data, position, stream } of events) {
    const { amount, groups, seen, tally } = data as typeof Added.Type
    const before = history.at(-1)!
    const ofTally = stream.startsWith("Tally-") ? [before.tallies.get(tally) ?? 1] : []
    const all = [...ofTally, ...groups.map((group) => before.groups.get(group) ?? 1)]
    equal(seen, all.slice(0, seen.length), `the states of ${[tally, ...groups].join()} at position ${position}`)
    history.push({
      tallies: ofTally.length === 0
        ? before.tallies
        : new Map([...before.tallies, [tally, next(ofTally[0]!, amount)]]),
      groups: new Map([
        ...before.groups,
        ...groups.map((group) => [group, next(before.groups.get(group) ?? 1, amount)] as const)
      ])
    })
  }
  return { events: events.length, history }
})

/**
 * Fails unless each of the refused states was the state after some event. Events of different tags may be committed in another order than that of their
 * positions, so states of one moment need not be those before one position; test/aggregate/boundary.test.ts compares their moments.
 */
const verifyRefused = (
  history: ReadonlyArray<States>,
  tally: string | undefined,
  groups: ReadonlyArray<string>,
  seen: ReadonlyArray<number>
) => {
  const stateOf = [
    ...(tally === undefined ? [] : [({ tallies }: States) => tallies.get(tally) ?? 1]),
    ...groups.map((group) => ({ groups }: States) => groups.get(group) ?? 1)
  ]
  for (const [index, of] of stateOf.entries()) {
    ok(
      history.some((states) => of(states) === seen[index]),
      `${seen.join()} of ${[tally, ...groups].join()} were states`
    )
  }
}

const errorOf = (exit: Exit.Exit<unknown, unknown>) => Option.getOrUndefined(Exit.findErrorOption(exit))

/** Sends commands of all kinds at once. Returns what was refused. */
export const race = Effect.fnUntraced(
  function*(tallies: ReadonlyArray<string>, groups: ReadonlyArray<string>, racers: number) {
    const one = <A>(values: ReadonlyArray<A>) =>
      Effect.map(Random.nextIntBetween(0, values.length - 1), (index) => values[index]!)
    const outcomes = yield* Effect.forEach(upTo(racers), (n) =>
      Effect.gen(function*() {
        const kind = yield* Random.nextIntBetween(0, 9)
        const some = Array.from(new Set([yield* one(groups), yield* one(groups)]))
        const command = { tally: yield* one(tallies), groups: some, amount: kind === 0 ? 0 : n }
        const exit = yield* Effect.exit<
          unknown,
          unknown,
          Command.HandlerOf<typeof Add | typeof AddAlone | typeof AddByDecision>
        >(
          kind < 5
            ? CommandBus.dispatch(Add, command)
            : kind < 7
            ? CommandBus.dispatch(AddAlone, command)
            : CommandBus.dispatch(AddByDecision, kind === 9 ? { ...command, amount: 0 } : command)
        )
        const error = errorOf(exit)
        ok(Exit.isSuccess(exit) || error instanceof Refused, `${kind}: ${String(exit)}`)
        return error instanceof Refused ? [{ tally: kind < 5 ? command.tally : undefined, some, seen: error.seen }] : []
      }), { concurrency: "unbounded" })
    return outcomes.flat()
  }
)

export const verifyRace = Effect.fnUntraced(function*(
  tallies: ReadonlyArray<string>,
  groups: ReadonlyArray<string>,
  refused: Effect.Success<ReturnType<typeof race>>
) {
  const { events, history } = yield* verify(groups, tallies)
  for (const { seen, some, tally } of refused) verifyRefused(history, tally, some, seen)
  return events
})

/** Theatres: a show has seats, and a guest reserves two at most, in all shows. */
const SeatEvent = Schema.TaggedUnion({
  SeatTaken: { show: Schema.String, guest: Schema.String }
}).pipe(Event.tags({ guest: "guest" }))
class SoldOut extends Schema.TaggedError<SoldOut>()("SoldOut", {}) {}
class TooMany extends Schema.TaggedError<TooMany>()("TooMany", {}) {}
const Take = Command.make("TakeSeat", {
  payload: { show: Schema.String, guest: Schema.String },
  error: Schema.Union([SoldOut, TooMany])
})
const seats = 20
const Show = Aggregate.make("BoundedShow", {
  id: "show",
  state: Schema.Int,
  events: SeatEvent,
  commands: [Take]
}).withModels({
  TakeSeat: ({ guest }) => ({
    taken: Decision.model({
      events: SeatEvent,
      tags: { guest },
      initial: 0,
      evolve: { SeatTaken: (count) => count + 1 }
    })
  })
}).decider({
  initial: 0,
  evolve: { SeatTaken: (count) => count + 1 },
  decide: {
    TakeSeat: (count, command, { taken }) =>
      count >= seats ? Result.fail(new SoldOut()) : taken >= 2
        ? Result.fail(new TooMany())
        : [SeatEvent.cases.SeatTaken.make(command)]
  }
})
const shows = Aggregate.layer(Show, withoutRetry)

const countOf = (exits: ReadonlyArray<Exit.Exit<unknown, unknown>>) => ({
  taken: exits.filter(Exit.isSuccess).length,
  soldOut: exits.filter((exit) => errorOf(exit) instanceof SoldOut).length,
  tooMany: exits.filter((exit) => errorOf(exit) instanceof TooMany).length
})

/**
 * Many commands with models at a time.
 *
 * @since 0.1.0
 * @category suites
 */
export const boundaryQueues: ReadonlyArray<Case<EventStore.EventStore>> = [
  test("32 commands with models on one instance succeed without a conflict", function*() {
    const show = unique("show")
    const exits = yield* Effect.provide(
      Effect.forEach(
        upTo(32),
        (n) => Effect.exit(CommandBus.dispatch(Take, { show, guest: `${show}-${n}` })),
        { concurrency: "unbounded" }
      ),
      shows
    )
    equal(countOf(exits), { taken: seats, soldOut: 32 - seats, tooMany: 0 }, "the outcomes")
  }),

  test("32 commands with models on one tag, each on its own instance, keep its rule", function*() {
    const guest = unique("guest")
    const exits = yield* Effect.provide(
      Effect.forEach(
        upTo(32),
        (n) => Effect.exit(CommandBus.dispatch(Take, { show: `${guest}-${n}`, guest })),
        { concurrency: "unbounded" }
      ),
      shows
    )
    equal(countOf(exits), { taken: 2, soldOut: 0, tooMany: 30 }, "the outcomes")
  }),

  test("a command with models on a known instance and known tags takes one call of the store", function*() {
    const own = yield* process()
    const [tally, a, b] = [unique("t"), unique("a"), unique("b")]
    const callsOf = Effect.fnUntraced(function*(groups: ReadonlyArray<string>) {
      Object.assign(own.calls, { reads: 0, appends: 0 })
      yield* added(tally, groups)
      return [own.calls.reads, own.calls.appends]
    })
    yield* Effect.gen(function*() {
      equal(yield* callsOf([a]), [2, 1], "an unknown instance and a new tag")
      equal(yield* callsOf([a]), [0, 1], "both are known")
      equal(yield* callsOf([a, b]), [1, 1], "a new tag")
      equal(yield* callsOf([b]), [0, 1], "known again")
    }).pipe(Effect.provide(Layer.provide(once, own.layer)))
    equal((yield* verify([a, b])).events, 4, "events")
  }),

  test("16 racers of all kinds on shared instances and tags do not fail, beside each other in a statement", function*() {
    for (let round = 0; round < 12; round++) {
      const tallies = upTo(1 + round % 3).map((n) => unique(`t${n}`))
      const groups = upTo(1 + round % 4).map((n) => unique(`g${n}`))
      const refused = yield* Effect.provide(race(tallies, groups, 16), once)
      yield* verifyRace(tallies, groups, refused)
    }
  }),

  test("racers of two processes are each decided on all events before them, and none fails", function*() {
    const layers = [yield* process(), yield* process()].map(({ layer }) => Layer.provide(handlers({}), layer))
    for (let round = 0; round < 4; round++) {
      const tallies = upTo(1 + round % 2).map((n) => unique(`t${n}`))
      const groups = upTo(1 + round % 3).map((n) => unique(`g${n}`))
      const refused = yield* Effect.forEach(
        layers,
        (layer) => Effect.provide(race(tallies, groups, 16), layer),
        { concurrency: "unbounded" }
      )
      yield* verifyRace(tallies, groups, refused.flat())
    }
  }),

  test("write skew is impossible for commands that read each other's tags", function*() {
    for (let round = 0; round < 6; round++) {
      const [a, b] = [unique("a"), unique("b")]
      yield* Effect.provide(
        Effect.forEach(
          upTo(16),
          // Each reads two tags and writes one instance, so that only the condition on the models keeps them apart.
          (n) => added(`${a}-${n}`, n % 2 === 0 ? [a, b] : [b, a], n),
          { concurrency: "unbounded" }
        ),
        once
      )
      equal((yield* verify([a, b])).events, 16, "events")
    }
  }),

  test("a command with models that is interrupted, refused, or throws harms no other", function*() {
    const [tally, group] = [unique("t"), unique("g")]
    const exits = yield* Effect.provide(
      Effect.gen(function*() {
        const fibers = yield* Effect.forEach(
          upTo(30),
          (n) =>
            Effect.forkChild(added(tally, [group], n % 5 === 0 ? 0 : n % 7 === 0 ? -1 : n), { startImmediately: true })
        )
        for (const [index, fiber] of fibers.entries()) {
          if (index % 6 === 2) yield* Effect.forkChild(Fiber.interrupt(fiber))
        }
        return yield* Effect.forEach(fibers, (fiber) => Fiber.await(fiber))
      }),
      once
    )
    const { events, history } = yield* verify([group])
    const written = exits.filter(Exit.isSuccess).length
    ok(events >= written && written >= 12, `${written} are answered, ${events} are written`)
    for (const exit of exits) {
      const error = errorOf(exit)
      if (error instanceof Refused) verifyRefused(history, tally, [group], error.seen)
      else ok(Exit.isSuccess(exit) || Exit.hasInterrupts(exit) || Exit.hasDies(exit), String(exit))
    }
  }),

  test("a command id that comes again among commands with models returns its first receipt", function*() {
    const [tally, group, commandId] = [unique("t"), unique("g"), unique("command")]
    yield* Effect.gen(function*() {
      const first = yield* added(tally, [group], 1, commandId)
      const receipts = yield* Effect.forEach(
        upTo(12),
        (n) => added(tally, [group], n % 4 === 0 ? 1 : n, n % 4 === 0 ? commandId : undefined),
        { concurrency: "unbounded" }
      )
      for (const [index, receipt] of receipts.entries()) {
        if (index % 4 === 3) equal(receipt.events, first.events, "the first receipt")
      }
      equal((yield* verify([group])).events, 10, "events")
    }).pipe(Effect.provide(once))
  }),

  test("commands with models beyond maxWaiting of a tag fail with an error that names Aggregate.layer", function*() {
    const gate = yield* Latch.make(false)
    const held = yield* process((driver) => ({
      ...driver,
      append: (request) => Effect.andThen(gate.await, driver.append(request))
    }))
    const group = unique("g")
    const layer = Layer.provide(handlers({ ...withoutRetry, maxWaiting: 3 }), held.layer)
    yield* Effect.provide(
      Effect.gen(function*() {
        const fibers = yield* Effect.forEach(
          upTo(4),
          (n) => Effect.forkChild(added(`${group}-${n}`, [group]), { startImmediately: true })
        )
        const error = errorOf(yield* Fiber.await(fibers[3]!))
        ok(String(error).includes("raise maxWaiting of Aggregate.layer"), String(error))
        yield* gate.open
        for (const fiber of fibers.slice(0, 3)) yield* Fiber.join(fiber)
      }),
      layer
    )
    equal((yield* verify([group])).events, 3, "events")
  })
]
