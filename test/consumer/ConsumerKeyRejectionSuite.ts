/**
 * The runtime suite of keys by which a consumer cannot keep the order: they are refused in words.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, includes, isAbove, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import { partitionKeys, partitionOf } from "../../src/core/partitionHash.ts"
import * as Position from "../../src/core/Position.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projections from "../../src/projection/Projection.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { parkedKeys } from "../support/parked.ts"
import { fixture, until } from "./ConsumerKeyFixtures.ts"

const definitions: ReadonlyArray<Case<Stores>> = [
  test("a consumer with another key than that of its checkpoints is rejected", function*() {
    const { append, awaitPosition, projection, withProjector } = fixture({ partitions: 2 })
    yield* withProjector(Effect.flatMap(append(1, ["a"]), awaitPosition))
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const changed = { ...projection, partitionBy: "stream" } as const
    const error = yield* Effect.flip(driver.claim({
      consumer: projection.id,
      owner: "me",
      partitions: 2,
      partitionedBy: "stream",
      reads: "",
      lease: projectionLease
    }))
    equal(error.reason._tag, "StoreMisconfigured", "the reason")
    includes(error.message, "2 partitions by document", "the message")
    const { reasons, status } = yield* Health.of([changed])
    equal(status, "red", "the health")
    includes(reasons.join(), "2 partitions by document, unlike its definition", "the reasons")
  }),

  test("a projector with another key than that of its checkpoints is stuck, and writes nothing", function*() {
    const { append, awaitPosition, projection, seen, withProjector } = fixture({ partitions: 2 })
    yield* withProjector(Effect.flatMap(append(1, ["a"]), awaitPosition))
    yield* append(2, ["a"])
    for (const partitionBy of ["stream", { tag: "course" }] as const) {
      yield* Effect.gen(function*() {
        const { status } = yield* Projector.Projector
        const detail = Effect.map(status, ([one]) => one?.detail ?? "")
        yield* until(
          Effect.map(detail, (text) => text.includes("2 partitions by document") && text.includes("version"))
        )
        equal(yield* seen("a"), [1], "the document")
      }).pipe(Effect.provide(Projector.layer([{ ...projection, partitionBy }])))
    }
  }),

  test("an event without the tag fails in a projection, and has its stream as the key in a subscription", function*() {
    const { Events, append, awaitPosition, projection, seen, type } = fixture({
      partitions: 3,
      partitionBy: { tag: "course" }
    })
    const careless = { ...projection, keysOf: () => ["a"] }
    const handled: Array<number> = []
    const subscription = Subscription.make(unique("mail"), {
      events: Events,
      partitions: 3,
      partitionBy: { tag: "course" },
      handle: ({ n }) => Effect.sync(() => handled.push(n))
    })
    for (const n of upTo(9)) yield* append(n, [], `${type}-s`)
    const last = yield* append(10, ["a"])
    yield* Effect.gen(function*() {
      yield* awaitPosition(last)
      const parked = yield* parkedKeys(projection)
      equal(parked.map(({ key }) => key), [`${type}-s`], "the parked keys")
      includes(parked[0]?.error ?? "", `the event has no tag "course", but touches the document "a"`, "the error")
      equal(yield* seen("a"), [10], "the document")
      yield* until(Effect.sync(() => handled.length === 10))
      equal(handled.filter((n) => n < 10), upTo(9), "the handled events of the stream")
    }).pipe(
      Effect.provide([Projector.layer([careless]), Subscription.layer([subscription])])
    )
  }),

  test("an event without the tag that touches no document is applied in a projection", function*() {
    const { append, awaitPosition, projection, withProjector } = fixture({
      partitions: 3,
      partitionBy: { tag: "course" }
    })
    yield* Effect.flatMap(append(1, []), awaitPosition).pipe(withProjector)
    equal(yield* parkedKeys(projection), [], "the parked keys")
  }),

  test("a handler in the store's transaction refuses an event with several values of the tag", function*() {
    const { Events, append, type } = fixture({ partitions: 1 })
    const handled: Array<number> = []
    const projection = Projections.handler(unique("rows"), {
      events: Events,
      partitions: 3,
      partitionBy: { tag: "course" },
      retry: Schedule.recurs(0),
      handle: { [type]: ({ n }: { readonly n: number }) => Effect.sync(() => handled.push(n)) }
    })
    yield* Effect.gen(function*() {
      yield* append(1, ["a", "b"])
      yield* append(2, ["a"])
      yield* append(3, ["c"])
      yield* until(Effect.map(parkedKeys(projection), (all) => all.length === 2))
      yield* until(Effect.sync(() => handled.length > 0))
      const parked = yield* parkedKeys(projection)
      equal(parked.map(({ key }) => key).toSorted(), ["course:a", "course:b"], "the parked keys")
      includes(parked[0]?.error ?? "", "several values of the tag", "the error")
      for (const key of ["course:a", "course:b"]) yield* Parking.skip(projection, key, { reason: "a test" })
      equal(handled.toSorted(), [2, 3], "the handled events")
    }).pipe(Effect.provide(Projector.layer([projection])))
  }),

  test("a tag that the events do not have is rejected when a consumer is defined", function*() {
    const declared = Schema.TaggedUnion({ Opened: { course: Schema.String }, Closed: { id: Schema.String } })
    // Of a wide type, so that the compiler does not know the tags.
    const Events: Event.Any = declared.pipe(Event.tags({ course: "course" }))
    const thrown = (make: () => unknown): string => {
      const made = Result.try(make)
      return Result.isFailure(made) ? String(made.failure) : "nothing"
    }
    const partitionBy = { tag: "corse" }
    const evolve = { Opened: () => 1, Closed: () => 2 }
    const options = { events: Events, document: Schema.Int, key: () => "a", evolve }
    for (
      const make of [
        () => Projection.make("n", { ...options, partitionBy }),
        () =>
          Projections.handler("n", {
            events: Events,
            partitionBy,
            handle: { Opened: () => Effect.void, Closed: () => Effect.void }
          }),
        () => Subscription.make("n", { events: Events, partitionBy, handle: () => Effect.void })
      ]
    ) {
      includes(thrown(make), `no event of the set has the tag "corse"; the set declares the tags: course`, "the error")
    }
    const by = { tag: "course" } as const
    includes(
      thrown(() => Projection.make("n", { ...options, partitionBy: by })),
      `events "Closed" cannot have the tag "course"`,
      "the error for one type"
    )
    // Handlers of untagged types run in the order of the stream.
    equal(
      thrown(() => Subscription.make("n", { events: Events, partitionBy: by, handle: () => Effect.void })),
      "nothing",
      ""
    )
    yield* Effect.void
  }),

  test("a document that is not a value of the tag fails its event", function*() {
    const { Events, append, type } = fixture({ partitions: 1 })
    const projection = Projection.make(unique("odd"), {
      events: Events,
      document: Schema.Int,
      partitions: 3,
      partitionBy: { tag: "course" },
      key: () => "all",
      evolve: { [type]: (n) => (n ?? 0) + 1 }
    })
    yield* Effect.gen(function*() {
      yield* append(1, ["a"])
      yield* until(Effect.map(parkedKeys(projection), (all) => all.some(({ key }) => key === "course:a")))
      const found = (yield* parkedKeys(projection)).find(({ key }) => key === "course:a")
      includes(found?.error ?? "", `the document "all", which is not a value of its tag "course"`, "the error")
    }).pipe(Effect.provide(Projector.layer([projection])))
  }),

  test("the partitions of a tag hold the events with their keys, and count them", function*() {
    const { append, type } = fixture({ partitions: 1 })
    const { driver } = (yield* EventStore.EventStore)[internals]
    // A page examines a limited number of positions, and other cases have written many.
    const after = yield* driver.head
    for (const n of upTo(30)) {
      const courses = n % 5 === 0 ? [] : [`c${n % 7}`, `ä€😀${n}`].slice(0, 1 + n % 2)
      yield* append(n, courses)
    }
    const page = { after, limit: 500, types: [type] }
    const all = (yield* driver.readAll(page)).events
    for (const tag of [undefined, "course"]) {
      for (const index of [0, 1, 2]) {
        const partition = { index, of: 3, tag }
        const { events, head } = yield* driver.readAll({ ...page, partition })
        const expected = all.filter((event) => partitionKeys(event, tag).some((key) => partitionOf(key, 3) === index))
        equal(events.map(({ position }) => position), expected.map(({ position }) => position), `partition ${index}`)
        isAbove(events.length, 0, "the events of a partition")
        const lag = yield* driver.lag({ after, to: head, limit: 500, types: [type], partition })
        equal(lag.events, expected.length, `the lag of partition ${index}`)
      }
    }
  })
]

const projectionLease = Duration.seconds(10)

const byStream: ReadonlyArray<Case<Stores>> = [
  test("several partitions by stream refuse a document that a second stream feeds", function*() {
    const { append, audited, awaitPosition, projection, seen, type, withProjector } = fixture({
      partitions: 4,
      partitionBy: "stream"
    })
    yield* Effect.gen(function*() {
      // Without an order between the streams, the last capacity would be one of either.
      for (const n of upTo(3)) yield* append(n, ["a"], `${type}-one`)
      yield* awaitPosition(yield* append(4, ["a"], `${type}-one`))
      for (const n of upTo(12)) yield* append(n, ["a"], `${type}-other${n}`)
      yield* awaitPosition(yield* append(5, ["a"], `${type}-one`))
      equal(yield* seen("a"), [1, 2, 3, 4, 5], "the document")
      const parked = yield* parkedKeys(projection)
      equal(parked.length, 12, "the parked streams")
      for (const part of [`the document "a" is fed by the stream "${type}-one"`, `4 partitions by "stream"`]) {
        includes(parked[0]?.error ?? "", part, "the error")
      }
      equal((yield* Parking.retry(projection, `${type}-other1`)).outcome, "failed", "a retry")
      yield* audited
    }).pipe(withProjector)
  }),

  test("partitions that write a document at the same time leave it to one stream", function*() {
    const { append, awaitPosition, projection, seen, type, withProjector } = fixture({
      partitions: 4,
      partitionBy: "stream"
    })
    const documents = upTo(20).map((n) => `d${n}`)
    let last = Position.start
    for (const n of upTo(6)) {
      for (const one of documents) last = yield* append(n, [one], `${type}-${one}-${n % 3}`)
    }
    yield* Effect.gen(function*() {
      yield* awaitPosition(last)
      for (const one of documents) {
        const [first, second, ...others] = yield* seen(one)
        equal([second, others], [(first ?? 0) + 3, []], `the events in ${one}`)
      }
      equal((yield* parkedKeys(projection)).length, 40, "the parked streams")
    }).pipe(withProjector)
  }),

  test("a document of one partition by stream is fed by several streams", function*() {
    const { append, awaitPosition, projection, seen, withProjector } = fixture({ partitions: 1, partitionBy: "stream" })
    yield* Effect.gen(function*() {
      for (const n of upTo(9)) yield* append(n, ["a"])
      yield* awaitPosition(yield* append(10, ["a"]))
      equal([yield* seen("a"), yield* parkedKeys(projection)], [upTo(10), []], "the document and the parked streams")
    }).pipe(withProjector)
  })
]

const SeatsEvent = Schema.TaggedUnion({ SeatsChanged: { course: Schema.String, seats: Schema.Int } }).pipe(
  Event.tags({ course: "course" })
)
const ChangeSeats = Command.make("ChangeSeats", { payload: { course: Schema.String, seats: Schema.Int } })

/** It writes to a stream of its own for each command. */
const changeSeats = Decision.make(ChangeSeats, {
  events: SeatsEvent,
  models: ({ course }) => ({
    seats: Decision.model({
      events: SeatsEvent,
      tags: { course },
      initial: 0,
      evolve: { SeatsChanged: (_, { seats }) => seats }
    })
  }),
  decide: ({ seats }, command) =>
    command.seats === seats + 1 ? [SeatsEvent.cases.SeatsChanged.make(command)] : Result.succeed([])
})

const seatsBy = (partitionBy?: "document" | "stream" | { readonly tag: "course" }) =>
  Projection.make(unique("seats"), {
    events: SeatsEvent,
    document: Schema.Int,
    partitions: 4,
    ...partitionBy === undefined ? {} : { partitionBy },
    key: ({ course }) => course,
    evolve: { SeatsChanged: (_, { seats }) => seats }
  })

const decisions: ReadonlyArray<Case<Stores>> = [
  test("decisions change 4 courses 100 times, and 4 partitions have the last capacity or refuse", function*() {
    const right = [seatsBy(), seatsBy("document"), seatsBy({ tag: "course" })]
    const refused = seatsBy("stream")
    const courses = upTo(4).map(() => unique("course"))
    const store = yield* ProjectionStore.ProjectionStore
    yield* Effect.gen(function*() {
      const receipts = yield* Effect.forEach(
        courses,
        (course) => Effect.forEach(upTo(100), (seats) => CommandBus.dispatch(ChangeSeats, { course, seats })),
        { concurrency: "unbounded" }
      ).pipe(Effect.provide(Decision.layer(changeSeats)))
      const all = receipts.flat()
      equal(new Set(all.map(({ stream }) => stream)).size, 400, "the streams")
      const last = all.reduce((max, { position }) => Position.max(max, position), Position.start)
      for (const projection of [...right, refused]) yield* store.awaitPosition(projection, last, "50 seconds")
      for (const projection of right) {
        for (const course of courses) {
          equal(yield* ProjectionStore.get(projection, course), Option.some(100), `the capacity of ${course}`)
        }
        equal(yield* parkedKeys(projection), [], "the parked keys")
      }
      const parked = yield* parkedKeys(refused)
      equal(parked.length, 396, "the parked streams of the projection by stream")
      includes(parked[0]?.error ?? "", "Leave out `partitionBy`", "the error")
    }).pipe(Effect.provide(Projector.layer([...right, refused], { batchSize: 7 })))
  })
]

/**
 * All cases of rejected keys.
 *
 * @since 0.1.0
 * @category suites
 */
export const consumerKeyRejections: ReadonlyArray<Case<Stores>> = [...definitions, ...byStream, ...decisions]
