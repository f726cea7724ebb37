/**
 * Events that were stored before their set declared a tag: what selects by this tag fails or is red, and is never wrong. Every back end passes it.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, includes, ok, test, unique } from "../../src/conformance/Suite.ts"
import * as AsOf from "../../src/core/AsOf.ts"
import { EventStoreError, EventsUntagged } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as TimeTravel from "../../src/timeTravel/TimeTravel.ts"
import type { Stores } from "../support/AccountFixtures.ts"

const text = Schema.String

class TooMany extends Schema.TaggedError<TooMany>()("TooMany", {}) {}

/** The first release, whose events have no tags. */
const Untagged = Schema.TaggedUnion({
  UntaggedSeat: { seat: text, guest: text },
  UntaggedNote: { guest: Schema.optionalKey(text) }
})
/** The second release. */
const Tagged = Untagged.pipe(Event.tags({ guest: "guest" }))
const Renamed = Schema.TaggedUnion({ RenamedSeat: { seat: text, guest: text } }).pipe(
  Event.tags({ guest: "guest" }),
  Event.legacy({ UntaggedSeat: Event.from({ seat: text, guest: text }).renamedTo("RenamedSeat", (event) => event) })
)

const Reserve = Command.make("ReserveUntaggedSeat", { payload: { seat: text, guest: text }, error: TooMany })

const reserve = (untagged?: "reject" | "ignore") =>
  Decision.make(Reserve, {
    events: Tagged,
    stream: ({ seat }) => `Seat-${seat}`,
    models: ({ guest }) => ({
      taken: Decision.model({
        events: Tagged,
        tags: { guest },
        untagged,
        initial: 0,
        evolve: { UntaggedSeat: (n) => n + 1 }
      })
    }),
    decide: ({ taken }, command) => taken >= 2 ? Result.fail(new TooMany()) : [{ _tag: "UntaggedSeat", ...command }]
  })
const withoutTag = Decision.make(Reserve, {
  events: Tagged,
  stream: ({ seat }) => `Seat-${seat}`,
  models: ({ guest }) => ({
    taken: Decision.model({
      events: Tagged,
      initial: 0,
      evolve: { UntaggedSeat: (n, event) => event.guest === guest ? n + 1 : n }
    })
  }),
  decide: ({ taken }, command) => taken >= 2 ? Result.fail(new TooMany()) : [{ _tag: "UntaggedSeat", ...command }]
})
const ofNotes = Decision.make(Reserve, {
  events: Tagged,
  models: ({ guest }) => ({
    notes: Decision.model({ events: Tagged, tags: { guest }, initial: 0, evolve: { UntaggedNote: (n) => n + 1 } })
  }),
  decide: () => []
})
const renamed = Decision.make(Reserve, {
  events: Renamed,
  models: ({ guest }) => ({
    taken: Decision.model({ events: Renamed, tags: { guest }, initial: 0, evolve: { RenamedSeat: (n) => n + 1 } })
  }),
  decide: () => []
})

const Seat = Aggregate.make("UntaggedSeatOf", { id: "seat", state: Schema.Int, events: Tagged, commands: [Reserve] })
const SeatDecider = Seat.withModels({ ReserveUntaggedSeat: (payload) => reserve().models(payload) }).decider({
  initial: 0,
  evolve: { UntaggedSeat: (n) => n + 1, UntaggedNote: (n) => n },
  decide: { ReserveUntaggedSeat: (_, command) => [{ _tag: "UntaggedSeat", ...command }] }
})

let hours = 0

/**
 * Runs an effect an hour later than the one before, when no earlier count of the tags is used.
 *
 * @since 0.1.0
 * @category combinators
 */
export const anHourLater = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Clock.Clock, (clock) => {
    const offset = ++hours * 3_600_000
    const later: Clock.Clock = Object.create(clock, {
      currentTimeMillis: { value: Effect.map(clock.currentTimeMillis, (now) => now + offset) }
    })
    return Effect.provideService(effect, Clock.Clock, later)
  })

/**
 * Waits until the store has counted all types.
 *
 * @since 0.1.0
 * @category combinators
 */
export const countTypes = Effect.gen(function*() {
  const { driver } = (yield* EventStore.EventStore)[internals]
  const head = yield* driver.head
  yield* Effect.repeat(driver.eventTypes, {
    until: ({ position }) => position >= head,
    schedule: Schedule.spaced("10 millis")
  }).pipe(Effect.timeout("1 minute"))
})

/**
 * Returns the reason of a failure of the store.
 *
 * @since 0.1.0
 * @category accessors
 */
export const reasonOf = (result: Result.Result<unknown, unknown>): unknown =>
  Result.isFailure(result) && result.failure instanceof EventStoreError ? result.failure.reason : result

/** Appends two events of a guest without tags, and waits until the store has counted them. */
const history = Effect.fnUntraced(function*() {
  const guest = unique("guest")
  const seats = [unique("seat"), unique("seat")]
  for (const seat of seats) yield* EventStore.append(Untagged, `Seat-${seat}`, [{ _tag: "UntaggedSeat", seat, guest }])
  yield* EventStore.append(Untagged, `Seat-${seats[0]}`, [{ _tag: "UntaggedNote" }])
  yield* countTypes
  return { guest, seat: unique("seat") }
})

const isUntagged = (reason: unknown, type: string, what: string): void => {
  ok(reason instanceof EventsUntagged, `${what}: ${JSON.stringify(reason)}`)
  if (reason instanceof EventsUntagged) equal([reason.type, reason.tag], [type, "guest"], what)
}

/** The cases, over an event store and a projection store that share their transactions. */
export const untagged: ReadonlyArray<Case<Stores>> = [
  test("a decision by a tag without which the log has events fails and writes nothing", function*() {
    const payload = yield* history()
    const { seat } = payload
    const dispatch = Effect.result(CommandBus.dispatch(Reserve, payload))
    const byDecision = yield* anHourLater(dispatch.pipe(Effect.provide(Decision.layer(reserve()))))
    isUntagged(reasonOf(byDecision), "UntaggedSeat", "a decision")
    const byAggregate = yield* dispatch.pipe(Effect.provide(Aggregate.layer(SeatDecider)))
    isUntagged(reasonOf(byAggregate), "UntaggedSeat", "an aggregate with models")
    const head = yield* (yield* EventStore.EventStore)[internals].driver.head
    const past = yield* Effect.result(TimeTravel.decision(reserve(), payload, AsOf.position(head)))
    isUntagged(reasonOf(past), "UntaggedSeat", "a model as of an instant")
    const legacy = yield* dispatch.pipe(Effect.provide(Decision.layer(renamed)))
    isUntagged(reasonOf(legacy), "UntaggedSeat", "a legacy type")
    const { driver } = (yield* EventStore.EventStore)[internals]
    const { events } = yield* driver.readAll({ after: yield* driver.head, limit: 10, streamPrefix: `Seat-${seat}` })
    equal(events.length, 0, "events written")
  }),

  test("a decision that selects in evolve, or ignores untagged events, does not fail", function*() {
    const payload = yield* history()
    const dispatch = Effect.result(CommandBus.dispatch(Reserve, payload))
    const right = yield* anHourLater(dispatch.pipe(Effect.provide(Decision.layer(withoutTag))))
    ok(Result.isFailure(right) && right.failure instanceof TooMany, "a model without the tag sees both events")
    const ignoring = yield* dispatch.pipe(Effect.provide(Decision.layer(reserve("ignore"))))
    ok(Result.isSuccess(ignoring), "a model that ignores untagged events")
  }),

  test("an event whose field of the tag is optional may have no tag", function*() {
    const payload = yield* history()
    const dispatched = yield* Effect.result(CommandBus.dispatch(Reserve, payload)).pipe(
      Effect.provide(Decision.layer(ofNotes)),
      anHourLater
    )
    ok(Result.isSuccess(dispatched), "a decision on events with an optional field")
  }),

  test("a consumer that selects or partitions by a tag is red when the log has events without it", function*() {
    const { guest } = yield* history()
    const common = {
      events: Tagged,
      document: Schema.Int,
      key: () => "all",
      evolve: { UntaggedSeat: (n: number = 0) => n + 1, UntaggedNote: (n: number = 0) => n }
    }
    const where = { tags: [Event.tag("guest", guest)] }
    const byWhere = Projection.make(unique("untagged"), { ...common, where })
    const live = Projection.make(unique("untagged"), { ...common, where, lifecycle: "live" })
    const byPartition = Projection.handler(unique("untagged"), {
      events: Tagged,
      partitionBy: { tag: "guest" },
      handle: { UntaggedSeat: () => Effect.void, UntaggedNote: Projection.ignore }
    })
    const all = Projection.make(unique("untagged"), common)
    const words = "\"UntaggedSeat\" without the tag \"guest\""
    const { consumers } = yield* Health.of([byWhere, live, byPartition, all])
    for (const { consumer, reasons, status } of consumers.slice(0, 3)) {
      equal(status, "red", consumer)
      includes(reasons.join(), words, consumer)
    }
    ok(!consumers[3]!.reasons.join().includes(words), "a consumer without tags")
  })
]
