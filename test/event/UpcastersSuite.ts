/**
 * The runtime suite of events of several releases: each reader of a later release reads stored events as upcast events, and processes of
 * two releases share one log and one consumer.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import { EventStoreError } from "../../src/core/errors.ts"
import type { Position } from "../../src/core/Position.ts"
import * as StreamId from "../../src/core/StreamId.ts"
import * as DecisionLayer from "../../src/decision/Decision.ts"
import * as Decision from "../../src/decision/DecisionDefinition.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventQuery from "../../src/event/EventQuery.ts"
import type { RecordedEvent } from "../../src/event/RecordedEvent.ts"
import * as EventBus from "../../src/eventStore/EventBus.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as EventHandlers from "../../src/projection/Projection.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import type { Stores } from "../support/AccountFixtures.ts"
import { attentive } from "../support/Attentive.ts"
import { parkedKeys } from "../support/parked.ts"
import { Book, First, FirstHotel, Second, sentenceOf, Third, ThirdHotel } from "./UpcasterFixtures.ts"

const streamOf = (run: string) => StreamId.nameOf("Hotel", run)
const tag = (run: string) => Event.tag("run", run)
const Log = Schema.Array(Schema.String)

/** Appends four events of the first release, then two of the second. Returns the last receipt. */
const appendOldEvents = Effect.fnUntraced(function*(run: string, stream = streamOf(run)) {
  const store = yield* EventStore
  yield* store.append(First, stream, [
    { _tag: "GuestCame", run, guest: "ann" },
    { _tag: "GuestGreeted", run, guest: "ann" },
    { _tag: "RoomBooked", run, guest: "ann", room: "1", breakfast: true },
    { _tag: "RoomBooked", run, guest: "ben", room: "2", breakfast: false }
  ])
  return yield* store.append(Second, stream, [
    { _tag: "RoomBooked", run, guest: "cleo", rooms: ["3", "4"] },
    { _tag: "GuestCame", run, guest: "cleo" }
  ])
})

/** The sentences of these events, upcast to the third release. */
const expectedLog = [
  "ann arrived",
  "ann booked 1",
  "ann wants breakfast",
  "ben booked 2",
  "cleo booked 3+4",
  "cleo arrived"
]

const sentencesOf = (records: ReadonlyArray<RecordedEvent<Third>>) => records.map(({ event }) => sentenceOf(event))

/** A projection of the third release: the sentences of all events of a stream, in order. */
const thirdLog = <L extends Projection.Lifecycle>(name: string, run: string, lifecycle: L, partitions = 1) =>
  Projection.make(name, {
    events: Third,
    document: Log,
    lifecycle,
    where: { tags: [tag(run)] },
    partitions,
    partitionBy: "stream",
    key: (_, { stream }) => stream,
    evolve: {
      GuestArrived: (log = [], e) => [...log, sentenceOf(e)],
      RoomBooked: (log = [], e) => [...log, sentenceOf(e)],
      BreakfastOrdered: (log = [], e) => [...log, sentenceOf(e)]
    }
  })

/** The same projection in the first release. It throws on every sentence that `isPoison` selects. */
const firstLog = (name: string, run: string, partitions = 1, isPoison: (text: string) => boolean = () => false) => {
  const tell = (log: ReadonlyArray<string> = [], event: typeof First.Type) => {
    if (isPoison(sentenceOf(event))) throw new Error("poison")
    return [...log, sentenceOf(event)]
  }
  return Projection.make(name, {
    events: First,
    document: Log,
    where: { tags: [tag(run)] },
    partitions,
    partitionBy: "stream",
    key: (_, { stream }) => stream,
    evolve: { GuestCame: tell, GuestGreeted: tell, RoomBooked: tell }
  })
}

const reasonOf = (error: unknown) =>
  error instanceof EventStoreError && error.reason._tag === "UndecodableEvent" ? error.reason.problem : undefined

const pollUntil = <A, E, R>(effect: Effect.Effect<A, E, R>, until: (value: A) => boolean) =>
  effect.pipe(Effect.repeat({ until, schedule: Schedule.spaced("10 millis") }), Effect.timeout("1 minute"))

const awaitProjection = (projection: Projection.Any<"async">, position: Position) =>
  Effect.flatMap(ProjectionStore.ProjectionStore, (store) => store.awaitPosition(projection, position, "1 minute"))

/** Starts the projector of one release on the shared stores. */
const startProjector = (
  projections: ReadonlyArray<Projection.Any<"async"> | EventHandlers.Handler<string, Event.Any, "async", never>>
) =>
  Effect.map(
    Layer.build(Layer.fresh(Projector.layer(projections, { lease: "300 millis" }))),
    (context) => Context.get(context, Projector.Projector)
  )

const readers: ReadonlyArray<Case<Stores>> = [
  test("reads events of earlier releases upcast, and leaves the stored rows unchanged", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const receipt = yield* appendOldEvents(run)
    const where = { tags: [tag(run)] }
    equal(
      sentencesOf(yield* Stream.runCollect(store.readStream(Third, streamOf(run)))),
      expectedLog,
      "the events of the stream"
    )
    equal(sentencesOf(yield* Stream.runCollect(store.readAll(Third, { where }))), expectedLog, "the events of the log")
    equal(
      sentencesOf(yield* store.subscribe(Third, { where }).pipe(Stream.take(expectedLog.length), Stream.runCollect)),
      expectedLog,
      "the events of `subscribe`"
    )
    equal((yield* Aggregate.load(ThirdHotel, run)).state, expectedLog, "the state of the aggregate")

    const parts = yield* Stream.runCollect(store.readStream(Third, streamOf(run)))
    equal(
      parts.map(({ part, version }) => [version, part]),
      [[1, 0], [3, 0], [3, 1], [4, 0], [5, 0], [6, 0]],
      "the version and part of each event"
    )
    equal(parts[1]!.id, parts[2]!.id, "the id of both parts of one event")

    yield* store.append(Third, streamOf(run), [
      { _tag: "RoomBooked", run, guest: "dora", rooms: ["5"], nights: 3 },
      { _tag: "GuestArrived", run, guest: "dora", by: "train" }
    ])
    const rows = yield* Stream.runCollect(store.readStreamEncoded(streamOf(run)))
    const ann = { run, guest: "ann" }
    equal(
      rows.map(({ data, schemaVersion, type }) => ({ type, schemaVersion, data })),
      [
        { type: "GuestCame", schemaVersion: 1, data: ann },
        { type: "GuestGreeted", schemaVersion: 1, data: ann },
        { type: "RoomBooked", schemaVersion: 1, data: { ...ann, room: "1", breakfast: true } },
        { type: "RoomBooked", schemaVersion: 1, data: { run, guest: "ben", room: "2", breakfast: false } },
        { type: "RoomBooked", schemaVersion: 2, data: { run, guest: "cleo", rooms: ["3", "4"] } },
        { type: "GuestCame", schemaVersion: 1, data: { run, guest: "cleo" } },
        { type: "RoomBooked", schemaVersion: 3, data: { run, guest: "dora", rooms: ["5"], nights: 3 } },
        { type: "GuestArrived", schemaVersion: 1, data: { run, guest: "dora", by: "train" } }
      ],
      "the stored rows"
    )
    equal(rows[5]!.position, receipt.position, "the position of the last old event")
  }),

  test("projections, handlers, subscriptions and the event bus take upcast events", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const where = { tags: [tag(run)] }
    const handled = yield* Ref.make<ReadonlyArray<string>>([])
    const sent = yield* Ref.make<ReadonlyArray<string>>([])
    const push = (ref: Ref.Ref<ReadonlyArray<string>>, event: Third) =>
      Ref.update(ref, (all) => [...all, sentenceOf(event)])
    const live = thirdLog(unique("live"), run, "live")
    const later = thirdLog(unique("later"), run, "async")
    const now = thirdLog(unique("now"), run, "inline")
    const rows = EventHandlers.handler(unique("rows"), {
      events: Third,
      where,
      handle: {
        GuestArrived: (e) => push(handled, e),
        RoomBooked: (e) => push(handled, e),
        BreakfastOrdered: (e) => push(handled, e)
      }
    })
    const mails = Subscription.make(unique("mails"), { events: Third, where, handle: (e) => push(sent, e) })
    const get = <P extends Projection.Any>(projection: P) =>
      Effect.map(ProjectionStore.get(projection, streamOf(run)), Option.getOrUndefined)
    yield* Effect.gen(function*() {
      const collect = yield* Effect.map(EventBus.listen(Third), (events) =>
        events.pipe(
          Stream.filter(({ event }) => event.run === run),
          Stream.take(expectedLog.length),
          Stream.runCollect
        ))
      const collecting = yield* Effect.forkChild(collect)
      // The earlier releases append through a store with the inline projection of the third release.
      const inline = yield* Layer.build(Projector.layerInline([now]))
      const { position } = yield* Effect.provide(appendOldEvents(run), inline)
      yield* awaitProjection(later, position)
      equal(yield* get(later), expectedLog, "the asynchronous document")
      equal(yield* get(now), expectedLog, "the inline document")
      equal(yield* get(live), expectedLog, "the live document")
      equal(
        sentencesOf(yield* Effect.timeout(Fiber.join(collecting), "1 minute")),
        expectedLog,
        "the events from the event bus"
      )
      equal(
        yield* pollUntil(Ref.get(handled), (all) => all.length >= expectedLog.length),
        expectedLog,
        "the events of the handler"
      )
      equal(
        yield* pollUntil(Ref.get(sent), (all) => all.length >= expectedLog.length),
        expectedLog,
        "the events of the subscription"
      )
      const audit = yield* DeliveryAudit.run(later)
      equal([audit.status, audit.first], ["complete", undefined], "the audit's status and first fault")
    }).pipe(
      Effect.provide(Layer.mergeAll(Projector.layer([later, rows]), Subscription.layer([mails]), EventBus.layer()))
    )
    equal((yield* Stream.runCollect(store.readStreamEncoded(streamOf(run)))).length, 6, "the number of stored events")
  }),

  test("a consumer of one type takes its part of a split event, and no other part", function*() {
    const run = unique("run")
    yield* appendOldEvents(run)
    const keyedTypes = new Set<string>()
    const breakfasts = <L extends Projection.Lifecycle>(lifecycle: L) =>
      Projection.make(unique("breakfasts"), {
        events: Third,
        document: Log,
        lifecycle,
        where: { tags: [tag(run)] },
        key: (e) => {
          keyedTypes.add(e._tag)
          return e._tag
        },
        evolve: {
          GuestArrived: Projection.ignore,
          RoomBooked: Projection.ignore,
          BreakfastOrdered: (log = [], e) => [...log, e.guest]
        }
      })
    const [later, live] = [breakfasts("async"), breakfasts("live")]
    yield* Effect.gen(function*() {
      const { head } = yield* EventStore
      yield* awaitProjection(later, yield* head)
    }).pipe(Effect.provide(Projector.layer([later])))
    equal((yield* ProjectionStore.list(later)).items, [["ann"]], "the asynchronous documents")
    equal((yield* ProjectionStore.list(live)).items, [["ann"]], "the live documents")
    equal(Array.from(keyedTypes), ["BreakfastOrdered"], "the types whose key was computed")
  }),

  test("a decision reads renamed events, and a later one breaks its append condition", function*() {
    const run = unique("run")
    const store = yield* EventStore
    yield* appendOldEvents(run)
    const Count = Command.make("Count", { payload: { run: Schema.String } })
    const arrived = (run: string) =>
      Decision.model({
        events: Third,
        tags: { run },
        initial: 0,
        evolve: { GuestArrived: (n) => n + 1 }
      })
    equal(arrived(run).query.types, ["GuestArrived", "GuestCame"], "the stored types of the query")
    let decided = 0
    const counting = Decision.make(Count, {
      events: Third,
      models: ({ run }) => ({ arrived: arrived(run) }),
      decide: ({ arrived }, { run }) => {
        decided = arrived
        return [{ _tag: "BreakfastOrdered", run, guest: `guest ${arrived}` }]
      }
    })
    yield* CommandBus.dispatch(Count, { run }).pipe(Effect.provide(DecisionLayer.layer(counting)))
    equal(decided, 2, "the arrivals that the decision counted")
    const { condition } = yield* store.readByQuery(EventQuery.ofStoredTypes([arrived(run).query]))
    const competing = yield* store.append(First, unique("Other"), [{ _tag: "GuestCame", run, guest: "eve" }])
    const append = store.appendIf(condition, Third, unique("Other"), [{ _tag: "BreakfastOrdered", run, guest: "eve" }])
    const error = yield* Effect.flip(append)
    equal(
      error._tag === "AppendConditionFailed" ? error.position : undefined,
      competing.position,
      "the position of the conflict"
    )
  }),

  test("a reader by a tag gets of a split event the parts with this value only", function*() {
    const [ann, ben] = [unique("ann"), unique("ben")]
    const Order = Schema.TaggedUnion({ BothOrdered: { who: Schema.Array(Schema.String) } }).pipe(
      Event.tags({ who: "who" })
    )
    const Split = Schema.TaggedUnion({ OneOrdered: { who: Schema.String }, AllOrdered: { n: Schema.Int } }).pipe(
      Event.tags({ who: "who" }),
      Event.legacy({
        BothOrdered: Event.from({ who: Schema.Array(Schema.String) }).splitInto(
          ["OneOrdered", "AllOrdered"],
          ({ who }) => [
            ...who.map((one) => ({ _tag: "OneOrdered" as const, who: one })),
            { _tag: "AllOrdered" as const, n: who.length }
          ]
        )
      })
    )
    const store = yield* EventStore
    yield* store.append(Order, unique("Order"), [{ _tag: "BothOrdered", who: [ann, ben, ann] }])
    const told = (event: typeof Split.Type) => event._tag === "AllOrdered" ? "all" : event.who
    // A part without the tag is read by every reader of the event.
    const where = { tags: [Event.tag("who", ann)] }
    const read = yield* Stream.runCollect(store.readAll(Split, { where }))
    equal(read.map(({ event, part }) => [part, told(event)]), [[0, ann], [2, ann], [3, "all"]], "a read of the log")

    const Orders = Projection.make(unique("orders"), {
      events: Split,
      document: Log,
      where,
      key: () => "all",
      evolve: {
        OneOrdered: (log = [], e) => [...log, told(e)],
        AllOrdered: (log = [], e) => [...log, told(e)]
      }
    })
    const projections = yield* ProjectionStore.ProjectionStore
    yield* projections.awaitPosition(Orders, read.at(-1)!.position, "1 minute").pipe(
      Effect.provide(Projector.layer([Orders]))
    )
    const document = yield* projections.get(Orders, "all")
    equal(Option.getOrUndefined(document), [ann, ann, "all"], "a projection")

    const Count = Command.make("CountOrders", { payload: { who: Schema.String } })
    let counted = 0
    const counting = Decision.make(Count, {
      events: Split,
      models: ({ who }) => ({
        orders: Decision.model({ events: Split, tags: { who }, initial: 0, evolve: { OneOrdered: (n) => n + 1 } })
      }),
      decide: ({ orders }) => {
        counted = orders
        return []
      }
    })
    yield* CommandBus.dispatch(Count, { who: ann }).pipe(Effect.provide(DecisionLayer.layer(counting)))
    equal(counted, 2, "a decision")
  }),

  test("an upcaster that throws fails the read by name and parks only its stream", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const [bad, good] = [streamOf(`${run}-bad`), streamOf(`${run}-good`)]
    const poisoned = [
      { _tag: "GuestCame" as const, run, guest: "ann" },
      { _tag: "RoomBooked" as const, run, guest: "ann", rooms: ["13"] }
    ]
    yield* store.append(Second, bad, poisoned)
    const { position } = yield* appendOldEvents(run, good)
    const seen: Array<string> = []
    const reading = store.readStream(Third, bad).pipe(
      Stream.runForEach(({ event }) => Effect.sync(() => seen.push(sentenceOf(event))))
    )
    const error = yield* Effect.flip(reading)
    equal(reasonOf(error), "UpcasterFailed", "the cause")
    includes(error.message, "from schema version 2 threw: Error: there is no room 13", "the message")
    equal(seen, ["ann arrived"], "the events before the error")
    const projection = thirdLog(unique("log"), run, "async")
    yield* awaitProjection(projection, position).pipe(Effect.provide(Projector.layer([projection])))
    equal(
      Option.getOrUndefined(yield* ProjectionStore.get(projection, good)),
      expectedLog,
      "the document of another stream"
    )
    const [parked] = yield* parkedKeys(projection)
    equal([parked?.stream, parked?.version, parked?.error], [bad, 2, error.message], "the parked event and its error")
    const rows = yield* Stream.runCollect(store.readStreamEncoded(bad))
    equal(rows[1]?.data, { run, guest: "ann", rooms: ["13"] }, "the stored row")
  })
]

// Either release may process the types that both define. These tests contain no split event, so both produce the same sentences.
const deployments: ReadonlyArray<Case<Stores>> = [
  test("an old projector stops before an event of newer code, whose release takes over", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const name = unique("log")
    const [old, current] = [firstLog(name, run), thirdLog(name, run, "async")]
    const log = Effect.map(ProjectionStore.get(current, streamOf(run)), Option.getOrUndefined)
    const older = yield* startProjector([old])
    yield* store.append(First, streamOf(run), [{ _tag: "RoomBooked", run, guest: "ann", room: "1", breakfast: false }])
    yield* store.append(Third, streamOf(run), [{ _tag: "RoomBooked", run, guest: "ben", rooms: ["2"], nights: 2 }])
    yield* store.append(First, streamOf(run), [{ _tag: "RoomBooked", run, guest: "cleo", room: "3", breakfast: false }])
    // The status is stuck at the event first, and then reports that the worker stops claiming.
    const [status] = yield* pollUntil(
      older.status,
      ([one]) => one?.state === "stuck" && one.detail?.includes("stops claiming") === true
    )
    for (const words of ["schema version 1;", "newer code wrote the event"]) {
      includes(status?.detail ?? "", words, "the detail of the status")
    }
    equal(yield* pollUntil(log, (log) => log !== undefined), ["ann booked 1"], "the document of the old projector")
    yield* pollUntil(
      Health.of([old]),
      ({ reasons }) => reasons.some((reason) => reason.includes("waits for a process with newer code"))
    )
    equal(yield* parkedKeys(current), [], "the parked streams")
    yield* startProjector([current])
    const { position } = yield* store.append(First, streamOf(run), [
      { _tag: "RoomBooked", run, guest: "dora", room: "4", breakfast: false }
    ])
    yield* awaitProjection(current, position)
    const all = ["ann booked 1", "ben booked 2", "cleo booked 3", "dora booked 4"]
    equal(yield* log, all, "the document of the new projector")
    equal(yield* parkedKeys(current), [], "the parked streams")
    equal((yield* DeliveryAudit.run(current)).status, "complete", "the audit")
    const standby = yield* pollUntil(older.status, ([one]) => one?.state === "standby")
    equal(standby.map(({ state }) => state), ["standby"], "the states of the old projector")
  }),

  test("two releases beside each other process each stream once, in order", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const name = unique("log")
    const [old, current] = [firstLog(name, run, 4), thirdLog(name, run, "async", 4)]
    const guests = ["a", "b", "c", "d", "e", "f"].map((guest) => ({ guest, stream: streamOf(`${run}-${guest}`) }))
    const older = yield* startProjector([old])
    yield* pollUntil(older.status, ([one]) => one?.partitions === 4)
    // It reads other events, so it waits until the old one has come to an event of newer code.
    const newer = yield* startProjector([current])
    yield* pollUntil(newer.status, ([one]) => one?.state === "standby")
    let last
    for (const { guest, stream } of guests) {
      yield* store.append(First, stream, [{ _tag: "RoomBooked", run, guest, room: "1", breakfast: false }])
      yield* store.append(Third, stream, [{ _tag: "RoomBooked", run, guest, rooms: ["2"], nights: 2 }])
      last = yield* store.append(First, stream, [{ _tag: "RoomBooked", run, guest, room: "3", breakfast: false }])
    }
    yield* awaitProjection(current, last!.position)
    for (const { guest, stream } of guests) {
      const expected = ["booked 1", "booked 2", "booked 3"].map((text) => `${guest} ${text}`)
      equal(Option.getOrUndefined(yield* ProjectionStore.get(current, stream)), expected, `the document of ${guest}`)
    }
    equal(yield* parkedKeys(current), [], "the parked streams")
    equal((yield* DeliveryAudit.run(current)).status, "complete", "the audit")
  }),

  test("an old subscription leaves events of newer code to the newer release", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const name = unique("mails")
    const sent = yield* Ref.make<ReadonlyArray<string>>([])
    const where = { tags: [tag(run)] }
    const send = (text: string) => Ref.update(sent, (all) => [...all, text])
    const old = Subscription.make(name, { events: First, where, handle: (e) => send(sentenceOf(e)) })
    const current = Subscription.make(name, { events: Third, where, handle: (e) => send(sentenceOf(e)) })
    const start = (subscription: typeof old | typeof current) =>
      Layer.build(Layer.fresh(attentive(Subscription.layer([subscription]), subscription)))
    yield* start(old)
    yield* store.append(First, streamOf(run), [{ _tag: "RoomBooked", run, guest: "ann", room: "1", breakfast: false }])
    yield* store.append(Third, streamOf(run), [{ _tag: "RoomBooked", run, guest: "ben", rooms: ["2"], nights: 2 }])
    yield* pollUntil(Ref.get(sent), (all) => all.length === 1)
    yield* start(current)
    yield* store.append(First, streamOf(run), [{ _tag: "RoomBooked", run, guest: "cleo", room: "3", breakfast: false }])
    const expected = ["ann booked 1", "ben booked 2", "cleo booked 3"]
    equal(yield* pollUntil(Ref.get(sent), (all) => all.length >= 3), expected, "the sent mails")
  }),

  test("old consumers stop at an event of newer code, also for other streams", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const name = unique("rows")
    const where = { tags: [tag(run)] }
    const done = yield* Ref.make<ReadonlyArray<string>>([])
    // The store may roll a batch back and repeat it, so the handler ignores repeats.
    const handle = (event: typeof First.Type | Third) =>
      Ref.update(done, (all) => all.includes(sentenceOf(event)) ? all : [...all, sentenceOf(event)])
    const old = EventHandlers.handler(name, {
      events: First,
      where,
      handle: { GuestCame: handle, GuestGreeted: handle, RoomBooked: handle }
    })
    const current = EventHandlers.handler(name, {
      events: Third,
      where,
      handle: { GuestArrived: handle, RoomBooked: handle, BreakfastOrdered: handle }
    })
    yield* store.append(First, streamOf(run), [{ _tag: "RoomBooked", run, guest: "ann", room: "1", breakfast: false }])
    yield* store.append(Third, streamOf(run), [{ _tag: "RoomBooked", run, guest: "ben", rooms: ["2"], nights: 2 }])
    yield* store.append(First, streamOf(run), [{ _tag: "RoomBooked", run, guest: "cleo", room: "3", breakfast: false }])
    const { position } = yield* store.append(First, streamOf(`${run}-other`), [
      { _tag: "RoomBooked", run, guest: "dora", room: "4", breakfast: false }
    ])
    const log = unique("log")
    const [oldLog, currentLog] = [firstLog(log, run), thirdLog(log, run, "async")]
    const sent = yield* Ref.make<ReadonlyArray<string>>([])
    const send = (text: string) => Ref.update(sent, (all) => [...all, text])
    const mails = unique("mails")
    const subscribe = (subscription: Subscription.Subscription<string, Event.Any, never>) =>
      Layer.build(Layer.fresh(attentive(Subscription.layer([subscription]), subscription)))
    const older = yield* startProjector([old, oldLog])
    yield* subscribe(Subscription.make(mails, { events: First, where, handle: (e) => send(sentenceOf(e)) }))
    const stuck = yield* pollUntil(older.status, (all) => all.every((one) => one.state === "stuck"))
    equal(stuck.length, 2, "the number of stuck consumers")
    yield* pollUntil(Ref.get(sent), (all) => all.length > 0)
    equal(yield* Ref.get(done), ["ann booked 1"], "the events of the old handler")
    for (const one of [old, oldLog]) equal(yield* parkedKeys(one), [], "the parked streams")
    yield* startProjector([current, currentLog])
    yield* subscribe(Subscription.make(mails, { events: Third, where, handle: (e) => send(sentenceOf(e)) }))
    const expected = ["ann booked 1", "ben booked 2", "cleo booked 3", "dora booked 4"]
    equal(yield* pollUntil(Ref.get(done), (all) => all.length >= 4), expected, "the events of the new handler")
    equal(yield* pollUntil(Ref.get(sent), (all) => all.length >= 4), expected, "the events of the new subscription")
    yield* awaitProjection(currentLog, position)
    const document = yield* ProjectionStore.get(currentLog, streamOf(run))
    equal(Option.getOrUndefined(document), expected.slice(0, 3), "the document")
    for (const one of [current, currentLog]) equal((yield* DeliveryAudit.run(one)).status, "complete", "the audit")
  }),

  test("an old retry parks its stream at an event of newer code, which retries it", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const name = unique("log")
    let poison = "ann booked 1"
    const [old, current] = [firstLog(name, run, 1, (text) => text === poison), thirdLog(name, run, "async")]
    const oldScope = yield* Scope.fork(yield* Effect.scope)
    yield* Scope.provide(startProjector([old]), oldScope)
    const first = yield* store.append(First, streamOf(run), [
      { _tag: "RoomBooked", run, guest: "ann", room: "1", breakfast: false }
    ])
    yield* awaitProjection(current, first.position)
    const { position } = yield* store.append(Third, streamOf(run), [
      { _tag: "RoomBooked", run, guest: "ben", rooms: ["2"], nights: 2 }
    ])
    // The old projector defers the event, because its stream is parked.
    yield* awaitProjection(current, position)
    poison = ""
    const oldRetry = yield* Parking.retry(current, streamOf(run))
    equal([oldRetry.outcome, oldRetry.parked?.position], ["retried", position], "the outcome of the old retry")
    includes(oldRetry.parked?.error ?? "", "newer code wrote the event", "the parking error")
    const other = yield* store.append(First, streamOf(`${run}-other`), [
      { _tag: "RoomBooked", run: `${run}-other`, guest: "cem", room: "3", breakfast: false }
    ])
    yield* awaitProjection(current, other.position)
    yield* Scope.close(oldScope, Exit.void)
    yield* startProjector([current])
    const newRetry = yield* Parking.retry(current, streamOf(run))
    equal([newRetry.outcome, newRetry.parked], ["retried", undefined], "the outcome of the new retry")
    const log = Option.getOrUndefined(yield* ProjectionStore.get(current, streamOf(run)))
    equal(log, ["ann booked 1", "ben booked 2"], "the document")
    equal((yield* DeliveryAudit.run(current)).status, "complete", "the audit")
  }),

  test("an old command fails on a stream with an event of newer code, writing nothing", function*() {
    const run = unique("run")
    const book = (room: string) => CommandBus.dispatch(Book, { run, guest: "ann", room })
    const store = yield* EventStore
    yield* book("1").pipe(Effect.provide(Aggregate.layer(FirstHotel)))
    const { version } = yield* book("2").pipe(Effect.provide(Aggregate.layer(ThirdHotel)))
    const error = yield* Effect.flip(book("3")).pipe(Effect.provide(Layer.fresh(Aggregate.layer(FirstHotel))))
    equal(reasonOf(error), "NewerVersion", "the cause")
    includes(error.message, "this program has its schema version 1;", "the message")
    const rows = yield* Stream.runCollect(store.readStreamEncoded(streamOf(run)))
    equal(rows.map((row) => row.version), [1, version], "the versions of the stored events")
    // The same holds for a process that cached the state before the newer event.
    yield* Effect.gen(function*() {
      const other = unique("run")
      yield* CommandBus.dispatch(Book, { run: other, guest: "ann", room: "1" })
      yield* store.append(Third, streamOf(other), [{
        _tag: "RoomBooked",
        run: other,
        guest: "b",
        rooms: [],
        nights: 1
      }])
      const error = yield* Effect.flip(CommandBus.dispatch(Book, { run: other, guest: "ann", room: "3" }))
      equal(reasonOf(error), "NewerVersion", "the cause")
      equal(
        (yield* Stream.runCollect(store.readStreamEncoded(streamOf(other)))).length,
        2,
        "the number of stored events"
      )
    }).pipe(Effect.provide(Layer.fresh(Aggregate.layer(FirstHotel))))
  })
]

/**
 * Cases on events of several releases in one log.
 *
 * @since 0.1.0
 * @category suites
 */
export const versions: ReadonlyArray<Case<Stores>> = [...readers, ...deployments]
