/**
 * The conformance suite of recordings: a recording contains the log without personal data, and a replay reports exactly the differences.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as JsonPatch from "effect/JsonPatch"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import * as Erasure from "../../src/erasure/Erasure.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as Recording from "../../src/testing/recording/Recording.ts"
import * as RecordingFile from "../../src/testing/recording/RecordingFile.ts"
import * as TimeTravel from "../../src/timeTravel/TimeTravel.ts"
import { First, FirstHotel, ThirdHotel } from "../event/UpcasterFixtures.ts"
import {
  groups,
  people,
  Person,
  PersonDecider,
  PersonEvent,
  Register,
  Rename,
  type Stores
} from "../personalData/PersonalDataFixtures.ts"
import {
  appendBatch,
  appendRandom,
  eventsIn,
  Owned,
  ownedProjections,
  ownersIn,
  Safe,
  SafeDecider,
  SafeEvent,
  safesIn
} from "../timeTravel/TimeTravelFixtures.ts"

const recorded = (options: Recording.RecordOptions) => Stream.runCollect(Recording.record(options))

const replay = (options: Recording.ReplayOptions, lines: ReadonlyArray<string>) =>
  Recording.replay(options, Stream.fromIterable(lines))

/** Returns the events of a recording, and the recorded states and documents after the last of them. */
const readBack = Effect.fnUntraced(function*(lines: ReadonlyArray<string>) {
  const steps: Array<RecordingFile.Step> = []
  const values = new Map<string, Schema.Json>()
  const change = (id: string, changes: JsonPatch.JsonPatch) =>
    values.set(id, JsonPatch.apply(changes, values.get(id) ?? null))
  yield* Stream.runForEach(RecordingFile.read(Stream.fromIterable(lines)), ({ entry }) =>
    Effect.sync(() => {
      if (RecordingFile.isHeader(entry)) return
      steps.push(entry)
      if (entry.state !== undefined) change(entry.event.stream, entry.state)
      for (const { changes, key, projection } of entry.documents ?? []) change(`${projection} ${key}`, changes)
    }))
  return { steps, values }
})

const encodeState = Schema.encodeResult(Schema.toCodecJson(Safe.state))
const encodeOwned = Schema.encodeResult(Schema.toCodecJson(Owned))

const summaries = (report: Recording.Report) =>
  report.differences.map(({ differentEvents, events, from, id }) => ({
    id,
    at: from.position,
    differentEvents,
    events
  }))

const positionOrder = <A extends { readonly at: bigint }>(all: ReadonlyArray<A>) =>
  all.toSorted((a, b) => Number(a.at - b.at))

/** Fails unless every state is equal, and the number of compared items is the expected one. */
const expectSame = (report: Recording.Report, items: ReadonlyArray<number>) => {
  equal(
    Recording.print({ ...report, differences: report.differences.slice(0, 3) }).includes("→"),
    false,
    "a difference"
  )
  ok(Recording.isSame(report), "every state is equal")
  equal(report.compared.map(({ items }) => items), items, "the compared items")
}

const histories: ReadonlyArray<Case<Stores>> = [
  test("records the events of the log and the states after them", function*() {
    const run = unique("run")
    const projection = ownedProjections(run).live
    yield* appendRandom(run, 11, 40)
    const lines = yield* recorded({
      aggregates: [SafeDecider],
      projections: [projection],
      sample: { prefix: Safe.streamOf(run) }
    })
    const { steps, values } = yield* readBack(lines)
    const records = yield* eventsIn(run)
    equal(
      steps.map(({ event: { id, position, stream, version } }) => ({ id, position, stream, version })),
      records.map(({ id, position, stream, version }) => ({ id, position, stream, version })),
      "the events"
    )
    for (const safe of safesIn(run)) {
      const { state } = yield* TimeTravel.aggregate(SafeDecider, safe, { _tag: "Now" })
      const stream = Safe.streamOf(safe)
      if (values.has(stream)) equal<unknown>(values.get(stream), Result.getOrThrow(encodeState(state)), stream)
    }
    for (const key of [...safesIn(run), ...ownersIn(run)]) {
      const { document } = yield* TimeTravel.document(projection, key, { _tag: "Now" })
      const expected = document._tag === "None" ? null : Result.getOrThrow(encodeOwned(document.value))
      equal<unknown>(values.get(`${projection.name} ${key}`) ?? null, expected, key)
    }
  }),

  test("finds no difference when the same code replays", function*() {
    for (const seed of [1, 2, 3, 4, 5]) {
      const run = unique("run")
      const { async, inline, live } = ownedProjections(run)
      const models = { aggregates: [SafeDecider], projections: [async, inline, live] }
      yield* appendRandom(run, seed, 30)
      const lines = yield* recorded({ ...models, sample: { prefix: Safe.streamOf(run) } })
      const records = yield* eventsIn(run)
      const streams = new Set(records.map(({ stream }) => stream)).size
      const documents = new Set(records.flatMap(({ event }) => [event.safe, event.owner])).size
      const report = yield* replay(models, lines)
      equal(report.events, records.length, "the events")
      expectSame(report, [streams, documents, documents, documents])
      equal(yield* Stream.runCollect(Recording.renew(models, Stream.fromIterable(lines))), lines, "renewed")
    }
  }),

  test("reports the streams and first events of a changed evolve", function*() {
    const run = unique("run")
    yield* appendRandom(run, 21, 40)
    const lines = yield* recorded({ aggregates: [SafeDecider], sample: { prefix: Safe.streamOf(run) } })
    // The changed code does not log what is taken. A smashed safe has an empty log on both sides.
    const changed: typeof SafeDecider = {
      ...SafeDecider,
      evolve: (state, event) => {
        const after = SafeDecider.evolve(state, event)
        return event._tag === "Taken" ? { ...after, log: state.log } : after
      }
    }
    const report = yield* replay({ aggregates: [changed] }, lines)
    const records = yield* eventsIn(run)
    const expected = positionOrder(
      Array.from(new Set(records.map(({ stream }) => stream))).flatMap((id) => {
        let [before, after] = [SafeDecider.initial, changed.initial]
        const own = records.filter(({ stream }) => stream === id)
        const differing = own.filter(({ event }) => {
          before = SafeDecider.evolve(before, event)
          after = changed.evolve(after, event)
          return JSON.stringify(before.log) !== JSON.stringify(after.log)
        })
        const [from] = differing
        return from === undefined
          ? []
          : [{ id, at: from.position, differentEvents: differing.length, events: own.length }]
      })
    )
    ok(expected.length > 0, "at least one difference")
    equal(summaries(report), expected, "the differences")
    for (const { changes, from, firstChanges, recorded, today } of report.differences) {
      equal(from.type, "Taken", "the type of the first event")
      ok(firstChanges.length > 0 && firstChanges.every(({ path }) => path.startsWith("/log")), "the first changes")
      equal(JsonPatch.apply(changes.map((change) => change), recorded), today, "the last changes")
    }
    equal(report.failures, [], "the failures")
  }),

  test("reports only the documents of a changed projection", function*() {
    const run = unique("run")
    const { async, inline } = ownedProjections(run)
    yield* appendRandom(run, 31, 40)
    const models = { aggregates: [SafeDecider], projections: [async, inline] }
    const lines = yield* recorded({ ...models, sample: { prefix: Safe.streamOf(run) } })
    // The changed projection ignores one owner.
    const changed: typeof async = {
      ...async,
      keysOf: (record) => async.keysOf(record).filter((key) => key !== `${run}-owner-1`)
    }
    const report = yield* replay({ ...models, projections: [changed, inline] }, lines)
    const records = (yield* eventsIn(run)).filter(({ event }) => event.owner === `${run}-owner-1`)
    const from = records.find(({ event }) => event._tag !== "Looked" && event._tag !== "Smashed")
    equal(
      report.differences.map(({ from, id, kind, name, today }) => ({ kind, name, id, at: from.position, today })),
      [{ kind: "projection" as const, name: async.name, id: `${run}-owner-1`, at: from!.position, today: null }],
      "the documents"
    )
  })
]

const versions: ReadonlyArray<Case<Stores>> = [
  test("records stored schema versions and replays them upcast", function*() {
    const store = yield* EventStore.EventStore
    const [quiet, greeted, thirteen] = [unique("hotel"), unique("hotel"), unique("hotel")]
    const streams = [quiet, greeted, thirteen].map((run) => FirstHotel.aggregate.streamOf(run))
    const book = (run: string, room: string, breakfast: boolean) =>
      First.cases.RoomBooked.make({ run, guest: "ann", room, breakfast })
    yield* store.append(First, streams[0]!, [First.cases.GuestCame.make({ run: quiet, guest: "ann" })])
    yield* store.append(First, streams[0]!, [book(quiet, "1", false)])
    yield* store.append(First, streams[1]!, [
      First.cases.GuestCame.make({ run: greeted, guest: "ann" }),
      First.cases.GuestGreeted.make({ run: greeted, guest: "ann" }),
      book(greeted, "2", false)
    ])
    yield* store.append(First, streams[2]!, [
      First.cases.GuestCame.make({ run: thirteen, guest: "ann" }),
      book(thirteen, "13", true)
    ])
    const sample = { where: (stream: string) => streams.includes(stream) }
    // The parts of a split event each touch the document.
    const counts = Projection.make(unique("counts"), {
      events: ThirdHotel.aggregate.events,
      document: Schema.Int,
      key: ({ run }) => run,
      evolve: {
        GuestArrived: (count = 0) => count + 1,
        RoomBooked: (count = 0) => count + 1,
        BreakfastOrdered: (count = 0) => count + 1
      }
    })
    const { values } = yield* readBack(yield* recorded({ projections: [counts], sample }))
    equal(values.get(`${counts.name} ${thirteen}`), 3, "the events of the document")
    const lines = yield* recorded({ aggregates: [FirstHotel], sample })
    expectSame(yield* replay({ aggregates: [FirstHotel] }, lines), [3])

    const report = yield* replay({ aggregates: [ThirdHotel] }, lines)
    equal(
      report.differences.map(({ firstChanges, from, id }) => ({ id, version: Number(from.version), firstChanges })),
      [
        // The event is retired.
        { id: streams[1]!, version: 2, firstChanges: [{ op: "remove" as const, path: "/1", old: "ann was greeted" }] },
        // The event is split.
        {
          id: streams[2]!,
          version: 2,
          firstChanges: [{ op: "add" as const, path: "/2", value: "ann wants breakfast" }]
        }
      ],
      "the differences"
    )
    equal(report.failures, [], "the failures")

    // The old release cannot decode events of the new one.
    yield* store.append(ThirdHotel.aggregate.events, streams[0]!, [
      { _tag: "RoomBooked", run: quiet, guest: "ann", rooms: ["1"], nights: 1 }
    ])
    const newer = yield* recorded({ aggregates: [ThirdHotel], sample })
    const back = yield* replay({ aggregates: [FirstHotel] }, newer)
    equal(
      back.failures.map(({ event, when }) => ({ stream: `${event.stream}`, version: Number(event.version), when })),
      [{ stream: streams[0]!, version: 3, when: "today" as const }],
      "the events that do not decode"
    )
    ok(back.failures[0]!.detail.includes("newer code"), "the reason")
    // The new release decodes an event that failed in the recording.
    const old = yield* recorded({ aggregates: [FirstHotel], sample })
    const now = yield* replay({ aggregates: [ThirdHotel] }, old)
    equal(now.failures.map(({ when }) => when), ["recorded"], "the failures")
    expectSame(yield* replay({ aggregates: [FirstHotel] }, old), [3])
  })
]

/** Appends events of two persons with equal names, in several fields. */
const acquaintances = Effect.fnUntraced(function*() {
  const store = yield* EventStore.EventStore
  const [ann, bob, group] = [unique("ann"), unique("bob"), unique("group")]
  const streams = [ann, bob].map((id) => Person.streamOf(id))
  yield* CommandBus.dispatch(Register, { personId: ann, group, name: "Annabel Archer" })
  yield* CommandBus.dispatch(Register, { personId: bob, group, name: "Annabel Archer" })
  yield* CommandBus.dispatch(Rename, { personId: ann, name: "Annabel Zimmer" })
  yield* CommandBus.dispatch(Rename, { personId: ann, name: "Annabel Archer" })
  yield* store.append(PersonEvent, streams[0]!, [
    PersonEvent.cases.Registered.make({
      personId: ann,
      group,
      name: "Annabel Archer",
      address: { street: "Threadneedle Street", since: DateTime.makeUnsafe("1987-06-05T04:03:02.001Z") }
    }),
    PersonEvent.cases.Introduced.make({
      personId: ann,
      group,
      friends: [{ friendId: bob, nick: "Annabel Archer" }, { friendId: ann, nick: "Annabel Archer" }]
    })
  ])
  return { ann, bob, streams, sample: { where: (stream: string) => streams.includes(stream) } }
})

const secrets = ["Annabel", "Archer", "Zimmer", "Threadneedle", "1987-06-05"]

const Payload = Schema.Struct({
  name: Schema.optionalKey(Schema.Json),
  address: Schema.optionalKey(Schema.Json),
  friends: Schema.optionalKey(Schema.Array(Schema.Struct({ friendId: Schema.String, nick: Schema.Json })))
})

const payloadsOf = (steps: ReadonlyArray<RecordingFile.Step>) =>
  steps.map(({ event }) => Schema.decodeUnknownSync(Payload)(event.data))

const personal: ReadonlyArray<Case<Stores>> = [
  test("replaces personal data, equal values of a person by equal ones", function*() {
    const models = { aggregates: [PersonDecider], projections: [groups("live")] }
    yield* Effect.gen(function*() {
      const { sample } = yield* acquaintances()
      const lines = yield* recorded({ ...models, sample, metadata: "keep" })
      ok(!lines.some((line) => line.includes(`"failed"`)), "every event decodes")
      for (const secret of secrets) ok(!lines.some((line) => line.includes(secret)), `no "${secret}"`)
      ok(!lines.some((line) => line.includes("~encrypted")), "nothing encrypted")
      const { steps, values } = yield* readBack(lines)
      const [registered, other, renamed, back, again, introduced] = payloadsOf(steps)
      ok(
        registered?.name !== undefined && registered.name !== renamed?.name,
        "different names get different replacements"
      )
      ok(registered?.name !== other?.name, "another person gets another replacement")
      equal(back?.name, registered?.name, "an equal name gets an equal replacement")
      equal(again?.name, registered?.name, "an equal name in another event")
      ok(again?.address !== undefined, "the address")
      equal(introduced?.friends?.map(({ nick }) => nick), [other!.name!, registered!.name!], "the names in a list")
      const states = Array.from(values.values(), (state) => JSON.stringify(state)).join()
      ok(states.includes(JSON.stringify(registered?.name)), "the states have replaced values")
      expectSame(yield* replay(models, lines), [2, 1])

      const another = yield* recorded({ ...models, sample })
      // Two replacements of one short name can be equal by chance.
      const replaced = JSON.stringify(payloadsOf((yield* readBack(another)).steps))
      ok(replaced !== JSON.stringify(payloadsOf(steps)), "another recording has other replacements")
    }).pipe(Effect.provide(people))
  }),

  test("records plaintext with personal: keep", function*() {
    const models = { aggregates: [PersonDecider], projections: [groups("live")] }
    yield* Effect.gen(function*() {
      const { sample } = yield* acquaintances()
      const lines = yield* recorded({ ...models, sample, personal: "keep" })
      for (const secret of secrets) ok(lines.some((line) => line.includes(secret)), `"${secret}"`)
      ok(!lines.some((line) => line.includes("~encrypted")), "nothing encrypted")
      expectSame(yield* replay(models, lines), [2, 1])
    }).pipe(Effect.provide(people))
  }),

  test("records erased data as erased, and replays older recordings", function*() {
    const models = { aggregates: [PersonDecider], projections: [groups("live")] }
    yield* Effect.gen(function*() {
      const { ann, sample } = yield* acquaintances()
      const before = yield* recorded({ ...models, sample })
      yield* Erasure.erase(ann)
      expectSame(yield* replay(models, before), [2, 1])
      const lines = yield* recorded({ ...models, sample })
      const [registered, other, ...rest] = payloadsOf((yield* readBack(lines)).steps)
      const erased = { _tag: "Erased", subject: ann }
      equal<unknown>(registered?.name, erased, "the erased name")
      ok(typeof other?.name === "string", "the name of the other person")
      equal<unknown>(rest.map(({ name }) => name), [erased, erased, erased, undefined], "the later names")
      equal<unknown>(rest[3]?.friends?.map(({ nick }) => nick), [other!.name!, erased], "the names in a list")
      expectSame(yield* replay(models, lines), [2, 1])
    }).pipe(Effect.provide(people))
  })
]

const samples: ReadonlyArray<Case<Stores>> = [
  test("selects whole streams, and equal ones for an equal seed", function*() {
    const run = unique("run")
    const streams = yield* Effect.forEach(Array.from({ length: 60 }, (_, n) => n), (n) =>
      Effect.gen(function*() {
        const safe = { run, safe: `${run}-${n}`, owner: "o" }
        yield* appendBatch([SafeEvent.cases.SafeOpened.make(safe)])
        return safe
      }))
    // All first events precede all second events.
    for (const safe of streams) yield* appendBatch([SafeEvent.cases.SafeFilled.make({ ...safe, amount: 1 })])
    const prefix = Safe.streamOf(run)
    const of = Effect.fnUntraced(function*(sample: Recording.Sample) {
      const lines = yield* recorded({ aggregates: [SafeDecider], sample: { prefix, ...sample } })
      const { steps } = yield* readBack(lines)
      const found = Map.groupBy(steps, ({ event }) => event.stream)
      ok(Array.from(found.values()).every((all) => all.length === 2), "each stream is complete")
      expectSame(yield* replay({ aggregates: [SafeDecider] }, lines), [found.size])
      return Array.from(found.keys(), String).toSorted()
    })
    const [third, tenth] = [yield* of({ fraction: 1 / 3, seed: 1 }), yield* of({ count: 10, seed: 1 })]
    ok(third.length > 5 && third.length < 40, `about a third: ${third.length}`)
    equal(tenth.length, 10, "count streams")
    equal(yield* of({ fraction: 1 / 3, seed: 1 }), third, "the streams of an equal fraction and seed")
    equal(yield* of({ count: 10, seed: 1 }), tenth, "the streams of an equal count and seed")
    ok((yield* of({ fraction: 1 / 3, seed: 2 })).join() !== third.join(), "the streams of another seed differ")
    ok((yield* of({ count: 10, seed: 2 })).join() !== tenth.join(), "the streams of another seed differ")
    equal((yield* of({ count: 100 })).length, 60, "a count above the number of streams")
    const [one] = tenth
    equal(yield* of({ where: (stream) => stream === one }), [one!], "the stream that `where` selects")
  }),

  test("folds a projection over the sample on both sides", function*() {
    const run = unique("run")
    const { live } = ownedProjections(run)
    yield* appendRandom(run, 41, 30)
    const [safe] = safesIn(run)
    const sample = { where: (stream: string) => stream === Safe.streamOf(safe!) }
    const lines = yield* recorded({ projections: [live], sample })
    const report = yield* replay({ projections: [live] }, lines)
    ok(report.events > 0 && Recording.isSame(report), "every state is equal")
    const counting = Projection.make(live.name, {
      events: SafeEvent,
      document: Owned,
      key: ({ owner }) => owner,
      evolve: {
        SafeOpened: Projection.ignore,
        SafeFilled: Projection.ignore,
        Taken: Projection.ignore,
        Looked: Projection.ignore,
        Smashed: Projection.ignore
      }
    })
    const none = yield* replay({ projections: [counting] }, lines)
    ok(none.differences.length > 0 && none.differences.every(({ today }) => today === null), "no document is left")
  })
]

/**
 * The cases.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases: ReadonlyArray<Case<Stores>> = [...histories, ...versions, ...personal, ...samples]
