/**
 * The conformance suite of the runtime, the part on time travel.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as JsonPatch from "effect/JsonPatch"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Decider from "../../src/aggregate/Decider.ts"
import * as StreamLifecycle from "../../src/archive/StreamLifecycle.ts"
import type * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { storedEvent } from "../../src/conformance/EventStoreFixtures.ts"
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import * as AsOf from "../../src/core/AsOf.ts"
import { EventStoreError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import type * as JsonDiff from "../../src/core/json/JsonDiff.ts"
import * as LogPosition from "../../src/core/LogPosition.ts"
import type * as Position from "../../src/core/Position.ts"
import type { Receipt } from "../../src/core/Receipt.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import type { RecordedEvent } from "../../src/event/RecordedEvent.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as TimeTravel from "../../src/timeTravel/TimeTravel.ts"
import { First, Third, ThirdHotel } from "../event/UpcasterFixtures.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { ReserveSeat, SeatEvent, ShowDecider } from "../support/Theatre.ts"
import {
  appendBatch,
  appendRandom,
  ChangedEvolveDecider,
  DoublingDecider,
  eventsIn,
  Fill,
  OpenSafe,
  Owned,
  ownedProjections,
  ownersIn,
  randomBatch,
  randomOf,
  recordedAt,
  Safe,
  SafeDecider,
  SafeEvent,
  safesIn,
  SnapshottingDecider,
  Take,
  Tax,
  taxing,
  unschemed
} from "./TimeTravelFixtures.ts"

type Records = ReadonlyArray<RecordedEvent<SafeEvent>>

/** A log of random events, and one in which a second passes between any two of them. */
const history = Effect.fnUntraced(function*(seed: number, appends: number) {
  const run = unique("run")
  yield* appendRandom(run, seed, appends)
  const seconds = yield* recordedAt((position) => Number(position) * 1000)
  return { run, seconds, events: yield* Effect.provideService(eventsIn(run), EventStore.EventStore, seconds) }
})

const within = (store: EventStore.EventStore["Service"]) => Effect.provideService(EventStore.EventStore, store)

const positionsOf = (events: Iterable<{ readonly position: bigint }>) => Array.from(events, ({ position }) => position)

const stateAfter = (events: Records) => Decider.fold(SafeDecider, events.map(({ event }) => event))

/** Every position of some events, and those just before and after. */
const positionsAround = (events: Records) => [
  ...new Set(events.flatMap(({ position }) => [position - 1n, position]))
]

/** Every instant of some events, and those a millisecond before and after. */
const instantsAround = (events: Records) =>
  [
    ...new Set(events.flatMap(({ recordedAt }) => {
      const millis = DateTime.toEpochMillis(recordedAt)
      return [millis - 1, millis, millis + 1]
    }))
  ].map((millis) => DateTime.makeUnsafe(millis))

const bothDirections = <A>(items: ReadonlyArray<A>) => items.flatMap((from) => items.map((to) => ({ from, to })))

/** The patch that takes back a patch. */
const inverse = (changes: ReadonlyArray<JsonDiff.Change>): JsonPatch.JsonPatch =>
  changes.toReversed().map((change) =>
    change.op === "add"
      ? change.path === "" ? { op: "replace", path: "", value: null } : { op: "remove", path: change.path }
      : change.op === "remove"
      ? { op: "add", path: change.path, value: change.old }
      : { op: "replace", path: change.path, value: change.old }
  )

const checkChanges = (changes: ReadonlyArray<JsonDiff.Change>, from: Schema.Json, to: Schema.Json, what: string) => {
  equal(JsonPatch.apply(changes, from), to, `${what}: applied to the one they give the other`)
  equal(JsonPatch.apply(inverse(changes), to), from, `${what}: taken back from the other they give the one`)
  equal(changes.length === 0, JSON.stringify(from) === JSON.stringify(to), `${what}: there are none only of the same`)
}

const encodeState = Schema.encodeUnknownSync(Schema.toCodecJson(Safe.state))
const encodeOwned = Schema.encodeUnknownSync(Schema.toCodecJson(Owned))

const aggregates = (seed: number, decider: typeof SafeDecider, kind: string) =>
  test(`folds an aggregate as of every version, position and instant (${kind})`, function*() {
    const { events, run, seconds } = yield* history(seed, 14)
    for (const safe of safesIn(run)) {
      // Cached states and snapshots of the present must not affect reads as of an earlier point.
      yield* Aggregate.load(decider, safe)
      yield* within(seconds)(Aggregate.load(decider, safe))
      const own = events.filter(({ event }) => event.safe === safe)
      const check = Effect.fnUntraced(function*(asOf: AsOf.AsOf, expected: Records) {
        const what = `${safe} at ${AsOf.format(asOf)}`
        const at = yield* TimeTravel.aggregate(decider, safe, asOf)
        const last = expected.at(-1)
        equal(at.state, stateAfter(expected), what)
        equal([at.version, at.position], [expected.length, last?.position ?? 0n], `${what}: version and position`)
        equal(at.recordedAt, Option.fromUndefinedOr(last?.recordedAt), `${what}: the recorded time of the last event`)
        equal(yield* Stream.runCollect(at.events), Array.from(expected), `${what}: the events`)
      })
      yield* Effect.gen(function*() {
        for (const n of [0, ...upTo(own.length)]) yield* check(AsOf.version(n), own.slice(0, n))
        for (const p of positionsAround(events)) {
          yield* check(AsOf.position(p), own.filter(({ position }) => position <= p))
        }
        for (const t of instantsAround(events)) {
          yield* check(
            AsOf.instant(t),
            own.filter(({ recordedAt }) => DateTime.isLessThanOrEqualTo(recordedAt, t))
          )
        }
        yield* check(AsOf.now, own)
        const steps = yield* Stream.runCollect(TimeTravel.history(decider, safe))
        equal(positionsOf(steps.map(({ encoded }) => encoded)), positionsOf(own), "the events of the history")
        steps.forEach(({ events, state }, index) => {
          equal(state, stateAfter(own.slice(0, index + 1)), `the state after event ${index + 1}`)
          equal(events, [own[index]!.event], `event ${index + 1}`)
        })
        for (const n of [0, ...upTo(own.length)]) {
          const some = yield* Stream.runCollect(
            TimeTravel.history(decider, safe, AsOf.version(own.length), { after: Version.make(n) })
          )
          equal(some, steps.slice(n), `the history after version ${n}`)
          const until = yield* Stream.runCollect(TimeTravel.history(decider, safe, AsOf.version(n)))
          equal(until, steps.slice(0, n), `the history up to version ${n}`)
        }
      }).pipe(within(seconds))
      // By the database's own times, of which several may be equal.
      for (const t of instantsAround(yield* eventsIn(run))) {
        const then = (yield* eventsIn(run)).filter((e) =>
          e.event.safe === safe && DateTime.isLessThanOrEqualTo(e.recordedAt, t)
        )
        equal(
          (yield* TimeTravel.aggregate(decider, safe, AsOf.instant(t))).state,
          stateAfter(then),
          `${safe} at its own ${DateTime.formatIso(t)}`
        )
      }
    }
  })

const decisions = (seed: number) =>
  test(`folds decision models as of every position and instant (${seed})`, function*() {
    const { events, run, seconds } = yield* history(seed, 12)
    for (const owner of ownersIn(run)) {
      const payload = { run, safe: run, owner, amount: 1 }
      const own = events.filter(({ event }) => event.owner === owner)
      const statesAfter = (events: Records) => ({
        owned: events.reduce(
          (sum, { event }) =>
            event._tag === "SafeFilled" ? sum + event.amount : event._tag === "Taken" ? sum - event.amount : sum,
          0
        ),
        safes: new Set(events.flatMap(({ event }) => event._tag === "SafeOpened" ? [event.safe] : []))
      })
      const check = Effect.fnUntraced(function*(asOf: AsOf.OfLog, expected: Records) {
        const what = `${owner} at ${AsOf.format(asOf)}`
        const at = yield* TimeTravel.decision(taxing, payload, asOf)
        equal(at.states, statesAfter(expected), what)
        const ofTypes = (...tags: ReadonlyArray<string>) => expected.filter(({ event }) => tags.includes(event._tag))
        equal(at.events.owned, ofTypes("SafeFilled", "Taken"), `${what}: the events of the one model`)
        equal(at.events.safes, ofTypes("SafeOpened"), `${what}: those of the other`)
        equal(
          at.position,
          ofTypes("SafeFilled", "Taken", "SafeOpened").at(-1)?.position ?? 0n,
          `${what}: the last of them`
        )
      })
      yield* Effect.gen(function*() {
        for (const p of positionsAround(events)) {
          yield* check(AsOf.position(p), own.filter(({ position }) => position <= p))
        }
        for (const t of instantsAround(events)) {
          yield* check(
            AsOf.instant(t),
            own.filter(({ recordedAt }) => DateTime.isLessThanOrEqualTo(recordedAt, t))
          )
        }
        yield* check(AsOf.now, own)
        for (const { from, to } of bothDirections([0n, ...positionsOf(own)].slice(0, 7))) {
          const what = `${owner} from ${from} to ${to}`
          const diff = yield* TimeTravel.decisionDiff(taxing, payload, {
            from: AsOf.position(from),
            to: AsOf.position(to)
          })
          const json = ({ states }: TimeTravel.DecisionAsOf<ReturnType<typeof taxing.models>>): Schema.Json => ({
            owned: states.owned,
            safes: Array.from(states.safes)
          })
          checkChanges(diff.changes, json(diff.from), json(diff.to), what)
          const [low, high] = from < to ? [from, to] : [to, from]
          equal(
            positionsOf(yield* Stream.runCollect(diff.events)),
            positionsOf(
              own.filter((e) => e.position > low && e.position <= high && !["Looked", "Smashed"].includes(e.event._tag))
            ),
            `${what}: the events between`
          )
        }
      }).pipe(within(seconds))
    }
  })

const documents = (seed: number) =>
  test(`returns the stored document of every position, in every lifecycle (${seed})`, function*() {
    const run = unique("run")
    const { async, found, inline, live } = ownedProjections(run)
    const below = randomOf(seed)
    const projections = yield* ProjectionStore.ProjectionStore
    const shown: Array<{ readonly position: bigint; readonly documents: ReadonlyArray<unknown> }> = []
    yield* Effect.gen(function*() {
      for (let round = 0; round < 12; round++) {
        const { position } = yield* appendBatch(randomBatch(run, below))
        yield* projections.awaitPosition(async, position, "1 minute")
        const documents: Array<unknown> = []
        for (const owner of ownersIn(run)) {
          const document = yield* ProjectionStore.get(inline, owner)
          equal(yield* ProjectionStore.get(async, owner), document, "both lifecycles agree")
          documents.push(document)
        }
        shown.push({ position, documents })
      }
    }).pipe(Effect.provide(Projector.layer([async])), Effect.provide(Projector.layerInline([inline])))
    ok(
      shown.some(({ documents }) => documents.some((document) => Option.isSome(document as typeof none))),
      "at least one document exists"
    )
    for (const projection of [inline, async, live, found]) {
      for (const [index, owner] of ownersIn(run).entries()) {
        for (const { documents, position } of shown) {
          const at = yield* TimeTravel.document(projection, owner, AsOf.position(position))
          equal<unknown>(at.document, documents[index], `${projection.id} of ${owner} at ${position}`)
        }
      }
    }
  })

const none = Option.none<unknown>()

const documentHistory = (seed: number) =>
  test(`folds documents, histories and differences as of every point (${seed})`, function*() {
    const { events, run, seconds } = yield* history(seed, 12)
    const { async, found } = ownedProjections(run)
    for (const owner of ownersIn(run)) {
      const own = events.filter(({ event }) => event.owner === owner && event._tag !== "Looked")
      const after = (events: Records): Option.Option<typeof Owned.Type> =>
        events.reduce<Option.Option<typeof Owned.Type>>((before, { event }) => {
          if (event._tag === "Smashed") return Option.none()
          const { events, last, sum } = Option.getOrElse(before, () => ({ sum: 0, last: Option.none(), events: 0 }))
          const amount = event._tag === "SafeFilled" ? event.amount : event._tag === "Taken" ? -event.amount : 0
          return Option.some({
            key: owner,
            sum: sum + amount,
            last: amount === 0 ? last : Option.some(amount),
            events: events + 1
          })
        }, Option.none())
      const check = Effect.fnUntraced(function*(asOf: AsOf.OfLog, expected: Records) {
        const what = `${owner} at ${AsOf.format(asOf)}`
        const at = yield* TimeTravel.document(found, owner, asOf)
        equal(at.document, after(expected), what)
        equal(at.position, expected.at(-1)?.position ?? 0n, `${what}: the last event`)
        equal(at.recordedAt, Option.fromUndefinedOr(expected.at(-1)?.recordedAt), `${what}: when it was recorded`)
        equal(yield* Stream.runCollect(at.events), Array.from(expected), `${what}: the events that made it`)
      })
      yield* Effect.gen(function*() {
        for (const p of positionsAround(events)) {
          yield* check(AsOf.position(p), own.filter(({ position }) => position <= p))
        }
        for (const t of instantsAround(events)) {
          yield* check(
            AsOf.instant(t),
            own.filter(({ recordedAt }) => DateTime.isLessThanOrEqualTo(recordedAt, t))
          )
        }
        yield* check(AsOf.now, own)
        for (const options of [{}, { find: [{ tags: [Event.tag("owner", owner)] }] }]) {
          const steps = yield* Stream.runCollect(TimeTravel.documentHistory(async, owner, AsOf.now, options))
          equal(
            steps.map(({ document, encoded }) => ({ position: encoded.position, document })),
            own.map(({ position }, index) => ({ position, document: after(own.slice(0, index + 1)) })),
            "the history"
          )
        }
        for (const { from, to } of bothDirections([0n, ...positionsOf(own)].slice(0, 7))) {
          const what = `${owner} from ${from} to ${to}`
          const diff = yield* TimeTravel.documentDiff(found, owner, {
            from: AsOf.position(from),
            to: AsOf.position(to)
          })
          const json = (document: Option.Option<typeof Owned.Type>) =>
            Option.isNone(document) ? null : encodeOwned(document.value)
          checkChanges(diff.changes, json(diff.from.document), json(diff.to.document), what)
          const [low, high] = from < to ? [from, to] : [to, from]
          equal(
            positionsOf(yield* Stream.runCollect(diff.events)),
            positionsOf(own.filter(({ position }) => position > low && position <= high)),
            `${what}: the events between`
          )
        }
      }).pipe(within(seconds))
    }
  })

/** A store on the same log on which nothing can be written, and its log as it stands. */
const readOnly = Effect.gen(function*() {
  const { driver } = (yield* EventStore.EventStore)[internals]
  return yield* EventStore.make({ ...driver, append: () => Effect.die("something was written") })
})

const whatIfs = (seed: number) =>
  test(`predicts what a command then does, without writing (${seed})`, function*() {
    const { events, run } = yield* history(seed, 10)
    const store = yield* readOnly
    const below = randomOf(seed + 1)
    const owner = ownersIn(run)[0]!
    for (let round = 0; round < 12; round++) {
      const safe = safesIn(run)[below(3)]!
      const open = { run, safe, owner }
      const payload = { ...open, amount: 1 + below(60) }
      const commands: ReadonlyArray<
        readonly [
          would: Effect.Effect<
            TimeTravel.WhatIfResult<typeof Safe.state.Type, SafeEvent>,
            unknown,
            EventStore.EventStore
          >,
          does: Effect.Effect<
            Receipt,
            unknown,
            Command.Handler<"OpenSafe"> | Command.Handler<"Fill"> | Command.Handler<"Take">
          >
        ]
      > = [
        [TimeTravel.whatIf(SafeDecider, OpenSafe, open, AsOf.now), CommandBus.dispatch(OpenSafe, open)],
        [TimeTravel.whatIf(SafeDecider, Fill, payload, AsOf.now), CommandBus.dispatch(Fill, payload)],
        [TimeTravel.whatIf(SafeDecider, Take, payload, AsOf.now), CommandBus.dispatch(Take, payload)]
      ]
      const [would, does] = commands[below(3)]!
      const ids = Stream.runCollect(Stream.map(store.readStreamEncoded(Safe.streamOf(safe)), ({ id }) => id))
      const before = yield* ids
      const predicted = yield* Effect.result(within(store)(would))
      equal(yield* ids, before, "the stream is as it was")
      const done = yield* Effect.result(does)
      if (predicted._tag === "Failure" || done._tag === "Failure") {
        equal<unknown>(
          [predicted._tag, Option.getOrUndefined(Result.getFailure(predicted))],
          [done._tag, Option.getOrUndefined(Result.getFailure(done))],
          "the same error"
        )
        continue
      }
      const { events, start, state } = predicted.success
      equal(done.success.version, Version.make(start.version + events.length), "the version")
      const written = yield* Stream.runCollect(
        store.readStream(SafeEvent, Safe.streamOf(safe), { from: Version.make(start.version + 1) })
      )
      equal(written.map(({ event }) => event), Array.from(events), "the events")
      equal((yield* Aggregate.load(SafeDecider, safe)).state, state, "the state")
    }
    // As of an earlier position, it is decided on the state of that position.
    for (const safe of safesIn(run)) {
      const own = events.filter(({ event }) => event.safe === safe)
      for (const n of [0, ...upTo(own.length)]) {
        const payload = { run, safe, owner, amount: 30 }
        const state = stateAfter(own.slice(0, n))
        const then = yield* Effect.result(TimeTravel.whatIf(SafeDecider, Take, payload, AsOf.version(n)))
        const decided = Decider.decide(SafeDecider, state, "Take", payload)
        equal<unknown>(
          then._tag === "Success" ? [then.success.before, then.success.events] : then.failure,
          decided._tag === "Success" ? [state, decided.success] : decided.failure,
          `${safe} at version ${n}`
        )
      }
    }
  })

const openedOf = (owner: string) =>
  Decision.model({ events: SafeEvent, tags: { owner }, initial: 0, evolve: { SafeOpened: (safes) => safes + 1 } })

/** The tag of an error or of its reason; `undefined` for a success. */
const reasonOf = (result: Result.Result<unknown, { readonly _tag: string }>): string | undefined =>
  Result.match(result, {
    onSuccess: () => undefined,
    onFailure: (error) => error instanceof EventStoreError ? error.reason._tag : error._tag
  })

/**
 * The past, the differences, and what could have been.
 *
 * @since 0.1.0
 * @category suites
 */
export const timeTravel: ReadonlyArray<Case<Stores>> = [
  aggregates(1, SafeDecider, "folded"),
  aggregates(2, SnapshottingDecider, "with snapshots"),
  ...[3, 4].map(decisions),
  ...[5, 6].map(documents),
  ...[7, 8].map(documentHistory),

  test("returns the difference between any two versions, in both directions", function*() {
    const { events, run } = yield* history(9, 14)
    const [safe] = safesIn(run)
    const own = events.filter(({ event }) => event.safe === safe)
    for (const { from, to } of bothDirections([0, ...upTo(own.length)])) {
      const what = `from ${from} to ${to}`
      const diff = yield* TimeTravel.aggregateDiff(SafeDecider, safe!, {
        from: AsOf.version(from),
        to: AsOf.version(to)
      })
      equal([diff.from.version, diff.to.version], [from, to], what)
      const states = [stateAfter(own.slice(0, from)), stateAfter(own.slice(0, to))] as const
      checkChanges(diff.changes, encodeState(states[0]), encodeState(states[1]), what)
      equal(
        positionsOf(yield* Stream.runCollect(diff.events)),
        positionsOf(own.slice(Math.min(from, to), Math.max(from, to))),
        `${what}: the events between`
      )
    }
  }),

  test("neither reads nor writes snapshots for another decider", function*() {
    const { driver, snapshots } = (yield* EventStore.EventStore)[internals]
    const { fingerprint } = SnapshottingDecider.stateSnapshots!
    equal(ChangedEvolveDecider.stateSnapshots!.fingerprint, fingerprint, "both have the same fingerprint")
    const [run, kept, safe] = [unique("run"), unique("kept"), unique("safe")]
    const fill = Effect.fnUntraced(function*(safe: string) {
      yield* CommandBus.dispatch(OpenSafe, { run, safe, owner: "ann" })
      for (let n = 0; n < 5; n++) yield* CommandBus.dispatch(Fill, { run, safe, owner: "ann", amount: 1 })
      yield* snapshots.settled
    })
    yield* Effect.provide(fill(kept), Aggregate.layer(SnapshottingDecider))
    yield* Effect.provide(fill(safe), Aggregate.layer(SafeDecider))
    const ofSafe = { stream: StreamId.make(Safe.streamOf(safe)), fingerprint }
    ok(Option.isSome(yield* driver.snapshots.read({ ...ofSafe, stream: StreamId.make(Safe.streamOf(kept)) })), "kept")
    for (const asOf of [AsOf.now, AsOf.version(6)]) {
      for (const one of [kept, safe]) {
        const result = yield* TimeTravel.whatIf(
          ChangedEvolveDecider,
          Take,
          { run, safe: one, owner: "ann", amount: 9 },
          asOf
        )
        equal(result.before.inside, 10, "folded by the changed evolve")
        equal((yield* TimeTravel.aggregate(ChangedEvolveDecider, one, asOf)).state.inside, 10, "without a snapshot")
      }
    }
    const after = Version.make(5)
    const [step] = yield* Stream.runCollect(TimeTravel.history(ChangedEvolveDecider, kept, AsOf.now, { after }))
    equal(step?.state.inside, 10, "a history that begins at a version")
    yield* snapshots.settled
    equal(yield* driver.snapshots.read(ofSafe), Option.none(), "no snapshot was written")
  }),

  test("rejects a what-if on a closed stream, and allows it before the close", function*() {
    const [run, safe] = [unique("run"), unique("safe")]
    const payload = { run, safe, owner: "ann" }
    yield* Effect.provide(CommandBus.dispatch(OpenSafe, payload), Aggregate.layer(SafeDecider))
    yield* Aggregate.close(SafeDecider, safe, SafeEvent.cases.Looked.make(payload))
    const fill = (at: AsOf.AsOf) => TimeTravel.whatIf(SafeDecider, Fill, { ...payload, amount: 1 }, at)
    const stream = Safe.streamOf(safe)
    const check = Effect.fnUntraced(function*(what: string) {
      for (const at of [AsOf.now, AsOf.version(2)]) {
        const { reason } = yield* Effect.flip(fill(at)).pipe(Effect.filterOrFail((e) => e._tag === "EventStoreError"))
        equal(reason._tag === "StreamClosed" ? reason.version : reason._tag, Version.make(2), what)
      }
      equal((yield* fill(AsOf.version(1))).state.inside, 1, `${what}: before`)
      equal((yield* TimeTravel.whatIf(SafeDecider, OpenSafe, payload, AsOf.now)).events, [], `${what}: no events`)
    })
    yield* check("closed")
    yield* StreamLifecycle.archive(stream)
    yield* check("archived")
  }),

  ...[10, 11, 12].map((seed) => ({
    ...whatIfs(seed),
    test: Effect.provide(whatIfs(seed).test, Aggregate.layer(SafeDecider))
  })),

  test("chains what-if commands and rejects what dispatch rejects", function*() {
    const [run, owner] = [unique("run"), "ann"]
    const safe = `${run}-0`
    const store = yield* readOnly
    const payload = { run, safe, owner }
    yield* appendBatch([{ _tag: "SafeOpened", ...payload }, { _tag: "SafeFilled", ...payload, amount: 10 }])
    yield* Effect.gen(function*() {
      const filled = yield* TimeTravel.whatIf(SafeDecider, Fill, { ...payload, amount: 5 }, AsOf.version(2))
      const taken = yield* TimeTravel.whatIf(SafeDecider, Take, { ...payload, amount: 12 }, filled)
      equal([taken.before.inside, taken.state.inside, taken.start.version], [15, 3, Version.make(2)], "in a row")
      const tooLittle = yield* Effect.flip(TimeTravel.whatIf(SafeDecider, Take, { ...payload, amount: 4 }, taken))
      equal<unknown>(
        tooLittle._tag === "TooLittle" ? tooLittle.inside : tooLittle._tag,
        3,
        "rejected on the result before"
      )
      const doubled = yield* TimeTravel.whatIf(DoublingDecider, Take, { ...payload, amount: 3 }, AsOf.now)
      equal([doubled.events.length, doubled.state.inside], [2, 4], "another decider")
      const other = { ...payload, safe: `${run}-1` }
      equal(
        (yield* Effect.flip(TimeTravel.whatIf(SafeDecider, OpenSafe, other, filled)))._tag,
        "EventStoreError",
        "of another instance"
      )
      for (const amount of [0, -1, 1.5]) {
        const invalid = { ...payload, amount }
        const [would, is] = [
          yield* Effect.flip(TimeTravel.whatIf(SafeDecider, Fill, invalid, AsOf.now)),
          yield* Effect.flip(CommandBus.dispatch(Fill, invalid).pipe(Effect.provide(Aggregate.layer(SafeDecider))))
        ]
        equal(would._tag, "InvalidCommand", "an invalid payload")
        equal<unknown>(would, is, "the same error")
      }
      const misspelt = { ...payload, amount: 1, amuont: 2 }
      equal(
        (yield* Effect.flip(TimeTravel.whatIf(SafeDecider, Fill, misspelt, AsOf.now)))._tag,
        "InvalidCommand",
        "an unknown field"
      )
    }).pipe(within(store))
    equal((yield* eventsIn(run)).length, 2, "nothing was written")
  }),

  test("predicts what a decision then does, without writing", function*() {
    const [run, owner] = [unique("run"), unique("owner")]
    const payload = { run, safe: `${run}-0`, owner }
    const store = yield* readOnly
    yield* appendBatch([{ _tag: "SafeOpened", ...payload }, { _tag: "SafeFilled", ...payload, amount: 10 }])
    const { position } = (yield* eventsIn(run)).at(-1)!
    const would = (amount: number, at: AsOf.OfLog = AsOf.now) =>
      within(store)(TimeTravel.whatIfDecided(taxing, { ...payload, amount }, at))
    const dispatch = (amount: number) =>
      CommandBus.dispatch(Tax, { ...payload, amount }).pipe(Effect.provide(Decision.layer(taxing)))

    const result = yield* would(4)
    equal((yield* eventsIn(run)).length, 2, "nothing is written")
    equal(result.before.states, { owned: 10, safes: new Set([payload.safe]) }, "before")
    equal(
      result.states,
      { owned: 6, safes: new Set([payload.safe]) },
      "after, without another owner's safe"
    )
    const receipt = yield* dispatch(4)
    const written = yield* Stream.runCollect(store.readStream(SafeEvent, receipt.stream))
    equal(written.map(({ event }) => event), Array.from(result.events), "the events")
    equal(
      (yield* TimeTravel.decision(taxing, { ...payload, amount: 4 }, AsOf.now)).states,
      result.states,
      "the states"
    )

    equal<unknown>(yield* Effect.flip(would(7)), yield* Effect.flip(dispatch(7)), "the same error")
    equal((yield* would(7, AsOf.position(position))).states.owned, 3, "accepted as of the earlier position")
    equal((yield* Effect.flip(would(1.5)))._tag, "InvalidCommand", "an invalid payload")
    equal((yield* Effect.flip(would(1, AsOf.position(0n))))._tag, "Poor", "before there was anything")
  }),

  test("fails where a decision's stream has another version than it expects", function*() {
    const [run, safe] = [unique("run"), unique("safe")]
    const payload = { run, safe, owner: unique("owner"), amount: 1 }
    const stream = `tax-${safe}`
    const deciding = (expected: Version.Expected) =>
      Decision.make(Tax, {
        events: SafeEvent,
        models: ({ owner }) => ({ opened: openedOf(owner) }),
        stream: () => stream,
        expected,
        decide: (_, c) => [SafeEvent.cases.Taken.make(c)]
      })
    let position: Position.Position | undefined
    for (const actual of upTo(3)) {
      for (const expected of ["noStream", "streamExists", "any", Version.make(1)] as const) {
        const decision = deciding(expected)
        const would = yield* Effect.result(TimeTravel.whatIfDecided(decision, payload, AsOf.now))
        const error = Version.meets(actual - 1, expected) ? undefined : "ConcurrencyConflict"
        equal(reasonOf(would), error, `expected ${expected} at ${actual - 1}`)
        if (error !== undefined) {
          const does = CommandBus.dispatch(Tax, payload).pipe(Effect.provide(Decision.layer(decision)), Effect.result)
          equal<unknown>(reasonOf(yield* does), error, `dispatched, expected ${expected} at ${actual - 1}`)
        }
        if (position !== undefined) {
          const then = yield* Effect.result(TimeTravel.whatIfDecided(decision, payload, AsOf.position(position)))
          equal(reasonOf(then), Version.meets(1, expected) ? undefined : "ConcurrencyConflict", `as of version 1`)
        }
      }
      const receipt = yield* CommandBus.dispatch(Tax, payload).pipe(Effect.provide(Decision.layer(deciding("any"))))
      position ??= receipt.position
    }
  }),

  test("what-ifs from now decide on the state and the models of one point in time", function*() {
    const [show, guest] = [unique("show"), unique("guest")]
    const store = yield* EventStore.EventStore
    yield* store.append(SeatEvent, `Show-${show}`, [{ _tag: "ShowPlanned", show, seats: 9 }])
    const first = yield* TimeTravel.whatIf(ShowDecider, ReserveSeat, { show, guest }, AsOf.now)
    const other = unique("show")
    yield* store.append(SeatEvent, `Show-${other}`, [1, 2].map(() => ({ _tag: "SeatReserved", show: other, guest })))
    const second = yield* TimeTravel.whatIf(ShowDecider, ReserveSeat, { show, guest }, first)
    equal([second.before, second.state], [8, 7], "the free seats")
    equal(
      (yield* Effect.flip(TimeTravel.whatIf(ShowDecider, ReserveSeat, { show, guest }, second)))._tag,
      "TooMany",
      "of the sequence alone"
    )
  }),

  test("returns the initial state before the first event, an error after the last", function*() {
    const run = unique("run")
    const [safe] = safesIn(run)
    const payload = { run, safe: safe!, owner: ownersIn(run)[0]! }
    const empty = yield* TimeTravel.aggregate(SafeDecider, safe!, AsOf.version(0))
    equal([empty.state, empty.version, empty.recordedAt], [SafeDecider.initial, 0, Option.none()], "without events")
    equal(yield* Stream.runCollect(empty.events), [], "no events")
    yield* appendBatch([{ _tag: "SafeOpened", ...payload }, { _tag: "SafeFilled", ...payload, amount: 1 }])
    const beyond = { from: AsOf.now, to: AsOf.version(3) }
    const tries = [
      TimeTravel.aggregate(SafeDecider, safe!, AsOf.version(3)),
      Stream.runDrain(TimeTravel.history(SafeDecider, safe!, AsOf.version(3))),
      TimeTravel.aggregateDiff(SafeDecider, safe!, beyond),
      TimeTravel.whatIf(SafeDecider, OpenSafe, payload, AsOf.version(3))
    ]
    for (const [index, tried] of tries.entries()) {
      const error = yield* Effect.flip<unknown, { readonly _tag: string }, EventStore.EventStore>(tried)
      equal<unknown>(
        [error._tag, "reached" in error ? error.reached : undefined],
        ["AsOfNotReached", AsOf.version(2)],
        `a version beyond the last (${index})`
      )
    }
    const { driver } = (yield* EventStore.EventStore)[internals]
    const far = AsOf.position((yield* driver.last) + 1_000_000n)
    const { async, found } = ownedProjections(run)
    const tax = { ...payload, amount: 1 }
    const allAt = (
      at: typeof far
    ): ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }, EventStore.EventStore>> => [
      TimeTravel.aggregate(SafeDecider, safe!, at),
      Stream.runDrain(TimeTravel.history(SafeDecider, safe!, at)),
      TimeTravel.decision(taxing, tax, at),
      TimeTravel.decisionDiff(taxing, tax, { from: AsOf.now, to: at }),
      TimeTravel.whatIfDecided(taxing, tax, at),
      TimeTravel.document(async, payload.owner, at),
      TimeTravel.documentDiff(found, payload.owner, { from: at, to: AsOf.now })
    ]
    for (const [index, tried] of allAt(far).entries()) {
      equal((yield* Effect.flip(tried))._tag, "AsOfNotReached", `a position beyond the last (${index})`)
    }
    const last = yield* driver.last
    const lost = AsOf.position(LogPosition.make(last, globalThis.crypto.randomUUID()))
    for (const [index, tried] of allAt(lost).entries()) {
      const error = yield* Effect.flip(tried)
      equal(error instanceof EventStoreError ? error.reason._tag : error._tag, "LogDiverged", `a lost event (${index})`)
    }
    const [lastId] = yield* driver.eventIds([last])
    yield* allAt(AsOf.position(LogPosition.make(last, lastId)))[0]!
    const future = AsOf.instant(DateTime.makeUnsafe("2999-01-01T00:00:00Z"))
    equal(
      (yield* TimeTravel.aggregate(SafeDecider, safe!, future)).state.inside,
      1,
      "a future instant includes all events so far"
    )
    equal(
      (yield* TimeTravel.document(found, payload.owner, AsOf.position(0n))).document,
      Option.none(),
      "before the first event there is no document"
    )
    equal(
      (yield* Effect.flip(TimeTravel.document(found, "", AsOf.now)))._tag,
      "EventStoreError",
      "an empty key"
    )
    equal(
      (yield* Effect.flip(TimeTravel.decisionDiff(unschemed, tax, { from: AsOf.now, to: AsOf.now })))._tag,
      "EventStoreError",
      "a state that is not JSON and has no Schema"
    )
  }),

  test("cuts each stream at its first event after an instant, though a clock went back", function*() {
    const run = unique("run")
    const [safe, other] = safesIn(run)
    const owner = unique("owner")
    const of = (name: string, amount: number): SafeEvent => ({ _tag: "SafeFilled", run, safe: name, owner, amount })
    yield* appendBatch([of(safe!, 1), of(safe!, 2), of(safe!, 4)])
    yield* appendBatch([of(other!, 8)])
    const positions = positionsOf(yield* eventsIn(run))
    // The clock was an hour ahead when the second event was recorded.
    const times = [1000, 3_601_000, 2000, 2500]
    const store = yield* recordedAt((position) => times[positions.indexOf(position)] ?? 0)
    const { async, found } = ownedProjections(run)
    const at = (millis: number) =>
      Effect.gen(function*() {
        const asOf = AsOf.instant(DateTime.makeUnsafe(millis))
        const { state, version } = yield* TimeTravel.aggregate(SafeDecider, safe!, asOf)
        const { states } = yield* TimeTravel.decision(taxing, { run, safe: safe!, owner, amount: 1 }, asOf)
        const documents = [
          (yield* TimeTravel.document(async, owner, asOf)).document,
          (yield* TimeTravel.document(found, owner, asOf)).document
        ].map(Option.map(({ sum }) => sum))
        equal(documents, [Option.some(states.owned), Option.some(states.owned)], "documents agree with decisions")
        return [state.inside, version, states.owned]
      }).pipe(within(store))
    equal(yield* at(1000), [1, 1, 1], "before the clock was wrong")
    equal(yield* at(2000), [1, 1, 1], "the third event needs the second")
    equal(yield* at(2500), [1, 1, 9], "events of another stream are included")
    equal(yield* at(3_601_000), [7, 3, 15], "all events")
  }),

  test("waits for appends in flight below the position", function*() {
    const run = unique("run")
    const payload = { run, safe: `${run}-0`, owner: unique("owner") }
    const { driver } = (yield* EventStore.EventStore)[internals]
    const [written, enough] = [yield* Latch.make(false), yield* Latch.make(false)]
    const held = yield* Effect.forkChild(driver.append({
      stream: StreamId.make(unique("Held")),
      expected: "any",
      events: [{
        ...storedEvent("SafeFilled", 1, { ...payload, amount: 1 }),
        tags: [Event.tag("run", run), Event.tag("owner", payload.owner)]
      }],
      inTransaction: () => Effect.andThen(written.open, Effect.timeoutOption(enough.await, "5 seconds"))
    }))
    yield* written.await
    const above = yield* Effect.forkChild(appendBatch([{ _tag: "SafeFilled", ...payload, amount: 2 }]))
    // A back end that appends one at a time runs this after the other; then there is nothing to wait for.
    yield* Effect.timeoutOption(Fiber.await(above), "1 second")
    const last = yield* driver.last
    const read = yield* Effect.forkChild(
      TimeTravel.decision(taxing, { ...payload, amount: 1 }, AsOf.position(last))
    )
    yield* Effect.timeoutOption(Fiber.await(read), "50 millis")
    yield* enough.open
    yield* Fiber.join(held)
    yield* Fiber.join(above)
    const by = (yield* eventsIn(run)).filter(({ position }) => position <= last)
    equal(
      positionsOf((yield* Fiber.join(read)).events.owned),
      positionsOf(by),
      "every event up to the position"
    )
  }),

  test("counts stored events as versions, whatever their upcasters yield", function*() {
    const store = yield* EventStore.EventStore
    const run = unique("run")
    const stream = ThirdHotel.aggregate.streamOf(run)
    yield* store.append(First, stream, [
      { _tag: "GuestCame", run, guest: "ann" },
      { _tag: "GuestGreeted", run, guest: "ann" },
      { _tag: "RoomBooked", run, guest: "ann", room: "1", breakfast: true }
    ])
    const states = [
      [],
      ["ann arrived"],
      ["ann arrived"],
      ["ann arrived", "ann booked 1", "ann wants breakfast"]
    ]
    for (const [version, state] of states.entries()) {
      const at = yield* TimeTravel.aggregate(ThirdHotel, run, AsOf.version(version))
      equal([at.state, at.version], [state, version], `at version ${version}`)
      equal(yield* Stream.runCount(at.events), state.length, `the events up to version ${version}`)
    }
    const steps = yield* Stream.runCollect(TimeTravel.history(ThirdHotel, run))
    equal(steps.map(({ events }) => events.length), [1, 0, 2], "the events of each step")
    const Arrivals = Projection.make(unique("arrivals"), {
      events: Third,
      document: Schema.Array(Schema.String),
      key: () => run,
      evolve: {
        GuestArrived: (log = [], { guest }) => [...log, guest],
        RoomBooked: Projection.ignore,
        BreakfastOrdered: (log = [], { guest }) => [...log, `${guest}!`]
      }
    })
    const find = [{ types: ["GuestArrived", "BreakfastOrdered"], tags: [Event.tag("run", run)] }] as const
    const documents = yield* Stream.runCollect(TimeTravel.documentHistory(Arrivals, run, AsOf.now, { find }))
    equal(
      documents.map(({ document, encoded }) => [Number(encoded.version), Option.getOrNull(document)]),
      [[1, ["ann"]], [3, ["ann", "ann!"]]],
      "the document after each"
    )
  }),

  test("reads a long stream one page at a time", function*() {
    const run = unique("run")
    const payload = { run, safe: `${run}-0`, owner: "ann" }
    yield* appendBatch(upTo(2500).map((amount) => ({ _tag: "SafeFilled", ...payload, amount })))
    const { driver } = (yield* EventStore.EventStore)[internals]
    const read = yield* Ref.make(0)
    const store = yield* EventStore.make({
      ...driver,
      readStream: (page) => Effect.tap(driver.readStream(page), (events) => Ref.update(read, (n) => n + events.length))
    })
    const first = yield* TimeTravel.history(SafeDecider, payload.safe).pipe(
      Stream.take(3),
      Stream.runCollect,
      within(store)
    )
    equal(first.map(({ state }) => state.inside), [1, 3, 6], "the first three")
    ok((yield* Ref.get(read)) <= 500, "one page")
    const at = yield* TimeTravel.aggregate(SafeDecider, payload.safe, AsOf.version(2001)).pipe(within(store))
    equal(at.state.inside, 2001 * 1001, "a state after several pages")
    equal(yield* Stream.runCount(at.events), 2001, "the events")
  })
]
