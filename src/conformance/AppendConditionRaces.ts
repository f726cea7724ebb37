/**
 * Concurrent decisions with append conditions, with barriers at different points, and the check of their outcomes.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Schema from "effect/Schema"
import type { ConcurrencyConflict, EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { Position } from "../core/Position.ts"
import type { Receipt } from "../core/Receipt.ts"
import { StreamId } from "../core/StreamId.ts"
import * as Event from "../event/Event.ts"
import { type EventQuery, matches, ofStoredTypes, type QueryItem } from "../event/EventQuery.ts"
import type { NewEvent } from "../event/RecordedEvent.ts"
import type { AppendCondition } from "../eventStore/driver/EventStoreDriver.ts"
import { type AppendError, EventStore } from "../eventStore/EventStore.ts"
import { storedEvent, upTo } from "./EventStoreFixtures.ts"
import { type Case, equal, test, unique } from "./Suite.ts"

/** Events that carry the tags of a show and of a person. */
export const SeatEvent = Schema.TaggedUnion({
  SeatTaken: { show: Schema.String, person: Schema.String, extra: Schema.optionalKey(Schema.Array(Schema.String)) },
  ShowCancelled: { show: Schema.String }
}).pipe(Event.tags({ show: "show", person: "person", extra: "extra" }))
export const seat = (show: string, person: string, extra: ReadonlyArray<string> = []) =>
  SeatEvent.cases.SeatTaken.make({ show, person, extra })

export const showTag = (show: string) => Event.tag("show", show)
const personTag = (person: string) => Event.tag("person", person)
export const seatsOf = (show: string): QueryItem => ({ types: ["SeatTaken"], tags: [showTag(show)] })

/**
 * The point at which the racers of a round wait for each other: before all reads, between the reads of one half and the appends of the other, or
 * after all reads.
 *
 * @since 0.1.0
 * @category models
 */
export type Barrier = "before" | "during" | "after"

const barriers: ReadonlyArray<Barrier> = ["before", "during", "after"]

/**
 * One decision of a round: its query, and its append under the condition that no new event matches. Without a query it appends without a
 * condition.
 *
 * @since 0.1.0
 * @category models
 */
export interface Racer {
  readonly query: EventQuery | undefined
  readonly append: (condition: AppendCondition | undefined) => Effect.Effect<Receipt, AppendError, EventStore>
}

/**
 * The racers of one round. `all` is a query for every event that they write. `slots` is the number of racers with a query that can win. With one
 * slot, a racer whose query has a match does not append.
 *
 * @since 0.1.0
 * @category models
 */
export interface Race {
  readonly show: string
  readonly all: EventQuery
  readonly barrier: Barrier
  readonly slots: 1 | "any" | "all"
  readonly racers: ReadonlyArray<Racer>
}

/**
 * The result of a racer's read.
 *
 * @since 0.1.0
 * @category models
 */
export interface Looked {
  readonly condition: AppendCondition | undefined
  readonly saw: ReadonlyArray<Position>
}

/**
 * The outcome of a racer: the position of its event and the matches that it had read, or the reason why it wrote nothing.
 *
 * @since 0.1.0
 * @category models
 */
export const Outcome = Schema.TaggedUnion({
  Taken: { position: Position, saw: Schema.Array(Position) },
  Full: {},
  Changed: {}
})

/**
 * @since 0.1.0
 * @category models
 */
export type Outcome = typeof Outcome.Type

const racerCount = 16

export const racer = <E extends Event.Any>(query: EventQuery | undefined, events: E, event: Event.Of<E>): Racer => ({
  query,
  append: (condition) =>
    Effect.flatMap(EventStore, (store): Effect.Effect<Receipt, AppendError> =>
      condition === undefined
        ? store.append(events, unique("Seat"), [event])
        : store.appendIf(condition, events, unique("Seat"), [event]))
})

export const seatRacer = (
  query: EventQuery | undefined,
  show: string,
  person: string,
  extra: ReadonlyArray<string> = []
) => racer(query, SeatEvent, seat(show, person, extra))

/** All racers write the same event, and query for it in different ways. */
const asymmetric = (show: string): ReadonlyArray<Racer> => {
  const person = `person of ${show}`
  const [byShow, byPerson] = [showTag(show), personTag(person)]
  const queries: ReadonlyArray<EventQuery> = [
    ofStoredTypes([{ tags: [byShow] }]),
    ofStoredTypes([{ tags: [byPerson] }]),
    ofStoredTypes([{ types: ["SeatTaken"], tags: [byShow] }]),
    ofStoredTypes([{ types: ["ShowCancelled", "SeatTaken"], tags: [byPerson] }]),
    ofStoredTypes([{ types: ["ShowCancelled"], tags: [byShow] }, { tags: [byPerson] }]),
    ofStoredTypes([{ types: ["SeatTaken"], tags: [byShow] }, { types: ["ShowCancelled"], tags: [byPerson] }]),
    ofStoredTypes([{ tags: [byShow, byPerson] }]),
    ofStoredTypes([{ tags: [byPerson, byShow] }])
  ]
  return upTo(racerCount).map((n) => seatRacer(queries[n % queries.length]!, show, person))
}

/** Each racer writes an event that matches the queries of all others but not its own. */
const skewed = (show: string): ReadonlyArray<Racer> =>
  upTo(racerCount).map((n) => {
    const others = upTo(racerCount).filter((other) => other !== n).map((other) => `${other} of ${show}`)
    const mine: QueryItem = { tags: [Event.tag("extra", `${n} of ${show}`)] }
    const query = ofStoredTypes(n % 2 === 0 ? [mine] : [{ tags: [showTag(`none, for ${n} of ${show}`)] }, mine])
    return seatRacer(query, show, `${n} of ${show}`, others)
  })

/** Some racers query by a type that only this race uses, others by the tag of its events. */
const byType = (show: string): ReadonlyArray<Racer> => {
  const type = `SeatOf-${show}`
  const Own = Schema.TaggedUnion({ [type]: { show: Schema.String } }).pipe(Event.tags({ show: "show" }))
  const queries: ReadonlyArray<EventQuery> = [
    ofStoredTypes([{ types: [type] }]),
    ofStoredTypes([{ tags: [showTag(show)] }]),
    ofStoredTypes([{ types: ["ShowCancelled"], tags: [showTag(show)] }, { types: [type] }])
  ]
  return upTo(racerCount).map((n) => racer(queries[n % queries.length]!, Own, { _tag: type, show }))
}

/**
 * Returns a race for one slot, for a show that no other round uses.
 *
 * @since 0.1.0
 * @category models
 */
export const raceForOne = (round: number, show: string): Race => {
  const kinds = [
    () => upTo(racerCount).map((n) => seatRacer(ofStoredTypes([seatsOf(show)]), show, `${n} of ${show}`)),
    () => asymmetric(show),
    () => skewed(show)
  ]
  return {
    show,
    all: ofStoredTypes([{ tags: [showTag(show)] }]),
    barrier: barriers[round % 3]!,
    slots: 1,
    // A query by type alone reads the whole log, so few rounds use it.
    racers: round % 31 === 30 ? byType(show) : kinds[Math.floor(round / 3) % kinds.length]!()
  }
}

/**
 * Returns a race of disjoint decisions whose events share a tag and a type.
 *
 * @since 0.1.0
 * @category models
 */
export const raceApart = (round: number, show: string): Race => ({
  show,
  all: ofStoredTypes([{ tags: [showTag(show)] }]),
  barrier: barriers[round % 3]!,
  slots: "all",
  racers: upTo(racerCount).map((n) => {
    const person = `${n} of ${show}`
    const queries: ReadonlyArray<EventQuery> = [
      ofStoredTypes([{ tags: [personTag(person)] }]),
      ofStoredTypes([{ types: ["SeatTaken"], tags: [showTag(show), personTag(person)] }]),
      ofStoredTypes([{ tags: [personTag(person)] }, { tags: [Event.tag("extra", person)] }])
    ]
    return seatRacer(queries[n % queries.length]!, show, person)
  })
})

/**
 * Returns a race without a limit of winners, with some racers that append without a condition.
 *
 * @since 0.1.0
 * @category models
 */
export const raceOpen = (round: number, show: string): Race =>
  round % 4 === 3 ? openByType(round, show) : {
    show,
    all: ofStoredTypes([{ tags: [showTag(show)] }]),
    barrier: barriers[round % 3]!,
    slots: "any",
    racers: upTo(racerCount).map((n) =>
      seatRacer(n % 3 === 0 ? ofStoredTypes([seatsOf(show)]) : undefined, show, `${n} of ${show}`)
    )
  }

/** Racers with a query use a type alone. Their events have tags in every second round of this kind. */
const openByType = (round: number, show: string): Race => {
  const type = `SeatOf-${show}`
  const Own = Schema.TaggedUnion({ [type]: { show: Schema.optionalKey(Schema.String) } })
    .pipe(Event.tags({ show: "show" }))
  const query = ofStoredTypes([{ types: [type] }])
  return {
    show,
    all: query,
    barrier: barriers[round % 3]!,
    slots: "any",
    racers: upTo(racerCount).map((n) =>
      racer(n % 3 === 0 ? query : undefined, Own, round % 8 === 3 ? { _tag: type } : { _tag: type, show })
    )
  }
}

/**
 * All kinds of races.
 *
 * @since 0.1.0
 * @category models
 */
export const raceKinds = { one: raceForOne, apart: raceApart, open: raceOpen }

/**
 * Runs the read of a racer.
 *
 * @since 0.1.0
 * @category models
 */
export const look = ({ query }: Racer): Effect.Effect<Looked, EventStoreError, EventStore> =>
  query === undefined
    ? Effect.succeed({ condition: undefined, saw: [] })
    : Effect.map(
      Effect.flatMap(EventStore, (store) => store.readByQuery(query)),
      ({ condition, events }) => ({ condition, saw: events.map((event) => event.position) })
    )

/**
 * Runs the append of a racer.
 *
 * @since 0.1.0
 * @category models
 */
export const leap = (
  { slots }: Pick<Race, "slots">,
  racer: Racer,
  { condition, saw }: Looked
): Effect.Effect<Outcome, ConcurrencyConflict | EventStoreError, EventStore> =>
  slots === 1 && saw.length > 0
    ? Effect.succeed({ _tag: "Full" })
    : racer.append(condition).pipe(
      Effect.map(({ position }): Outcome => ({ _tag: "Taken", position, saw })),
      Effect.catchTag("AppendConditionFailed", (): Effect.Effect<Outcome> => Effect.succeed({ _tag: "Changed" }))
    )

/**
 * Fails unless the number of winners fits the slots, the log contains exactly their events, and each winner had read every match before its
 * event.
 *
 * @since 0.1.0
 * @category models
 */
export const judge = Effect.fnUntraced(function*(
  race: Race,
  outcomes: ReadonlyArray<Outcome>
): Effect.fn.Return<void, EventStoreError, EventStore> {
  const store = yield* EventStore
  const { events } = yield* store.readByQuery(race.all)
  const what = `of ${race.show}, barrier ${race.barrier}`
  equal(outcomes.length, race.racers.length, `outcomes ${what}`)
  const taken = outcomes.flatMap((outcome) => outcome._tag === "Taken" ? [outcome.position] : [])
  equal(events.map((event) => event.position), taken.toSorted(byPosition), `events in the log ${what}`)
  for (const [index, outcome] of outcomes.entries()) {
    const { query } = race.racers[index]!
    if (query === undefined) {
      equal(outcome._tag, "Taken", `an append without a condition ${what}`)
    } else if (outcome._tag === "Taken") {
      const before = events.filter((event) => event.position < outcome.position && matches(query, event))
      equal(outcome.saw, before.map((event) => event.position), `the matches that winner ${index} had read ${what}`)
    } else {
      if (race.slots === "all") equal<string>(outcome._tag, "Taken", `a disjoint decision ${what}`)
      if (race.barrier === "after") {
        equal<string>(outcome._tag, "Changed", `a loser without a match in its read ${what}`)
      }
    }
  }
  if (race.slots === 1) equal(taken.length, 1, `winners ${what}`)
})

const byPosition = (a: Position, b: Position): number => a < b ? -1 : 1

/** Returns a gate that opens after this number of arrivals. */
const gateOf = (awaited: number) =>
  Effect.map(Latch.make(false), (latch) => {
    let missing = awaited
    return {
      opened: latch.await,
      arrive: Effect.suspend(() => {
        if (--missing === 0) latch.openUnsafe()
        return latch.await
      })
    }
  })

/** Appends that do not concern a race, on conditions and without, to new streams and to one that all of them share. */
const neighbours = (show: string): Effect.Effect<unknown, AppendError, EventStore> =>
  Effect.forEach(upTo(8), (n) => {
    const other = `${n} beside ${show}`
    const beside = seatRacer(n % 2 === 0 ? undefined : ofStoredTypes([seatsOf(other)]), other, other)
    const append = Effect.flatMap(look(beside), ({ condition }) => beside.append(condition))
    const shared = Effect.flatMap(
      EventStore,
      (store) => store.append(SeatEvent, `Seats-${show}`, [seat(other, other)])
    )
    return Effect.repeat(n % 3 === 0 ? shared : append, { times: 2 })
  }, { concurrency: "unbounded", discard: true })

/** Runs a race within this process. */
const run = Effect.fnUntraced(function*(race: Race, hasNeighbours: boolean) {
  const { barrier, racers } = race
  const early = barrier === "during" ? racers.length / 2 : racers.length
  const [start, halfway] = [yield* gateOf(racers.length), yield* gateOf(early)]
  const raced = Effect.forEach(racers, (racer, index) =>
    Effect.gen(function*() {
      yield* start.arrive
      if (index >= early) yield* halfway.opened
      const looked = yield* look(racer)
      if (index < early && barrier !== "before") yield* halfway.arrive
      return yield* leap(race, racer, looked)
    }), { concurrency: "unbounded" })
  // The neighbours begin to append when the racers do, so that a store which groups appends has them in the same statements.
  const beside = Effect.andThen(barrier === "before" ? start.opened : halfway.opened, neighbours(race.show))
  const [outcomes] = yield* Effect.all([raced, hasNeighbours ? beside : Effect.void], { concurrency: 2 })
  yield* judge(race, outcomes)
})

const runAll = (rounds: number, race: (round: number, show: string) => Race, hasNeighbours = false) =>
  Effect.gen(function*() {
    for (let round = 0; round < rounds; round++) yield* run(race(round, unique("show")), hasNeighbours)
  })

export const rawSeat = (type: string, show: string): NewEvent => ({
  ...storedEvent(type, 1, { show, person: "held" }),
  tags: [showTag(show), personTag("held")]
})

/** Appends events and keeps the transaction open until `letGo` runs, or for 200 ms if the store blocks other appends. */
export const heldAppend = Effect.fnUntraced(function*(events: ReadonlyArray<NewEvent>) {
  const store = yield* EventStore
  const [written, enough] = [yield* Latch.make(false), yield* Latch.make(false)]
  const fiber = yield* Effect.forkChild(store[internals].driver.append({
    stream: StreamId.make(unique("Seat")),
    expected: "any",
    events,
    inTransaction: () => Effect.andThen(written.open, Effect.timeoutOption(enough.await, "200 millis"))
  }))
  yield* written.await
  return { letGo: Effect.andThen(enough.open, Fiber.join(fiber)) }
})

/** Runs a racer while an append at a lower position is in flight. `between` runs between its read and its append. */
export const leapAboveHeld = Effect.fnUntraced(function*(
  show: string,
  heldShow: string,
  between: Effect.Effect<unknown, ConcurrencyConflict | EventStoreError, EventStore> = Effect.void
) {
  const store = yield* EventStore
  const racer = seatRacer(ofStoredTypes([{ tags: [showTag(show)] }]), show, "racer")
  const { letGo } = yield* heldAppend([rawSeat("SeatTaken", heldShow)])
  const above = yield* Effect.forkChild(store.append(SeatEvent, unique("Seat"), [seat(show, "above")]))
  yield* Effect.timeoutOption(Fiber.await(above), "100 millis")
  const looked = yield* look(racer)
  yield* letGo
  yield* Fiber.join(above)
  yield* between
  const outcome = yield* leap({ slots: "any" }, racer, looked)
  if (outcome._tag === "Taken") {
    const { events } = yield* store.readByQuery(ofStoredTypes([{ tags: [showTag(show)] }]))
    const before = events.filter((event) => event.position < outcome.position)
    equal(outcome.saw, before.map((event) => event.position), "the matches that the racer had read")
  }
  return { looked, outcome }
})

/**
 * Returns the cases, with 16 racers in each round.
 *
 * @since 0.1.0
 * @category constructors
 */
export const races = (rounds: number): ReadonlyArray<Case<EventStore>> => [
  test("lets one of 16 conflicting decisions win, at every barrier", function*() {
    yield* runAll(rounds, raceForOne)
  }),

  test("lets one of 16 conflicting decisions win beside other appends, at every barrier", function*() {
    yield* runAll(Math.ceil(rounds / 3), raceForOne, true)
  }),

  test("never rejects disjoint decisions beside other appends, at any barrier", function*() {
    yield* runAll(Math.ceil(rounds / 10), raceApart, true)
  }),

  test("never rejects disjoint decisions, at any barrier", function*() {
    yield* runAll(Math.ceil(rounds / 5), raceApart)
  }),

  test("shows a decision every earlier match, also of unconditional appends", function*() {
    yield* runAll(Math.ceil(rounds / 5), raceOpen)
  })
]
