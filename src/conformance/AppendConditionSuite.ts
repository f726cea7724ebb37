/**
 * The part of the event store suite on append conditions (dynamic consistency boundaries).
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Event from "../event/Event.ts"
import { type EventQuery, ofStoredTypes } from "../event/EventQuery.ts"
import type { NewEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import {
  heldAppend,
  leap,
  leapAboveHeld,
  look,
  racer,
  races,
  rawSeat,
  seat,
  SeatEvent,
  seatRacer,
  seatsOf,
  showTag
} from "./AppendConditionRaces.ts"
import { ascending, rejection, storedEvent, upTo } from "./EventStoreFixtures.ts"
import { type Case, equal, test, unique } from "./Suite.ts"

/**
 * The cases on tags, queries and conditional appends.
 *
 * @since 0.1.0
 * @category constructors
 */
export const boundaries: ReadonlyArray<Case<EventStore>> = [
  test("finds events of all streams by type and tag, in position order", function*() {
    const store = yield* EventStore
    const [x, y, ann, bob] = [unique("show"), unique("show"), unique("ann"), unique("bob")]
    yield* store.append(SeatEvent, unique("Seat"), [seat(x, ann), seat(y, ann), seat(x, bob)])
    yield* store.append(SeatEvent, unique("Seat"), [SeatEvent.cases.ShowCancelled.make({ show: x }), seat(y, bob)])
    const find = (query: EventQuery) =>
      Effect.map(store.readByQuery(query), ({ events }) => {
        if (events.length > 0) ascending(events, "the positions increase")
        return events.map((e) =>
          e.tags.map((tag) =>
            tag === `show:${x}` ? "x" : tag === `show:${y}` ? "y" : tag === `person:${ann}` ? "a" : "b"
          ).toSorted().join("")
        )
      })
    const tagX = Event.tag("show", x)
    equal(yield* find(ofStoredTypes([seatsOf(x)])), ["ax", "bx"], "a type and a tag")
    equal(yield* find(ofStoredTypes([{ tags: [tagX] }])), ["ax", "bx", "x"], "a tag")
    equal(yield* find(ofStoredTypes([{ tags: [tagX, Event.tag("person", ann)] }])), ["ax"], "two tags: both")
    equal(yield* find(ofStoredTypes([{ tags: [Event.tag("person", ann), tagX] }])), ["ax"], "in any order")
    equal(
      yield* find(ofStoredTypes([{ tags: [tagX] }, { tags: [Event.tag("person", bob)] }])),
      ["ax", "bx", "x", "by"],
      "two items: either, once"
    )
    equal(
      yield* find(ofStoredTypes([{ types: ["ShowCancelled"], tags: [tagX] }, seatsOf(y)])),
      ["ay", "x", "by"],
      "items of different types"
    )
    equal(yield* find(ofStoredTypes([{ tags: [Event.tag("show", unique("none"))] }])), [], "a tag without events")
    const byType = (yield* store.readByQuery(ofStoredTypes([{ types: ["ShowCancelled"] }]))).events
    equal(Array.from(new Set(byType.map((e) => e.type))), ["ShowCancelled"], "a type alone")
  }),

  test("rejects an append whose query has a new match", function*() {
    const store = yield* EventStore
    const [x, y] = [unique("show"), unique("show")]
    const { condition } = yield* store.readByQuery(ofStoredTypes([seatsOf(x)]))
    yield* store.append(SeatEvent, unique("Seat"), [seat(y, "p"), SeatEvent.cases.ShowCancelled.make({ show: x })])
    yield* store.appendIf(condition, SeatEvent, unique("Seat"), [seat(x, "p")])
    const stream = unique("Seat")
    const error = yield* Effect.flip(store.appendIf(condition, SeatEvent, stream, [seat(x, "q")]))
    const last = (yield* store.readByQuery(ofStoredTypes([seatsOf(x)]))).events.at(-1)
    equal(
      error._tag === "AppendConditionFailed" ? error.position : error._tag,
      last?.position,
      "the error names the new match"
    )
    equal(yield* Stream.runCollect(store.readStreamEncoded(stream)), [], "nothing was written")
    const again = yield* store.readByQuery(ofStoredTypes([seatsOf(x)]))
    yield* store.appendIf(again.condition, SeatEvent, stream, [seat(x, "q")], { expected: "noStream" })
    const both = yield* store.readByQuery(ofStoredTypes([seatsOf(x)]))
    const version = yield* Effect.flip(
      store.appendIf(both.condition, SeatEvent, stream, [seat(x, "r")], { expected: "noStream" })
    )
    equal(version._tag, "ConcurrencyConflict", "the stream's version holds too")
  }),

  ...races(60),

  test("rejects a decision over a match that was in flight below its read", function*() {
    for (let round = 0; round < 2; round++) {
      const show = unique("show")
      const { looked, outcome } = yield* leapAboveHeld(show, show)
      equal(outcome._tag, looked.saw.length === 2 ? "Taken" : "Changed", `the outcome, ${looked.saw.length} of 2 seen`)
    }
  }),

  test("waits for an append in flight that may match the condition", function*() {
    const untagged = (type: string, show: string) => storedEvent(type, 1, { show })
    const writers: ReadonlyArray<(type: string, show: string) => ReadonlyArray<NewEvent>> = [
      (type, show) => [untagged(type, show)],
      (type, show) => [untagged(type, show), untagged(type, show)],
      (type, show) => [rawSeat(type, show)]
    ]
    for (const writer of writers) {
      for (const first of [[], [{ tags: [showTag(unique("show"))] }]]) {
        const [type, show] = [unique("SeatOf"), unique("show")]
        const Own = Schema.TaggedUnion({ [type]: { show: Schema.String } }).pipe(Event.tags({ show: "show" }))
        const waiting = racer(ofStoredTypes([...first, { types: [type] }]), Own, { _tag: type, show })
        const { letGo } = yield* heldAppend(writer(type, show))
        const looked = yield* look(waiting)
        const leaping = yield* Effect.forkChild(leap({ slots: "any" }, waiting, looked))
        yield* Effect.timeoutOption(Fiber.await(leaping), "50 millis")
        yield* letGo
        equal(
          (yield* Fiber.join(leaping))._tag,
          looked.saw.length === 0 ? "Changed" : "Taken",
          `the outcome, ${looked.saw.length} seen`
        )
      }
    }
  }),

  test("ignores other appends in flight without missing a new match", function*() {
    const store = yield* EventStore
    const shows = [unique("show"), unique("show")] as const
    const { looked, outcome } = yield* leapAboveHeld(shows[0], unique("show"))
    // In a store where one append waits for the other, the higher one commits only after the read.
    equal(outcome._tag, looked.saw.length === 1 ? "Taken" : "Changed", `the outcome, ${looked.saw.length} of 1 seen`)
    const late = Effect.suspend(() => store.append(SeatEvent, unique("Seat"), [seat(shows[1], "late")]))
    equal((yield* leapAboveHeld(shows[1], unique("show"), late)).outcome._tag, "Changed", "a new match")
  }),

  test("checks a condition on a type alone under concurrency", function*() {
    const Once = Schema.TaggedUnion({ [unique("HappenedOnce")]: { n: Schema.Int } })
    const [type] = Object.keys(Once.cases)
    const store = yield* EventStore
    const results = yield* Effect.forEach(upTo(16), (n) =>
      Effect.gen(function*() {
        const { condition, events } = yield* store.readByQuery(ofStoredTypes([{ types: [type!] }]))
        if (events.length > 0) return "full"
        yield* Effect.yieldNow
        yield* store.appendIf(condition, Once, unique("Once"), [{ _tag: type!, n }])
        return "taken"
      }).pipe(Effect.catchTag("AppendConditionFailed", () => Effect.succeed("changed"))), { concurrency: "unbounded" })
    equal(results.filter((result) => result === "taken").length, 1, "winners")
  }),

  test("appends 100 disjoint decisions concurrently without a conflict", function*() {
    const outcomes = yield* Effect.forEach(upTo(100), () => {
      const show = unique("show")
      const racer = seatRacer(ofStoredTypes([seatsOf(show)]), show, unique("person"))
      return Effect.flatMap(look(racer), (looked) => leap({ slots: 1 }, racer, looked))
    }, { concurrency: "unbounded" })
    equal(outcomes.filter((outcome) => outcome._tag === "Taken").length, 100, "seats taken")
  }),

  test("accepts Unicode tags and 100 per event, and rejects invalid ones", function*() {
    const store = yield* EventStore
    const odd = ["", " ", "a:b", "\u001f", "\u202e", "💶", "{}", "\"\\'", "NULL", "x".repeat(200), "𝔘".repeat(100)]
    const show = unique("show")
    for (const person of odd) {
      const stream = unique("Seat")
      yield* store.append(SeatEvent, stream, [seat(show, person + show)])
      const { events } = yield* store.readByQuery(ofStoredTypes([{ tags: [Event.tag("person", person + show)] }]))
      equal(events.map((e) => e.stream), [stream], JSON.stringify(person))
    }
    const many = (n: number) =>
      SeatEvent.cases.SeatTaken.make({ show, person: "p", extra: upTo(n).map((i) => `${show}${i}`) })
    yield* store.append(SeatEvent, unique("Seat"), [many(98)])
    const { events } = yield* store.readByQuery(ofStoredTypes([{
      tags: [Event.tag("extra", `${show}98`), Event.tag("extra", `${show}1`)]
    }]))
    equal(events.map((e) => e.tags.length), [100], "100 tags")
    for (const bad of [many(99), seat(show, "x".repeat(10_000)), seat(show, "\u0000"), seat(show, "\ud800")]) {
      equal((yield* rejection(store.append(SeatEvent, unique("Seat"), [bad])))._tag, "InvalidRequest", "an absurd tag")
    }
    for (const query of [[], [{}], [{ types: [], tags: [] }], [{ tags: [""] }], [{ tags: ["x".repeat(10_000)] }]]) {
      equal((yield* rejection(store.readByQuery(ofStoredTypes(query))))._tag, "InvalidRequest", "an absurd query")
    }
  }),

  test("reads all matches of a query beyond one page", function*() {
    const store = yield* EventStore
    const show = unique("show")
    const events = upTo(5000).map((n) => seat(show, `p${n}`))
    for (const part of [0, 1, 2]) {
      yield* store.append(SeatEvent, unique("Seat"), part === 2 ? events.slice(0, 1) : events)
    }
    const found = yield* store.readByQuery(ofStoredTypes([seatsOf(show)]))
    equal(found.events.length, 10_001, "matches")
    ascending(found.events, "the positions increase")
    yield* store.appendIf(found.condition, SeatEvent, unique("Seat"), [seat(show, "last")])
  })
]
