/**
 * The conformance suite of event stores, the part on dynamic consistency boundaries.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { ConcurrencyConflict, EventStoreError } from "../domain/errors.ts"
import * as Event from "../domain/Event.ts"
import type { EventQuery, QueryItem } from "../domain/EventQuery.ts"
import { EventStore } from "../store/EventStore.ts"
import { ascending, refusal, upTo } from "./EventStoreFixtures.ts"
import { type Case, equal, ok, test, unique } from "./Suite.ts"

/** Seats of shows: an event of a show and of a person, found by either. */
const SeatEvent = Schema.TaggedUnion({
  SeatTaken: { show: Schema.String, person: Schema.String, extra: Schema.optionalKey(Schema.Array(Schema.String)) },
  ShowCancelled: { show: Schema.String }
}).pipe(Event.tags({ show: "show", person: "person", extra: "extra" }))
const seat = (show: string, person: string) => SeatEvent.cases.SeatTaken.make({ show, person })

const seatsOf = (show: string): QueryItem => ({ types: ["SeatTaken"], tags: [Event.tag("show", show)] })

/** Takes a seat if `query` matches fewer than `limit` events. */
const takeSeat = (
  show: string,
  person: string,
  query: EventQuery = [seatsOf(show)],
  limit = 1,
  between: Effect.Effect<void> = Effect.void
): Effect.Effect<"taken" | "full" | "changed", ConcurrencyConflict | EventStoreError, EventStore> =>
  Effect.gen(function*() {
    const store = yield* EventStore
    const { condition, events } = yield* store.readQueryRecorded(query)
    yield* between
    if (events.length >= limit) return "full"
    yield* store.appendIf(condition, SeatEvent, unique("Seat"), [seat(show, person)])
    return "taken" as const
  }).pipe(Effect.catchTag("BoundaryConflict", () => Effect.succeed("changed" as const)))

const count = <A>(all: ReadonlyArray<A>, one: A): number => all.filter((a) => a === one).length

/**
 * Tags, queries and conditional appends.
 *
 * @since 0.1.0
 * @category suites
 */
export const boundaries: ReadonlyArray<Case<EventStore>> = [
  test("events are found by type and tag, in position order, across streams", function*() {
    const store = yield* EventStore
    const [x, y, ann, bob] = [unique("show"), unique("show"), unique("ann"), unique("bob")]
    yield* store.append(SeatEvent, unique("Seat"), [seat(x, ann), seat(y, ann), seat(x, bob)])
    yield* store.append(SeatEvent, unique("Seat"), [SeatEvent.cases.ShowCancelled.make({ show: x }), seat(y, bob)])
    const find = (query: EventQuery) =>
      Effect.map(store.readQueryRecorded(query), ({ events }) => {
        ok(ascending(events), "positions grow")
        return events.map((e) =>
          e.tags.map((tag) =>
            tag === `show:${x}` ? "x" : tag === `show:${y}` ? "y" : tag === `person:${ann}` ? "a" : "b"
          ).toSorted().join("")
        )
      })
    const tagX = Event.tag("show", x)
    equal(yield* find([seatsOf(x)]), ["ax", "bx"], "a type and a tag")
    equal(yield* find([{ tags: [tagX] }]), ["ax", "bx", "x"], "a tag")
    equal(yield* find([{ tags: [tagX, Event.tag("person", ann)] }]), ["ax"], "two tags: both")
    equal(yield* find([{ tags: [Event.tag("person", ann), tagX] }]), ["ax"], "in any order")
    equal(
      yield* find([{ tags: [tagX] }, { tags: [Event.tag("person", bob)] }]),
      ["ax", "bx", "x", "by"],
      "two items: either, once"
    )
    equal(
      yield* find([{ types: ["ShowCancelled"], tags: [tagX] }, seatsOf(y)]),
      ["ay", "x", "by"],
      "items of different types"
    )
    equal(yield* find([{ tags: [Event.tag("show", unique("none"))] }]), [], "a tag without events")
    const byType = (yield* store.readQueryRecorded([{ types: ["ShowCancelled"] }])).events
    ok(byType.length > 0 && byType.every((e) => e.type === "ShowCancelled"), "a type alone")
  }),

  test("an append holds only while its query has no new match", function*() {
    const store = yield* EventStore
    const [x, y] = [unique("show"), unique("show")]
    const { condition } = yield* store.readQueryRecorded([seatsOf(x)])
    yield* store.append(SeatEvent, unique("Seat"), [seat(y, "p"), SeatEvent.cases.ShowCancelled.make({ show: x })])
    yield* store.appendIf(condition, SeatEvent, unique("Seat"), [seat(x, "p")])
    const stream = unique("Seat")
    const error = yield* Effect.flip(store.appendIf(condition, SeatEvent, stream, [seat(x, "q")]))
    const last = (yield* store.readQueryRecorded([seatsOf(x)])).events.at(-1)
    ok(error._tag === "BoundaryConflict" && error.position === last?.position, "the conflict names the new match")
    equal(yield* Stream.runCollect(store.readStreamRecorded(stream)), [], "nothing was written")
    const again = yield* store.readQueryRecorded([seatsOf(x)])
    yield* store.appendIf(again.condition, SeatEvent, stream, [seat(x, "q")], { expected: "noStream" })
    const both = yield* store.readQueryRecorded([seatsOf(x)])
    const version = yield* Effect.flip(
      store.appendIf(both.condition, SeatEvent, stream, [seat(x, "r")], { expected: "noStream" })
    )
    equal(version._tag, "ConcurrencyConflict", "the stream's version holds too")
  }),

  test("16 racers for one slot, each round one winner, whenever they are held up", function*() {
    const pauses = [
      Effect.void,
      Effect.yieldNow,
      Effect.sleep("1 millis")
    ]
    for (let round = 0; round < 60; round++) {
      const show = unique("show")
      // Before the read, and between read and append, all wait for each other.
      const gate = yield* Latch.make(false)
      let ready = 0
      const barrier = Effect.suspend(() => {
        ready++
        if (ready === 16) gate.openUnsafe()
        return gate.await
      })
      const between = round % 3 === 0 ? barrier : pauses[round % 3]!
      const results = yield* Effect.forEach(upTo(16), (n) => takeSeat(show, `p${n}`, [seatsOf(show)], 1, between), {
        concurrency: "unbounded"
      })
      equal(count(results, "taken"), 1, `winners of round ${round}`)
      if (round % 3 === 0) equal(count(results, "changed"), 15, "all of them had seen a free seat")
    }
  }),

  test("conditions that ask for different things never let both through: write skew", function*() {
    const store = yield* EventStore
    for (let round = 0; round < 40; round++) {
      const [show, person] = [unique("show"), unique("person")]
      // One asks for the show, the other for the person; each writes what the other asks for.
      const byShow = takeSeat(show, person, [seatsOf(show)], 1, Effect.yieldNow)
      const byPerson = takeSeat(
        show,
        person,
        [{ types: ["SeatTaken"], tags: [Event.tag("person", person)] }],
        1,
        Effect.yieldNow
      )
      const byBoth = takeSeat(
        show,
        person,
        [seatsOf(show), { tags: [Event.tag("person", person)] }],
        1,
        Effect.yieldNow
      )
      const plain = Effect.as(store.append(SeatEvent, unique("Seat"), [seat(show, person)]), "plain" as const)
      const racers = [byShow, byPerson, byBoth, byShow, byPerson, byBoth]
      const results = yield* Effect.all(round % 2 === 0 ? racers : [...racers, plain], { concurrency: "unbounded" })
      ok(count(results, "taken") <= 1, `at most one of round ${round}`)
      if (round % 2 === 0) equal(count(results, "taken"), 1, `one of round ${round}`)
    }
  }),

  test("a condition on a type alone holds under races", function*() {
    const Once = Schema.TaggedUnion({ [unique("HappenedOnce")]: { n: Schema.Int } })
    const [type] = Object.keys(Once.cases)
    const store = yield* EventStore
    const results = yield* Effect.forEach(upTo(16), (n) =>
      Effect.gen(function*() {
        const { condition, events } = yield* store.readQueryRecorded([{ types: [type!] }])
        if (events.length > 0) return "full"
        yield* Effect.yieldNow
        yield* store.appendIf(condition, Once, unique("Once"), [{ _tag: type!, n }])
        return "taken"
      }).pipe(Effect.catchTag("BoundaryConflict", () => Effect.succeed("changed"))), { concurrency: "unbounded" })
    equal(count(results, "taken"), 1, "winners")
  }),

  test("100 concurrent appends on disjoint boundaries: no conflict", function*() {
    const shows = upTo(100).map(() => unique("show"))
    const results = yield* Effect.forEach(shows, (show) => takeSeat(show, unique("p")), { concurrency: "unbounded" })
    equal(count(results, "taken"), 100, "seats taken")
  }),

  test("tags of every kind: all Unicode, 100 on an event; absurd ones are refused", function*() {
    const store = yield* EventStore
    const odd = ["", " ", "a:b", "\u001f", "\u202e", "💶", "{}", "\"\\'", "NULL", "x".repeat(200), "𝔘".repeat(100)]
    const show = unique("show")
    for (const person of odd) {
      const stream = unique("Seat")
      yield* store.append(SeatEvent, stream, [seat(show, person + show)])
      const { events } = yield* store.readQueryRecorded([{ tags: [Event.tag("person", person + show)] }])
      equal(events.map((e) => e.stream), [stream], JSON.stringify(person))
    }
    const many = (n: number) =>
      SeatEvent.cases.SeatTaken.make({ show, person: "p", extra: upTo(n).map((i) => `${show}${i}`) })
    yield* store.append(SeatEvent, unique("Seat"), [many(98)])
    const { events } = yield* store.readQueryRecorded([{
      tags: [Event.tag("extra", `${show}98`), Event.tag("extra", `${show}1`)]
    }])
    equal(events.map((e) => e.tags.length), [100], "100 tags")
    for (const bad of [many(99), seat(show, "x".repeat(10_000)), seat(show, "\u0000"), seat(show, "\ud800")]) {
      equal((yield* refusal(store.append(SeatEvent, unique("Seat"), [bad])))._tag, "InvalidRequest", "an absurd tag")
    }
    for (const query of [[], [{}], [{ types: [], tags: [] }], [{ tags: [""] }], [{ tags: ["x".repeat(10_000)] }]]) {
      equal((yield* refusal(store.readQueryRecorded(query)))._tag, "InvalidRequest", "an absurd query")
    }
  }),

  test("a query of more matches than a page is read whole", function*() {
    const store = yield* EventStore
    const show = unique("show")
    const events = upTo(5000).map((n) => seat(show, `p${n}`))
    for (const part of [0, 1, 2]) {
      yield* store.append(SeatEvent, unique("Seat"), part === 2 ? events.slice(0, 1) : events)
    }
    const found = yield* store.readQueryRecorded([seatsOf(show)])
    equal(found.events.length, 10_001, "matches")
    ok(ascending(found.events), "positions grow")
    yield* store.appendIf(found.condition, SeatEvent, unique("Seat"), [seat(show, "last")])
  })
]
