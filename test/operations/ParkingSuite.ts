/**
 * The conformance suite of parking: what a consumer cannot process is parked, in order, and nothing else waits for it.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import { type EventStoreError, storeError, StoreUnavailable } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import type { NewEvent } from "../../src/event/RecordedEvent.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"

/** Notes, per key, which events of which streams it has seen, in order; and cannot take those that are poison. */
const fixture = (partitions = 1) => {
  const type = unique("Noted")
  const Events = Schema.TaggedUnion({ [type]: { id: Schema.String, key: Schema.String, n: Schema.Int } })
  const poison = new Set<string>()
  const projection = Projection.make(unique("noted"), {
    events: Events,
    document: Schema.Struct({ seen: Schema.Array(Schema.String) }),
    partitions,
    key: (event) => event.key,
    evolve: {
      [type]: (d, { id, n }) => {
        if (poison.has(`${id}${n}`)) throw new Error(`poison ${id}${n}`)
        return { seen: [...d?.seen ?? [], `${id}${n}`] }
      }
    }
  })
  const streamOf = (id: string) => StreamId.make(`${type}-${id}`)
  /** Appends an event `n` to the stream `id`, which touches the document `key`. Answers its position. */
  const append = (id: string, n: number, key = id) =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      return (yield* store.append(Events, streamOf(id), [{ _tag: type, id, key, n }])).position
    })
  const seen = (key: string) =>
    Effect.map(
      ProjectionStore.get(projection, key),
      (found) => Option.match(found, { onNone: () => [], onSome: (d) => d.seen })
    )
  const reached = (position: Position.Position) =>
    Effect.flatMap(ProjectionStore.ProjectionStore, (store) => store.awaitPosition(projection, position, "50 seconds"))
  const parked = Effect.map(
    Parking.list(projection),
    (all) => all.map((p) => [p.stream.slice(type.length + 1), p.version, p.attempts])
  )
  const working = Effect.provide(Projector.layer([projection], { batchSize: 2 }))
  return { append, parked, poison, projection, reached, seen, streamOf, type, working }
}

const raw = (type: string, data: string): NewEvent => ({
  id: globalThis.crypto.randomUUID(),
  type,
  schemaVersion: 1,
  data,
  metadata: "{}"
})

const complete = (projection: Projection.Any) =>
  Effect.map(
    DeliveryAudit.run(projection),
    (audit) => equal([audit.status, audit.first], ["complete", undefined], "the audit")
  )

const toPark: ReadonlyArray<Case<Stores>> = [
  test("a poisonous event parks its stream in order, and no other; a retry goes on where it stopped", function*() {
    const { append, parked, poison, projection, reached, seen, streamOf, working } = fixture()
    poison.add("a2")
    yield* Effect.gen(function*() {
      for (const n of upTo(3)) for (const id of ["a", "b"]) yield* append(id, n, "both")
      yield* reached(yield* append("c", 1))
      equal(yield* seen("both"), ["a1", "b1", "b2", "b3"], "what goes on")
      equal(yield* seen("c"), ["c1"], "another document")
      equal(yield* parked, [["a", 2, 1]], "what is parked")
      yield* complete(projection)
      poison.clear()
      const outcome = yield* Parking.retry(projection, streamOf("a"), { actor: "ann", reason: "fixed" })
      equal([outcome.outcome, outcome.entry.actor, outcome.parked], ["retried", "ann", undefined], "the outcome")
      equal(yield* seen("both"), ["a1", "b1", "b2", "b3", "a2", "a3"], "in order within the stream")
      equal(yield* parked, [], "nothing is parked")
      yield* reached(yield* append("a", 4, "both"))
      equal((yield* seen("both")).at(-1), "a4", "the stream goes on")
      yield* complete(projection)
    }).pipe(working)
  }),

  test("whoever watches a document sees what a retry has made of it", function*() {
    const { append, poison, projection, reached, streamOf, working } = fixture()
    poison.add("a1")
    yield* Effect.gen(function*() {
      yield* reached(yield* append("a", 1))
      const first = yield* Deferred.make<void>()
      const watching = yield* ProjectionStore.watch(projection, "a").pipe(
        Stream.tap(() => Deferred.succeed(first, undefined)),
        Stream.take(2),
        Stream.runCollect,
        Effect.forkChild
      )
      yield* Deferred.await(first)
      poison.clear()
      yield* Parking.retry(projection, streamOf("a"))
      const all = yield* Effect.timeout(Fiber.join(watching), "30 seconds")
      equal(all.map(Option.map(({ seen }) => seen)), [Option.none(), Option.some(["a1"])], "before and after")
    }).pipe(working)
  }),

  test("a parked event may be the very last that was read", function*() {
    const { append, poison, projection, reached, seen, streamOf, working } = fixture()
    poison.add("a1")
    yield* Effect.gen(function*() {
      yield* reached(yield* append("a", 1))
      poison.clear()
      equal((yield* Parking.retry(projection, streamOf("a"))).outcome, "retried", "the outcome")
      equal(yield* seen("a"), ["a1"], "it is applied")
      yield* complete(projection)
    }).pipe(working)
  }),

  test("a retry may fail again, or get past the first event and no further", function*() {
    const { append, parked, poison, projection, reached, seen, streamOf, working } = fixture()
    for (const bad of ["a2", "a4"]) poison.add(bad)
    yield* Effect.gen(function*() {
      for (const n of upTo(5)) yield* reached(yield* append("a", n))
      const failed = yield* Parking.retry(projection, streamOf("a"), { actor: "ann" })
      equal([failed.outcome, failed.parked?.attempts], ["failed", 2], "again")
      ok(failed.entry.detail?.includes("poison a2") === true, `the detail of the entry: ${failed.entry.detail}`)
      equal(yield* seen("a"), ["a1"], "nothing has changed")
      poison.delete("a2")
      const further = yield* Parking.retry(projection, streamOf("a"))
      equal([further.outcome, further.parked?.version], ["retried", 4], "further")
      equal(yield* seen("a"), ["a1", "a2", "a3"], "what came in between")
      equal(yield* parked, [["a", 4, 1]], "at a later event")
      yield* complete(projection)
      equal(
        (yield* Parking.history(projection)).map((e) => [e.action, e.actor]),
        [["parked", undefined], ["failed", "ann"], ["retried", undefined], ["parked", undefined]],
        "all of it is recorded"
      )
    }).pipe(working)
  }),

  test("an event is skipped for a reason, and the stream goes on behind it", function*() {
    const { append, parked, poison, projection, reached, seen, streamOf, working } = fixture()
    for (const bad of ["a2", "a3"]) poison.add(bad)
    yield* Effect.gen(function*() {
      for (const n of upTo(4)) yield* reached(yield* append("a", n))
      const refused = yield* Effect.flip(Parking.skip(projection, streamOf("a"), { reason: "" }))
      equal(refused._tag, "EventStoreError", "without a reason")
      const first = yield* Parking.skip(projection, streamOf("a"), { reason: "a test", actor: "bob" })
      equal(
        [first.outcome, first.entry.detail, first.entry.actor, first.parked?.version],
        ["skipped", "a test", "bob", 3],
        "as it is recorded, and parked again"
      )
      const second = yield* Parking.skip(projection, streamOf("a"), { reason: "another" })
      equal([second.outcome, second.parked], ["skipped", undefined], "the next one")
      equal(yield* seen("a"), ["a1", "a4"], "what is not skipped")
      equal(yield* parked, [], "nothing is parked")
      yield* complete(projection)
      const [partition] = (yield* DeliveryAudit.run(projection)).partitions
      equal([partition?.events, partition?.applied, partition?.skipped], [4, 2, 2], "the account")
    }).pipe(working)
  }),

  test("several streams of several partitions are parked, stay so through restarts, and are retried together", function*() {
    const { append, parked, poison, projection, reached, seen, working } = fixture(3)
    const ids = ["a", "b", "c", "d", "e"]
    for (const id of ids) poison.add(`${id}2`)
    const round = Effect.fnUntraced(function*(from: number) {
      let last = Position.start
      for (const n of [from, from + 1]) for (const id of [...ids, "good"]) last = yield* append(id, n)
      yield* reached(last)
      equal(yield* parked, ids.map((id) => [id, 2, 1]), "the streams")
      for (const id of ids) equal(yield* seen(id), [`${id}1`], "what was applied before")
      equal((yield* seen("good")).length, from + 1, "the good one goes on")
    })
    for (const from of [1, 3, 5]) yield* working(round(from))
    yield* Effect.gen(function*() {
      poison.delete("a2")
      const outcomes = yield* Parking.retryAll(projection, { actor: "ann" })
      equal(
        outcomes.map((one) => [one.outcome, one.parked?.version]),
        [["retried", undefined], ...["b", "c", "d", "e"].map(() => ["failed" as const, Version.make(2)])],
        "the outcomes"
      )
      poison.clear()
      yield* Parking.retryAll(projection)
      for (const id of ids) equal(yield* seen(id), upTo(6).map((n) => `${id}${n}`), "every event once, in order")
      equal(yield* Parking.retryAll(projection), [], "nothing to retry")
      yield* complete(projection)
    }).pipe(working)
  }),

  test("an event that cannot be decoded parks its stream, and is shown as it is", function*() {
    const { append, parked, poison, projection, reached, seen, streamOf, type, working } = fixture()
    poison.add("b1")
    yield* Effect.gen(function*() {
      yield* append("a", 1)
      const { driver } = (yield* EventStore.EventStore)[internals]
      yield* driver.append({
        stream: streamOf("a"),
        expected: "any",
        events: [raw(type, `{"n":"odd"}`)]
      })
      yield* append("a", 3)
      yield* reached(yield* append("b", 1))
      equal(yield* parked, [["a", 2, 1], ["b", 1, 1]], "the streams")
      const odd = yield* Parking.inspect(projection, streamOf("a"))
      equal(odd.recorded.data, { n: "odd" }, "as it was recorded")
      equal(
        Result.match(odd.events, { onSuccess: () => "decoded", onFailure: ({ reason }) => reason._tag }),
        "UndecodableEvent",
        "why it is not decoded"
      )
      equal([odd.waiting.map((event) => event.version), odd.more], [[3], false], "what waits behind it")
      equal(odd.history.map((e) => e.action), ["parked"], "its history alone")
      const sound = yield* Parking.inspect(projection, streamOf("b"))
      ok(
        Result.isSuccess(sound.events) &&
          Equal.equals(sound.events.success[0]?.event, { _tag: type, id: "b", key: "b", n: 1 }),
        "one that can be decoded"
      )
      ok(sound.parked.error.includes("poison b1"), "why it is parked")
      equal((yield* Parking.skip(projection, streamOf("a"), { reason: "odd" })).outcome, "skipped", "skipped")
      equal(yield* seen("a"), ["a1", "a3"], "the others")
    }).pipe(working)
  }),

  test("a document that cannot be decoded parks the streams that touch it; once it is fixed they go on", function*() {
    const { append, parked, projection, reached, seen, working } = fixture()
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const write = (document: string) =>
      driver.write([{ generation: projection.id, changes: [{ key: "k", document, indexed: [] }] }])
    yield* write(`{"seen":"nothing"}`)
    yield* Effect.gen(function*() {
      yield* append("a", 1, "k")
      yield* append("b", 1, "other")
      yield* append("b", 2, "k")
      yield* reached(yield* append("a", 2, "other"))
      equal(yield* parked, [["a", 1, 1], ["b", 2, 1]], "both streams, each from there on")
      equal(yield* seen("other"), ["b1"], "the other document")
      yield* write(`{"seen":[]}`)
      equal((yield* Parking.retryAll(projection)).map((one) => one.outcome), ["retried", "retried"], "after mending")
      equal((yield* seen("k")).toSorted(), ["a1", "b2"], "the document")
      equal(yield* seen("other"), ["b1", "a2"], "the other")
      yield* complete(projection)
    }).pipe(working)
  })
]

const asked: ReadonlyArray<Case<Stores>> = [
  test("what is not parked, or not at the event that is meant, is left alone", function*() {
    const { append, poison, projection, reached, streamOf, working } = fixture()
    poison.add("a1")
    yield* Effect.gen(function*() {
      const position = yield* append("a", 1)
      yield* reached(position)
      const nobody = yield* Effect.flip(Parking.retry(projection, "nobody"))
      equal([nobody._tag, "stream" in nobody && nobody.stream], ["NotParked", "nobody"], "a stream that is not parked")
      equal((yield* Effect.flip(Parking.inspect(projection, "nobody")))._tag, "NotParked", "to look at")
      const other = yield* Effect.flip(
        Parking.skip(projection, streamOf("a"), { reason: "a test", position: Position.make(position + 1n) })
      )
      equal(other._tag, "NotParked", "parked at another event")
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      equal((yield* Parking.list(projection))[0]?.request, undefined, "nothing was asked")
      ok(
        !(yield* driver.request(projection.id, streamOf("a"), { action: "skip" }, Position.make(position + 1n))),
        "nor"
      )
    }).pipe(working)
  }),

  test("what is asked while nobody works is done by the next who does", function*() {
    const { append, poison, projection, reached, seen, streamOf, working } = fixture()
    poison.add("a1")
    yield* working(Effect.flatMap(append("a", 1), reached))
    poison.clear()
    const error = yield* Effect.flip(Parking.retry(projection, streamOf("a"), { actor: "ann", timeout: "50 millis" }))
    equal(error._tag, "StillParked", "nobody has done it")
    const [entry] = yield* Parking.list(projection)
    equal(entry?.request, { action: "retry", actor: "ann", reason: undefined }, "the request stands")
    yield* Effect.gen(function*() {
      yield* reached(yield* append("b", 1))
      yield* Parking.list(projection).pipe(
        Effect.repeat({ until: (all) => all.length === 0 }),
        Effect.timeout("30 seconds")
      )
      equal(yield* seen("a"), ["a1"], "it is done")
      equal((yield* Parking.history(projection)).at(-1)?.actor, "ann", "for whom")
    }).pipe(working)
  }),

  test("a worker hears of what another process asks, also while no event comes, long before its lease ends", function*() {
    const { append, poison, projection, seen, streamOf } = fixture()
    poison.add("a1")
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    // As two processes have it: the same store, but nobody to wake-up.
    let looks = 0
    const working = yield* ProjectionStore.make({
      ...driver,
      claim: (request) => Effect.tap(driver.claim(request), () => Effect.sync(() => looks++))
    })
    const worker = Effect.provide(Projector.layer([projection], { lease: "1 hour" }))
    yield* Effect.gen(function*() {
      yield* working.awaitPosition(projection, yield* append("a", 1), "50 seconds")
      poison.clear()
      const before = looks
      yield* Effect.repeat(Effect.sync(() => looks), {
        until: (now) => now >= before + 2,
        schedule: Schedule.spaced("10 millis")
      })
      const outcome = yield* Effect.provideService(
        Parking.retry(projection, streamOf("a")),
        ProjectionStore.ProjectionStore,
        yield* ProjectionStore.make(driver)
      )
      equal(outcome.outcome, "retried", "the outcome")
      equal(yield* seen("a"), ["a1"], "it is done")
    }).pipe(worker, Effect.provideService(ProjectionStore.ProjectionStore, working), Effect.timeout("40 seconds"))
  }),

  test("a store that fails in the middle of a retry fails no event: it is tried again", function*() {
    const { append, poison, projection, reached, seen, streamOf } = fixture()
    poison.add("a1")
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    let failures = 0
    const flaky = yield* ProjectionStore.make({
      ...driver,
      load: (generation, keys) =>
        Effect.suspend(() =>
          poison.size === 0 && ++failures <= 2
            ? Effect.fail(storeError(new StoreUnavailable({ message: "a test", cause: undefined })))
            : driver.load(generation, keys)
        )
    })
    yield* Effect.gen(function*() {
      yield* reached(yield* append("a", 1))
      poison.clear()
      equal((yield* Parking.retry(projection, streamOf("a"))).outcome, "retried", "the outcome")
      equal(failures > 2, true, "it was tried again")
      equal(yield* seen("a"), ["a1"], "it is done")
      equal((yield* Parking.history(projection)).map((e) => e.action), ["parked", "retried"], "the record")
    }).pipe(
      Effect.provide(Projector.layer([projection], { retryDelay: { first: "10 millis", max: "20 millis" } })),
      Effect.provideService(ProjectionStore.ProjectionStore, flaky)
    )
  })
]

/** A projection store that fails, three times, right after it has done one of these, as part of a transaction. */
const dyingAfter = (step: "advance" | "park" | "recordLateDelivery" | "unpark") =>
  Effect.gen(function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    let deaths = 0
    const dying = <A>(effect: Effect.Effect<A, EventStoreError>) =>
      Effect.flatMap(effect, (answer) =>
        deaths++ < 3
          ? Effect.fail(storeError(new StoreUnavailable({ message: "a crash", cause: undefined })))
          : Effect.succeed(answer))
    const store = yield* ProjectionStore.make({
      ...driver,
      park: (...args) => step === "park" ? dying(driver.park(...args)) : driver.park(...args),
      recordLateDelivery: (...args) =>
        step === "recordLateDelivery" ? dying(driver.recordLateDelivery(...args)) : driver.recordLateDelivery(...args),
      unpark: (...args) => step === "unpark" ? dying(driver.unpark(...args)) : driver.unpark(...args),
      // One that moves the checkpoint is a transaction of its own, and done when it is done.
      advance: (request) =>
        step === "advance" && request.from === request.to ? dying(driver.advance(request)) : driver.advance(request)
    })
    return { store, deaths: () => deaths }
  })

const crashes: ReadonlyArray<Case<Stores>> = (["park", "advance", "recordLateDelivery", "unpark"] as const).map((
  step
) =>
  test(`a worker that dies after "${step}" has done all of it or nothing`, function*() {
    const { append, poison, projection, reached, seen, streamOf } = fixture()
    poison.add("a2")
    const { deaths, store } = yield* dyingAfter(step)
    yield* Effect.gen(function*() {
      for (const n of upTo(3)) yield* append("a", n, "k")
      yield* reached(yield* append("b", 1, "k"))
      equal(yield* seen("k"), ["a1", "b1"], "before")
      equal((yield* Parking.history(projection)).map((e) => e.action), ["parked"], "the record")
      yield* complete(projection)
      poison.clear()
      equal((yield* Parking.retry(projection, streamOf("a"))).outcome, "retried", "the outcome")
      equal(yield* seen("k"), ["a1", "b1", "a2", "a3"], "after")
      equal((yield* Parking.history(projection)).map((e) => e.action), ["parked", "retried"], "the record")
      yield* complete(projection)
      ok(deaths() > 3, "it has died")
    }).pipe(
      Effect.provide(Projector.layer([projection], { retryDelay: { first: "10 millis", max: "20 millis" } })),
      Effect.provideService(ProjectionStore.ProjectionStore, store)
    )
  })
)

/**
 * All tests.
 *
 * @since 0.1.0
 * @category suites
 */
export const parking: ReadonlyArray<Case<Stores>> = [...toPark, ...asked, ...crashes]
