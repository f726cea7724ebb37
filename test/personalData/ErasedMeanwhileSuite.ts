/**
 * The runtime suite of events that were read before an erasure and are used after it: what was erased is erased in them too.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import * as AsOf from "../../src/core/AsOf.ts"
import type { EventStoreError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Erasure from "../../src/erasure/Erasure.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventQuery from "../../src/event/EventQuery.ts"
import type { EncodedEvent } from "../../src/event/RecordedEvent.ts"
import * as EventBus from "../../src/eventStore/EventBus.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import type * as KeyStore from "../../src/personalData/KeyStore.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import * as TimeTravel from "../../src/timeTravel/TimeTravel.ts"
import { upTo } from "../support/AccountFixtures.ts"
import type { Stores } from "./PersonalDataFixtures.ts"

const Person = Schema.TaggedUnion({
  Moved: { person: Schema.String, n: Schema.Int, name: PersonalData.field(Schema.String, { subject: "person" }) },
  Rested: { person: Schema.String, n: Schema.Int }
}).pipe(Event.tags({ person: "person" }))
const { Moved, Rested } = Person.cases
type Person = typeof Person.Type

const name = "Ann Archer"

/** Appends so many events of a person; every third one has no personal data. */
const append = Effect.fnUntraced(function*(person: string, events: number) {
  const store = yield* EventStore.EventStore
  return yield* store.append(Person, person, batchOf(person, events))
})

const batchOf = (person: string, events: number) =>
  upTo(events).map((n) => n % 3 === 0 ? Rested.make({ person, n }) : Moved.make({ person, n, name }))

/** Does the same to the stream of the aggregate `Looked`. */
const appendLooked = Effect.fnUntraced(function*(person: string, events: number) {
  const store = yield* EventStore.EventStore
  return yield* store.append(Person, `Looked-${person}`, batchOf(person, events))
})

/** What a reader has received of each event. */
const shown = (event: Person) =>
  event._tag === "Rested" ? "none" : PersonalData.isErased(event.name) ? "erased" : event.name

const expected = (events: number, before: number) =>
  upTo(events).map((n) => n % 3 === 0 ? "none" : n <= before ? name : "erased")

class TooEarly extends Schema.TaggedError<TooEarly>()("TooEarly", {}) {}

/** A handler that fails on the first event until its person was erased, and keeps what it then receives. */
const makeHandler = Effect.sync(() => {
  const received: Array<string> = []
  const [begun, done] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
  let isErased = false
  return {
    received,
    begun,
    done,
    erased: () => {
      isErased = true
    },
    handle: (event: Person, last: number) =>
      Effect.suspend(() => {
        begun.openUnsafe()
        if (!isErased) return Effect.fail(new TooEarly())
        received.push(shown(event))
        if (event.n === last) done.openUnsafe()
        return Effect.void
      })
  }
})

const retry = Schedule.spaced("20 millis")

/** More than a batch, so that some of them are read in advance. */
const handled = 25

const byHandler = (
  what: string,
  layerOf: (
    where: { readonly tags: readonly [`person:${string}`] },
    handle: (event: Person) => Effect.Effect<void, TooEarly>
  ) => Layer.Layer<never, EventStoreError, EventStore.EventStore | ProjectionStore.ProjectionStore>
): Case<Stores> =>
  test(`a handler of ${what} receives nothing that was erased while its event waited`, function*() {
    const person = unique("p")
    yield* append(person, handled)
    const { begun, done, erased, handle, received } = yield* makeHandler
    yield* Effect.gen(function*() {
      yield* begun.await
      yield* Erasure.erase(person)
      erased()
      yield* done.await
    }).pipe(
      Effect.timeout("1 minute"),
      Effect.provide(layerOf({ tags: [Event.tag("person", person)] }, (event) => handle(event, handled)))
    )
    equal(received, expected(handled, 0), "what the handler has received")
  })

/** Erases the person when the first of the events has arrived, and returns what arrives. */
const byReader = <A, E>(
  what: string,
  read: (store: EventStore.EventStore["Service"], person: string) => Stream.Stream<A, E, EventStore.EventStore>,
  show: (one: A) => string
): Case<Stores> =>
  test(`${what} delivers nothing that was erased since its page was read`, function*() {
    const person = unique("p")
    yield* append(person, 10)
    const store = yield* EventStore.EventStore
    const arrived = yield* read(store, person).pipe(
      Stream.take(10),
      Stream.runFoldEffect(
        (): Array<string> => [],
        (all, one) =>
          Effect.gen(function*() {
            all.push(show(one))
            if (all.length === 1) yield* Erasure.erase(person)
            return all
          })
      ),
      Effect.timeout("1 minute")
    )
    equal(arrived, expected(10, 1), "what has arrived")
  })

type Appending = ReturnType<typeof Projector.layerInline<never>>

/** What an inline projection sees of the events, given the layer of one that passes each to a function. */
const inline = (
  what: string,
  layerOf: (name: string, receive: (event: Person) => void) => Appending
): Case<Stores> =>
  test(`${what} see nothing that was erased while their append waited`, function*() {
    const person = unique("p")
    const { [internals]: { driver } } = yield* EventStore.EventStore
    const [sent, erased] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    const waiting = EventStore.make({
      ...driver,
      append: (request) => Effect.andThen(Effect.andThen(sent.open, erased.await), driver.append(request))
    })
    const received: Array<string> = []
    const name = unique("inline")
    yield* Effect.gen(function*() {
      const appending = yield* Effect.forkChild(append(person, 3))
      yield* sent.await
      yield* Erasure.erase(person)
      yield* erased.open
      yield* Fiber.join(appending)
      equal(new Set(received), new Set(["erased", "none"]), "what the projection has seen")
      yield* Projector.retireInline(`${name}@1`)
    }).pipe(
      Effect.timeout("1 minute"),
      Effect.provide(
        Layer.provide(
          layerOf(name, (event) => received.push(shown(event))),
          Layer.effect(EventStore.EventStore, waiting)
        )
      )
    )
  })

const Look = Command.make("Look", { payload: { person: Schema.String } })

const namesOf = (person: string) =>
  Decision.model({
    events: Person,
    tags: { person },
    initial: [] as ReadonlyArray<string>,
    evolve: { Moved: (names, event) => [...names, shown(event)], Rested: (names) => names }
  })

const Looked = Aggregate.make("Looked", {
  id: "person",
  state: Schema.Array(Schema.String),
  events: Person,
  commands: [Look]
})

const looked = {
  initial: [],
  evolve: {
    Moved: (names: ReadonlyArray<string>, event: Person) => [...names, shown(event)],
    Rested: (names: ReadonlyArray<string>) => names
  }
}

/** Commands that are decided on all names of a person; `see` receives them. */
const looking = {
  aggregate: (see: (names: ReadonlyArray<string>) => void) =>
    Aggregate.layer(Looked.decider({
      ...looked,
      decide: {
        Look: (names, { person }) => {
          see(names)
          return [Rested.make({ person, n: 0 })]
        }
      }
    })),
  models: (see: (names: ReadonlyArray<string>) => void) =>
    Aggregate.layer(
      Looked.withModels({ Look: ({ person }) => ({ names: namesOf(person) }) }).decider({
        ...looked,
        decide: {
          Look: (_, { person }, { names }) => {
            see(names)
            return [Rested.make({ person, n: 0 })]
          }
        }
      })
    ),
  decision: (see: (names: ReadonlyArray<string>) => void) =>
    Decision.layer(
      Decision.make(Look, {
        events: Person,
        models: ({ person }) => ({ names: namesOf(person) }),
        decide: ({ names }, { person }) => {
          see(names)
          return [Rested.make({ person, n: 0 })]
        }
      })
    )
}

/** What a command sees whose person is erased in the middle: while its state is read, or before its append, which then conflicts. */
const decided = (kind: keyof typeof looking, erasedIn: "read" | "append"): Case<Stores> =>
  test(
    `a command of ${
      { aggregate: "an aggregate", models: "an aggregate with models", decision: "a decision" }[kind]
    } sees nothing that was erased ${erasedIn === "read" ? "during its read" : "before it was decided again"}`,
    function*() {
      const person = unique("p")
      const stream = `Looked-${person}`
      const { append, [internals]: { driver } } = yield* EventStore.EventStore
      const named = append(Person, stream, [Moved.make({ person, n: 1, name })])
      yield* named
      let erases = true
      const erase = Effect.suspend(() => {
        if (!erases) return Effect.void
        erases = false
        return Effect.andThen(erasedIn === "append" ? named : Effect.void, Erasure.erase(person))
      }).pipe(Effect.orDie)
      const afterRead = <A, E>(read: Effect.Effect<A, E>) =>
        erasedIn === "read" ? Effect.tap(read, () => Effect.provide(erase, context)) : read
      const context = yield* Effect.context<Effect.Services<typeof erase>>()
      const erasing = EventStore.make({
        ...driver,
        // The models are read before the state.
        readByQuery: (page) => kind === "models" ? driver.readByQuery(page) : afterRead(driver.readByQuery(page)),
        readStream: (page) => afterRead(driver.readStream(page)),
        append: (request) =>
          erasedIn === "append"
            ? Effect.andThen(Effect.provide(erase, context), driver.append(request))
            : driver.append(request)
      })
      const seen: Array<ReadonlyArray<string>> = []
      yield* CommandBus.dispatch(Look, { person }).pipe(
        Effect.timeout("1 minute"),
        Effect.provide(
          Layer.provide(looking[kind]((names) => seen.push(names)), Layer.effect(EventStore.EventStore, erasing))
        )
      )
      equal(seen, erasedIn === "read" ? [["erased"]] : [[name], ["erased", "erased"]], "the names")
    }
  )

/** Erases the person when the first page of a read has arrived from the store; the read then returns nothing of it. */
const byResult = <A>(
  what: string,
  read: (
    store: EventStore.EventStore["Service"],
    person: string
  ) => Effect.Effect<A, unknown, EventStore.EventStore | ProjectionStore.ProjectionStore>,
  show: (found: A) => string
): Case<Stores> =>
  test(`${what} returns nothing that was erased during the read`, function*() {
    const person = unique("p")
    yield* append(person, 1)
    yield* appendLooked(person, 1)
    const { [internals]: { driver } } = yield* EventStore.EventStore
    const context = yield* Effect.context<EventStore.EventStore | ProjectionStore.ProjectionStore | KeyStore.KeyStore>()
    let erases = true
    const erase = Effect.suspend(() => {
      if (!erases) return Effect.void
      erases = false
      return Effect.asVoid(Effect.provideContext(Effect.orDie(Erasure.erase(person)), context))
    })
    const store = yield* EventStore.make({
      ...driver,
      readByQuery: (page) => Effect.tap(driver.readByQuery(page), () => erase),
      readStream: (page) => Effect.tap(driver.readStream(page), () => erase)
    })
    const found = yield* read(store, person).pipe(
      Effect.provideService(EventStore.EventStore, store),
      Effect.timeout("1 minute")
    )
    equal([show(found), erases], ["erased", false], "what was found")
  })

const Names = Projection.make("names-of-persons", {
  events: Person,
  lifecycle: "live",
  document: Schema.Array(Schema.String),
  key: (event) => event.person,
  find: (person) => [{ tags: [Event.tag("person", person)] }],
  evolve: { Moved: (names = [], event) => [...names, shown(event)], Rested: (names = []) => names }
})

const lookedDecider = Looked.decider({
  ...looked,
  decide: { Look: (_, { person }) => [Rested.make({ person, n: 0 })] }
})
const lookedDecision = Decision.make(Look, {
  events: Person,
  models: ({ person }) => ({ names: namesOf(person) }),
  decide: (_, { person }) => [Rested.make({ person, n: 0 })]
})

/** What a step of a history shows: its event, unless the names so far have one that is not erased. */
const ofStep = (names: ReadonlyArray<string>, [event]: ReadonlyArray<Person>) =>
  names.includes(name) ? name : shown(event!)

const ofEncoded = ({ data, decrypted }: EncodedEvent) => {
  const text = JSON.stringify([data, decrypted])
  return text.includes(name) ? name : text.includes("Erased") ? "erased" : "none"
}

const distinct = (names: ReadonlyArray<string>) => Array.from(new Set(names)).join()

const where = (person: string) => ({ tags: [Event.tag("person", person)] as const })

/**
 * The cases of events that wait while a person is erased.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores>> = [
  byHandler("a subscription", (where, handle) =>
    Subscription.layer([
      Subscription.make(unique("mail"), {
        events: Person,
        where,
        retry,
        parks: ["TooEarly"],
        handle: { Moved: handle, Rested: handle }
      })
    ])),
  byHandler("a projection", (where, handle) =>
    Projector.layer([
      Projection.handler(unique("rows"), {
        events: Person,
        where,
        retry,
        parks: ["TooEarly"],
        handle: { Moved: handle, Rested: handle }
      })
    ])),

  test("documents derive nothing that was erased while their events waited", function*() {
    const person = unique("p")
    yield* append(person, 25)
    const projection = Projection.make(unique("initials"), {
      events: Person,
      where: where(person),
      document: Schema.Struct({ initials: Schema.Array(Schema.String) }),
      key: (event) => event.person,
      evolve: {
        Moved: ({ initials } = { initials: [] }, { name }) => ({
          initials: [...initials, PersonalData.isErased(name) ? "erased" : name.slice(0, 1)]
        }),
        Rested: (before) => before
      }
    })
    const { [internals]: { driver: log } } = yield* EventStore.EventStore
    const { [internals]: { driver } } = yield* ProjectionStore.ProjectionStore
    const [ahead, erased] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    let reads = 0
    // The first page waits to be folded, and the second is read in advance.
    const store = ProjectionStore.make({
      ...driver,
      load: (generation, keys) =>
        Effect.andThen(generation.startsWith(projection.id) ? erased.await : Effect.void, driver.load(generation, keys))
    })
    const events = EventStore.make({
      ...log,
      readAll: (page) =>
        Effect.tap(log.readAll(page), () =>
          Effect.sync(() => {
            if (++reads === 2) ahead.openUnsafe()
          }))
    })
    yield* Effect.gen(function*() {
      yield* ahead.await
      yield* Erasure.erase(person)
      yield* erased.open
      const { awaitPosition } = yield* ProjectionStore.ProjectionStore
      const end = yield* (yield* EventStore.EventStore).head
      yield* awaitPosition(projection, end, "1 minute")
      const { initials } = Option.getOrThrow(yield* ProjectionStore.get(projection, person))
      equal(new Set(initials.slice(-5)), new Set(["erased"]), "what the last events have left")
    }).pipe(
      Effect.timeout("1 minute"),
      Effect.provide(
        Projector.layer([projection], { batchSize: 10 }).pipe(
          Layer.provideMerge(Layer.mergeAll(
            Layer.effect(EventStore.EventStore, events),
            Layer.effect(ProjectionStore.ProjectionStore, store)
          ))
        )
      )
    )
  }),

  inline("inline handlers", (name, receive) => {
    const handle = (event: Person) => Effect.sync(() => receive(event))
    return Projector.layerInline([
      Projection.handler(name, { events: Person, lifecycle: "inline", handle: { Moved: handle, Rested: handle } })
    ])
  }),
  inline("inline documents", (name, receive) => {
    const evolve = (events: number | undefined, event: Person) => {
      receive(event)
      return (events ?? 0) + 1
    }
    return Projector.layerInline([
      Projection.make(name, {
        events: Person,
        lifecycle: "inline",
        document: Schema.Int,
        key: (event) => event.person,
        evolve: { Moved: evolve, Rested: evolve }
      })
    ])
  }),

  byResult(
    "EventStore.readByQuery",
    (store, person) => store.readByQuery(EventQuery.make(Person, [where(person)])),
    ({ events: [event] }) => ofEncoded(event!)
  ),
  byResult(
    "a read of a live projection",
    (_, person) => ProjectionStore.get(Names, person),
    (found) => distinct(Option.getOrThrow(found))
  ),
  byResult(
    "a watch of a live projection",
    (_, person) => Stream.runHead(Stream.filter(ProjectionStore.watch(Names, person), Option.isSome)),
    (found) => distinct(Option.getOrThrow(Option.flatten(found)))
  ),
  decided("aggregate", "read"),
  decided("aggregate", "append"),
  decided("models", "read"),
  decided("models", "append"),
  decided("decision", "read"),
  decided("decision", "append"),

  byReader("EventStore.readStream", (store, person) => store.readStream(Person, person), ({ event }) => shown(event)),
  byReader(
    "EventStore.readAll",
    (store, person) => store.readAll(Person, { where: where(person) }),
    ({ event }) => shown(event)
  ),
  byReader(
    "EventStore.subscribe",
    (store, person) => store.subscribe(Person, { where: where(person) }),
    ({ event }) => shown(event)
  ),
  byReader(
    "EventStore.subscribeEncoded",
    (store, person) => store.subscribeEncoded({ where: where(person) }),
    ofEncoded
  ),

  byReader(
    "TimeTravel.history",
    (_, person) =>
      Stream.unwrap(Effect.as(Effect.orDie(appendLooked(person, 10)), TimeTravel.history(lookedDecider, person))),
    ({ events, state }) => ofStep(state, events)
  ),
  byReader(
    "TimeTravel.documentHistory",
    (_, person) => TimeTravel.documentHistory(Names, person),
    ({ document, events }) => ofStep(Option.getOrThrow(document), events)
  ),
  byReader(
    "`events` of TimeTravel.document",
    (_, person) => Stream.unwrap(Effect.map(TimeTravel.document(Names, person, AsOf.now), ({ events }) => events)),
    ({ event }) => shown(event)
  ),
  byResult(
    "TimeTravel.aggregate",
    (_, person) => TimeTravel.aggregate(lookedDecider, person, AsOf.now),
    ({ state }) => state.join()
  ),
  byResult(
    "TimeTravel.document",
    (_, person) => TimeTravel.document(Names, person, AsOf.now),
    ({ document }) => distinct(Option.getOrThrow(document))
  ),
  byResult(
    "TimeTravel.decision",
    (_, person) => TimeTravel.decision(lookedDecision, { person }, AsOf.now),
    ({ events, states }) => distinct([...states.names, ...events.names.map(({ event }) => shown(event))])
  ),
  byResult(
    "TimeTravel.whatIf",
    (_, person) => TimeTravel.whatIf(lookedDecider, Look, { person }, AsOf.now),
    ({ before }) => before.join()
  ),
  byResult(
    "TimeTravel.whatIfDecided",
    (_, person) => TimeTravel.whatIfDecided(lookedDecision, { person }, AsOf.now),
    ({ before }) => distinct(before.states.names)
  ),
  byResult(
    "TimeTravel.aggregateDiff",
    (_, person) => TimeTravel.aggregateDiff(lookedDecider, person, { from: AsOf.version(0), to: AsOf.now }),
    ({ changes }) => JSON.stringify(changes).includes(name) ? name : "erased"
  ),
  byResult(
    "TimeTravel.documentDiff",
    (_, person) => TimeTravel.documentDiff(Names, person, { from: AsOf.position(Position.start), to: AsOf.now }),
    ({ changes }) => JSON.stringify(changes).includes(name) ? name : "erased"
  ),

  test("the event bus delivers nothing that was erased since it was published", function*() {
    const person = unique("p")
    yield* Effect.gen(function*() {
      const events = yield* EventBus.listen(Person)
      yield* append(person, 10)
      const arrived = yield* Stream.filter(events, ({ event }) => event.person === person).pipe(
        Stream.take(10),
        Stream.runFoldEffect(
          (): Array<string> => [],
          (all, { event }) =>
            Effect.gen(function*() {
              all.push(shown(event))
              if (all.length === 1) yield* Erasure.erase(person)
              return all
            })
        ),
        Effect.timeout("1 minute")
      )
      equal(arrived, expected(10, 1), "what has arrived")
    }).pipe(Effect.scoped, Effect.provide(Layer.fresh(EventBus.layer())))
  })
]
