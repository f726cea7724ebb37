/**
 * The conformance suite of the runtime, the part on events of several releases: what was written once is read by every reader of a later release
 * as what it means then, and processes of two releases share one log and one consumer.
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
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import { EventStoreError } from "../../src/core/errors.ts"
import type { Position } from "../../src/core/Position.ts"
import * as StreamId from "../../src/core/StreamId.ts"
import * as DecisionLayer from "../../src/decision/Decision.ts"
import * as Decision from "../../src/decision/DecisionDefinition.ts"
import * as Event from "../../src/event/Event.ts"
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
import { Book, First, FirstHotel, Second, Third, ThirdHotel, told } from "./UpcasterFixtures.ts"

const streamOf = (run: string) => StreamId.nameOf("Hotel", run)
const tag = (run: string) => Event.tag("run", run)
const Log = Schema.Array(Schema.String)

/** What the first release writes, and the second after it. */
const written = Effect.fnUntraced(function*(run: string, stream = streamOf(run)) {
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

/** And what that means to the third. */
const meaning = [
  "ann arrived",
  "ann booked 1",
  "ann wants breakfast",
  "ben booked 2",
  "cleo booked 3+4",
  "cleo arrived"
]

const tellAll = (records: ReadonlyArray<RecordedEvent<Third>>) => records.map(({ event }) => told(event))

/** Everything that happens in the hotel, in order, as the third release sees it. */
const thirdLog = <L extends Projection.Lifecycle>(name: string, run: string, lifecycle: L, partitions = 1) =>
  Projection.make(name, {
    events: Third,
    document: Log,
    lifecycle,
    where: { tags: [tag(run)] },
    partitions,
    key: (_, { stream }) => stream,
    evolve: {
      GuestArrived: (log = [], e) => [...log, told(e)],
      RoomBooked: (log = [], e) => [...log, told(e)],
      BreakfastOrdered: (log = [], e) => [...log, told(e)]
    }
  })

/** The same of the first release; `isPoison` may change what it can do. */
const firstLog = (name: string, run: string, partitions = 1, isPoison: (text: string) => boolean = () => false) => {
  const tell = (log: ReadonlyArray<string> = [], event: typeof First.Type) => {
    if (isPoison(told(event))) throw new Error("poison")
    return [...log, told(event)]
  }
  return Projection.make(name, {
    events: First,
    document: Log,
    where: { tags: [tag(run)] },
    partitions,
    key: (_, { stream }) => stream,
    evolve: { GuestCame: tell, GuestGreeted: tell, RoomBooked: tell }
  })
}

const reasonOf = (error: unknown) =>
  error instanceof EventStoreError && error.reason._tag === "UndecodableEvent" ? error.reason.problem : undefined

const soon = <A, E, R>(effect: Effect.Effect<A, E, R>, until: (value: A) => boolean) =>
  effect.pipe(Effect.repeat({ until, schedule: Schedule.spaced("10 millis") }), Effect.timeout("30 seconds"))

const reached = (projection: Projection.Any<"async">, position: Position) =>
  Effect.flatMap(ProjectionStore.ProjectionStore, (store) => store.awaitPosition(projection, position, "30 seconds"))

/** A process of one release: its projector, on the stores of all. */
const process = (
  projections: ReadonlyArray<Projection.Any<"async"> | EventHandlers.Handler<string, Event.Any, "async", never>>
) =>
  Effect.map(
    Layer.build(Layer.fresh(Projector.layer(projections, { lease: "300 millis" }))),
    (context) => Context.get(context, Projector.Projector)
  )

const readers: ReadonlyArray<Case<Stores>> = [
  test("what earlier releases have written is read as what it means today, and stays as it was written", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const receipt = yield* written(run)
    const where = { tags: [tag(run)] }
    equal(tellAll(yield* Stream.runCollect(store.readStream(Third, streamOf(run)))), meaning, "a stream")
    equal(tellAll(yield* Stream.runCollect(store.readAll(Third, { where }))), meaning, "the log")
    equal(
      tellAll(yield* store.subscribe(Third, { where }).pipe(Stream.take(meaning.length), Stream.runCollect)),
      meaning,
      "a subscription to the log"
    )
    equal((yield* Aggregate.load(ThirdHotel, run)).state, meaning, "an aggregate")

    const parts = yield* Stream.runCollect(store.readStream(Third, streamOf(run)))
    equal(parts.map(({ part, version }) => [version, part]), [[1, 0], [3, 0], [3, 1], [4, 0], [5, 0], [6, 0]], "parts")
    equal(parts[1]!.id, parts[2]!.id, "of one event")

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
      "the rows"
    )
    equal(rows[5]!.position, receipt.position, "where they were written")
  }),

  test("projections of every lifecycle, handlers, subscriptions and the event bus take them too", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const where = { tags: [tag(run)] }
    const ref = yield* Ref.make<ReadonlyArray<string>>([])
    const sent = yield* Ref.make<ReadonlyArray<string>>([])
    const push = (ref: Ref.Ref<ReadonlyArray<string>>, event: Third) => Ref.update(ref, (all) => [...all, told(event)])
    const live = thirdLog(unique("live"), run, "live")
    const later = thirdLog(unique("later"), run, "async")
    const now = thirdLog(unique("now"), run, "inline")
    const rows = EventHandlers.handler(unique("rows"), {
      events: Third,
      where,
      handle: {
        GuestArrived: (e) => push(ref, e),
        RoomBooked: (e) => push(ref, e),
        BreakfastOrdered: (e) => push(ref, e)
      }
    })
    const mails = Subscription.make(unique("mails"), { events: Third, where, handle: (e) => push(sent, e) })
    const get = <P extends Projection.Any>(projection: P) =>
      Effect.map(ProjectionStore.get(projection, streamOf(run)), Option.getOrUndefined)
    yield* Effect.gen(function*() {
      const heard = yield* Effect.map(EventBus.listen(Third), (events) =>
        events.pipe(
          Stream.filter(({ event }) => event.run === run),
          Stream.take(meaning.length),
          Stream.runCollect
        ))
      const hearing = yield* Effect.forkChild(heard)
      // The processes of the earlier releases write through a store that keeps the inline projection of this one.
      const inline = yield* Layer.build(Projector.layerInline([now]))
      const { position } = yield* Effect.provide(written(run), inline)
      yield* reached(later, position)
      equal(yield* get(later), meaning, "a projection")
      equal(yield* get(now), meaning, "an inline projection")
      equal(yield* get(live), meaning, "a live projection")
      equal(tellAll(yield* Effect.timeout(Fiber.join(hearing), "30 seconds")), meaning, "the event bus")
      equal(yield* soon(Ref.get(ref), (all) => all.length >= meaning.length), meaning, "a handler")
      equal(yield* soon(Ref.get(sent), (all) => all.length >= meaning.length), meaning, "a subscription")
      const audit = yield* DeliveryAudit.run(later)
      equal([audit.status, audit.first], ["complete", undefined], "the audit")
    }).pipe(
      Effect.provide(Layer.mergeAll(Projector.layer([later, rows]), Subscription.layer([mails]), EventBus.layer()))
    )
    equal((yield* Stream.runCollect(store.readStreamEncoded(streamOf(run)))).length, 6, "the stream")
  }),

  test("who handles one type only is given it from events that were split into it, and of these nothing else", function*() {
    const run = unique("run")
    yield* written(run)
    const asked = new Set<string>()
    const breakfasts = <L extends Projection.Lifecycle>(lifecycle: L) =>
      Projection.make(unique("breakfasts"), {
        events: Third,
        document: Log,
        lifecycle,
        where: { tags: [tag(run)] },
        key: (e) => {
          asked.add(e._tag)
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
      yield* reached(later, yield* head)
    }).pipe(Effect.provide(Projector.layer([later])))
    equal((yield* ProjectionStore.list(later)).items, [["ann"]], "a projection")
    equal((yield* ProjectionStore.list(live)).items, [["ann"]], "a live projection")
    equal(Array.from(asked), ["BreakfastOrdered"], "whose keys were asked for")
  }),

  test("a decision sees events under their former names, and one that comes in between breaks its condition", function*() {
    const run = unique("run")
    const store = yield* EventStore
    yield* written(run)
    const Count = Command.make("Count", { payload: { run: Schema.String } })
    const arrived = (run: string) =>
      Decision.model({
        events: Third,
        tags: { run },
        initial: 0,
        evolve: { GuestArrived: (n) => n + 1 }
      })
    equal(arrived(run).query.types, ["GuestArrived", "GuestCame"], "what is asked for")
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
    equal(decided, 2, "arrivals")
    const { condition } = yield* store.readByQuery([arrived(run).query])
    const came = yield* store.append(First, unique("Other"), [{ _tag: "GuestCame", run, guest: "eve" }])
    const append = store.appendIf(condition, Third, unique("Other"), [{ _tag: "BreakfastOrdered", run, guest: "eve" }])
    const error = yield* Effect.flip(append)
    equal(error._tag === "AppendConditionFailed" ? error.position : undefined, came.position, "the conflict")
  }),

  test("an upcaster that throws is an error that names it, parks one stream only, and leaves the event as it is", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const [bad, good] = [streamOf(`${run}-bad`), streamOf(`${run}-good`)]
    const poisoned = [
      { _tag: "GuestCame" as const, run, guest: "ann" },
      { _tag: "RoomBooked" as const, run, guest: "ann", rooms: ["13"] }
    ]
    yield* store.append(Second, bad, poisoned)
    const { position } = yield* written(run, good)
    const seen: Array<string> = []
    const reading = store.readStream(Third, bad).pipe(
      Stream.runForEach(({ event }) => Effect.sync(() => seen.push(told(event))))
    )
    const error = yield* Effect.flip(reading)
    equal(reasonOf(error), "UpcasterFailed", "the problem")
    ok(error.message.includes("from schema version 2 threw: Error: there is no room 13"), error.message)
    equal(seen, ["ann arrived"], "what comes before it")
    const projection = thirdLog(unique("log"), run, "async")
    yield* reached(projection, position).pipe(Effect.provide(Projector.layer([projection])))
    equal(Option.getOrUndefined(yield* ProjectionStore.get(projection, good)), meaning, "another stream")
    const [parked] = yield* Parking.list(projection)
    equal([parked?.stream, parked?.version, parked?.error], [bad, 2, error.message], "what is parked")
    const rows = yield* Stream.runCollect(store.readStreamEncoded(bad))
    equal(rows[1]?.data, { run, guest: "ann", rooms: ["13"] }, "the row")
  })
]

// What both releases know, either may process, in its own way; so nothing here is split.
const deployments: ReadonlyArray<Case<Stores>> = [
  test("a projector of an earlier release stops before an event of a later one, which then takes over", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const name = unique("log")
    const [old, current] = [firstLog(name, run), thirdLog(name, run, "async")]
    const log = Effect.map(ProjectionStore.get(current, streamOf(run)), Option.getOrUndefined)
    const older = yield* process([old])
    yield* store.append(First, streamOf(run), [{ _tag: "RoomBooked", run, guest: "ann", room: "1", breakfast: false }])
    yield* store.append(Third, streamOf(run), [{ _tag: "RoomBooked", run, guest: "ben", rooms: ["2"], nights: 2 }])
    yield* store.append(First, streamOf(run), [{ _tag: "RoomBooked", run, guest: "cleo", room: "3", breakfast: false }])
    // It says first that it is stuck at the event, and a moment later what comes of that.
    const [status] = yield* soon(
      older.status,
      ([one]) => one?.state === "stuck" && one.detail?.includes("stops claiming") === true
    )
    for (const words of ["schema version 1;", "newer code wrote the event"]) {
      ok(status?.detail?.includes(words) === true, `it says "${words}", and not ${status?.detail}`)
    }
    equal(yield* soon(log, (log) => log !== undefined), ["ann booked 1"], "what it could do")
    yield* soon(
      Health.of([old]),
      ({ reasons }) => reasons.some((reason) => reason.includes("waits for a process with newer code"))
    )
    equal(yield* Parking.list(current), [], "nothing is parked")
    yield* process([current])
    const { position } = yield* store.append(First, streamOf(run), [
      { _tag: "RoomBooked", run, guest: "dora", room: "4", breakfast: false }
    ])
    yield* reached(current, position)
    const all = ["ann booked 1", "ben booked 2", "cleo booked 3", "dora booked 4"]
    equal(yield* log, all, "everything once, in order")
    equal(yield* Parking.list(current), [], "nothing is parked")
    equal((yield* DeliveryAudit.run(current)).status, "complete", "the audit")
    equal((yield* soon(older.status, ([one]) => one?.state === "standby")).length, 1, "the other stands by in the end")
  }),

  test("it is the same where two releases share the partitions of a consumer", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const name = unique("log")
    const [old, current] = [firstLog(name, run, 4), thirdLog(name, run, "async", 4)]
    const guests = ["a", "b", "c", "d", "e", "f"].map((guest) => ({ guest, stream: streamOf(`${run}-${guest}`) }))
    const older = yield* process([old])
    yield* soon(older.status, ([one]) => one?.partitions === 4)
    yield* process([current])
    yield* soon(older.status, ([one]) => one?.partitions === 2)
    let last
    for (const { guest, stream } of guests) {
      yield* store.append(First, stream, [{ _tag: "RoomBooked", run, guest, room: "1", breakfast: false }])
      yield* store.append(Third, stream, [{ _tag: "RoomBooked", run, guest, rooms: ["2"], nights: 2 }])
      last = yield* store.append(First, stream, [{ _tag: "RoomBooked", run, guest, room: "3", breakfast: false }])
    }
    yield* reached(current, last!.position)
    for (const { guest, stream } of guests) {
      const expected = ["booked 1", "booked 2", "booked 3"].map((text) => `${guest} ${text}`)
      equal(Option.getOrUndefined(yield* ProjectionStore.get(current, stream)), expected, "once, in order")
    }
    equal(yield* Parking.list(current), [], "nothing is parked")
    equal((yield* DeliveryAudit.run(current)).status, "complete", "the audit")
  }),

  test("a subscription of an earlier release leaves what it does not know to a later one", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const name = unique("mails")
    const sent = yield* Ref.make<ReadonlyArray<string>>([])
    const where = { tags: [tag(run)] }
    const send = (text: string) => Ref.update(sent, (all) => [...all, text])
    const old = Subscription.make(name, { events: First, where, handle: (e) => send(told(e)) })
    const current = Subscription.make(name, { events: Third, where, handle: (e) => send(told(e)) })
    const start = (subscription: typeof old | typeof current) =>
      Layer.build(Layer.fresh(Subscription.layer([subscription], { lease: "300 millis" })))
    yield* start(old)
    yield* store.append(First, streamOf(run), [{ _tag: "RoomBooked", run, guest: "ann", room: "1", breakfast: false }])
    yield* store.append(Third, streamOf(run), [{ _tag: "RoomBooked", run, guest: "ben", rooms: ["2"], nights: 2 }])
    yield* soon(Ref.get(sent), (all) => all.length === 1)
    yield* start(current)
    yield* store.append(First, streamOf(run), [{ _tag: "RoomBooked", run, guest: "cleo", room: "3", breakfast: false }])
    const expected = ["ann booked 1", "ben booked 2", "cleo booked 3"]
    equal(yield* soon(Ref.get(sent), (all) => all.length >= 3), expected, "once, in order")
  }),

  test("handlers, subscriptions and documents go no further, not even with other streams", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const name = unique("rows")
    const where = { tags: [tag(run)] }
    const done = yield* Ref.make<ReadonlyArray<string>>([])
    // What a transaction undoes is done again.
    const handle = (event: typeof First.Type | Third) =>
      Ref.update(done, (all) => all.includes(told(event)) ? all : [...all, told(event)])
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
      Layer.build(Layer.fresh(Subscription.layer([subscription], { lease: "300 millis" })))
    const older = yield* process([old, oldLog])
    yield* subscribe(Subscription.make(mails, { events: First, where, handle: (e) => send(told(e)) }))
    yield* soon(older.status, (all) => all.every((one) => one.state === "stuck"))
    yield* soon(Ref.get(sent), (all) => all.length > 0)
    equal(yield* Ref.get(done), ["ann booked 1"], "what it could do")
    for (const one of [old, oldLog]) equal(yield* Parking.list(one), [], "nothing is parked")
    yield* process([current, currentLog])
    yield* subscribe(Subscription.make(mails, { events: Third, where, handle: (e) => send(told(e)) }))
    const expected = ["ann booked 1", "ben booked 2", "cleo booked 3", "dora booked 4"]
    equal(yield* soon(Ref.get(done), (all) => all.length >= 4), expected, "once, in order")
    equal(yield* soon(Ref.get(sent), (all) => all.length >= 4), expected, "by the subscription too")
    yield* reached(currentLog, position)
    const document = yield* ProjectionStore.get(currentLog, streamOf(run))
    equal(Option.getOrUndefined(document), expected.slice(0, 3), "in the document too")
    for (const one of [current, currentLog]) equal((yield* DeliveryAudit.run(one)).status, "complete", "the audit")
  }),

  test("a stream that is retried up to an event of newer code is parked there, and stops no other; newer code retries it", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const name = unique("log")
    let poison = "ann booked 1"
    const [old, current] = [firstLog(name, run, 1, (text) => text === poison), thirdLog(name, run, "async")]
    const ofOlder = yield* Scope.fork(yield* Effect.scope)
    yield* Scope.provide(process([old]), ofOlder)
    const first = yield* store.append(First, streamOf(run), [
      { _tag: "RoomBooked", run, guest: "ann", room: "1", breakfast: false }
    ])
    yield* reached(current, first.position)
    const { position } = yield* store.append(Third, streamOf(run), [
      { _tag: "RoomBooked", run, guest: "ben", rooms: ["2"], nights: 2 }
    ])
    // An event of a stream that is parked holds nobody up.
    yield* reached(current, position)
    poison = ""
    const tried = yield* Parking.retry(current, streamOf(run))
    equal([tried.outcome, tried.parked?.position], ["retried", position], "what the older process has done of it")
    ok(tried.parked?.error.includes("newer code wrote the event") === true, "why it is parked")
    const other = yield* store.append(First, streamOf(`${run}-other`), [
      { _tag: "RoomBooked", run: `${run}-other`, guest: "cem", room: "3", breakfast: false }
    ])
    yield* reached(current, other.position)
    yield* Scope.close(ofOlder, Exit.void)
    yield* process([current])
    const retried = yield* Parking.retry(current, streamOf(run))
    equal([retried.outcome, retried.parked], ["retried", undefined], "what the newer one has done")
    const log = Option.getOrUndefined(yield* ProjectionStore.get(current, streamOf(run)))
    equal(log, ["ann booked 1", "ben booked 2"], "once, in order")
    equal((yield* DeliveryAudit.run(current)).status, "complete", "the audit")
  }),

  test("a command of an earlier release is refused on a stream with an event of a later one; nothing is written", function*() {
    const run = unique("run")
    const book = (room: string) => CommandBus.dispatch(Book, { run, guest: "ann", room })
    const store = yield* EventStore
    yield* book("1").pipe(Effect.provide(Aggregate.layer(FirstHotel)))
    const { version } = yield* book("2").pipe(Effect.provide(Aggregate.layer(ThirdHotel)))
    const error = yield* Effect.flip(book("3")).pipe(Effect.provide(Layer.fresh(Aggregate.layer(FirstHotel))))
    equal(reasonOf(error), "NewerVersion", "the problem")
    ok(error.message.includes("this program has its schema version 1;"), error.message)
    const rows = yield* Stream.runCollect(store.readStreamEncoded(streamOf(run)))
    equal(rows.map((row) => row.version), [1, version], "the stream")
    // Within one process too, whose state of the instance is of before.
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
      equal(reasonOf(error), "NewerVersion", "the problem")
      equal((yield* Stream.runCollect(store.readStreamEncoded(streamOf(other)))).length, 2, "the stream")
    }).pipe(Effect.provide(Layer.fresh(Aggregate.layer(FirstHotel))))
  })
]

/**
 * Events of several releases in one log.
 *
 * @since 0.1.0
 * @category suites
 */
export const versions: ReadonlyArray<Case<Stores>> = [...readers, ...deployments]
