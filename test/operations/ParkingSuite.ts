/**
 * The runtime suite of parking: an event that fails parks its stream, in order, and delays no other stream.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Case, equal, includes, isAbove, test, unique } from "../../src/conformance/Suite.ts"
import * as ConsumerReads from "../../src/consumer/ConsumerReads.ts"
import * as Unparking from "../../src/consumer/parking/Unparking.ts"
import { filterOf } from "../../src/consumer/PartitionProcessor.ts"
import { type EventStoreError, storeError, StoreUnavailable } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as LogPosition from "../../src/core/LogPosition.ts"
import * as Position from "../../src/core/Position.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Event from "../../src/event/Event.ts"
import type { NewEvent } from "../../src/event/RecordedEvent.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as DocumentProcessor from "../../src/projection/DocumentProcessor.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { parkedKeys, parkingLog } from "../support/parked.ts"

/** A projection that records the events of each document in order, and throws on those in `poison`. */
export const fixture = (
  partitions = 1,
  partitionBy: "stream" | "document" | { readonly tag: "document" } = "stream"
) => {
  const type = unique("Noted")
  const Events = Schema.TaggedUnion({ [type]: { id: Schema.String, key: Schema.String, n: Schema.Int } })
    .pipe(Event.tags({ document: "key" }))
  const poison = new Set<string>()
  const projection = Projection.make(unique("noted"), {
    events: Events,
    document: Schema.Struct({ seen: Schema.Array(Schema.String) }),
    partitions,
    partitionBy,
    key: (event) => event.key,
    evolve: {
      [type]: (d, { id, n }) => {
        if (poison.has(`${id}${n}`)) throw new Error(`poison ${id}${n}`)
        return { seen: [...d?.seen ?? [], `${id}${n}`] }
      }
    }
  })
  const streamOf = (id: string) => StreamId.make(`${type}-${id}`)
  /** Appends an event `n` of the document `key` to the stream `id`. Returns its position. */
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
  const awaitConsumer = (position: Position.Position) =>
    Effect.flatMap(ProjectionStore.ProjectionStore, (store) => store.awaitPosition(projection, position, "50 seconds"))
  const parked = Effect.map(
    parkedKeys(projection),
    (all) => all.map((p) => [p.stream.slice(type.length + 1), p.version, p.attempts])
  )
  const withProjector = Effect.provide(Projector.layer([projection], { batchSize: 2 }))
  return { append, parked, poison, projection, awaitConsumer, seen, streamOf, type, withProjector }
}

const newEvent = (type: string, data: string): NewEvent => ({
  id: globalThis.crypto.randomUUID(),
  type,
  schemaVersion: 1,
  data,
  metadata: "{}"
})

export const equalComplete = (projection: Projection.Any) =>
  Effect.map(
    DeliveryAudit.run(projection),
    (audit) => equal([audit.status, audit.first], ["complete", undefined], "the audit")
  )

const processing: ReadonlyArray<Case<Stores>> = [
  test("a failing event parks its stream in order, and a retry resumes there", function*() {
    const { append, parked, poison, projection, awaitConsumer, seen, streamOf, withProjector } = fixture()
    poison.add("a2")
    yield* Effect.gen(function*() {
      for (const n of upTo(3)) for (const id of ["a", "b"]) yield* append(id, n, "both")
      yield* awaitConsumer(yield* append("c", 1))
      equal(yield* seen("both"), ["a1", "b1", "b2", "b3"], "the document with the other stream")
      equal(yield* seen("c"), ["c1"], "the other document")
      equal(yield* parked, [["a", 2, 1]], "the parked streams")
      yield* equalComplete(projection)
      poison.clear()
      const outcome = yield* Parking.retry(projection, streamOf("a"), { actor: "ann", reason: "fixed" })
      equal([outcome.outcome, outcome.entry.actor, outcome.parked], ["retried", "ann", undefined], "the outcome")
      equal(yield* seen("both"), ["a1", "b1", "b2", "b3", "a2", "a3"], "the document after the retry")
      equal(yield* parked, [], "the parked streams after the retry")
      yield* awaitConsumer(yield* append("a", 4, "both"))
      equal((yield* seen("both")).at(-1), "a4", "the last event of the document")
      yield* equalComplete(projection)
    }).pipe(withProjector)
  }),

  test("a watch of a document returns the change of a retry", function*() {
    const { append, poison, projection, awaitConsumer, streamOf, withProjector } = fixture()
    poison.add("a1")
    yield* Effect.gen(function*() {
      yield* awaitConsumer(yield* append("a", 1))
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
      const all = yield* Effect.timeout(Fiber.join(watching), "1 minute")
      equal(
        all.map(Option.map(({ seen }) => seen)),
        [Option.none(), Option.some(["a1"])],
        "the documents before and after the retry"
      )
    }).pipe(withProjector)
  }),

  test("a retry succeeds on the last event of the log", function*() {
    const { append, poison, projection, awaitConsumer, seen, streamOf, withProjector } = fixture()
    poison.add("a1")
    yield* Effect.gen(function*() {
      yield* awaitConsumer(yield* append("a", 1))
      poison.clear()
      equal((yield* Parking.retry(projection, streamOf("a"))).outcome, "retried", "the outcome")
      equal(yield* seen("a"), ["a1"], "the document")
      yield* equalComplete(projection)
    }).pipe(withProjector)
  }),

  test("a retry can fail again, or stop at a later event", function*() {
    const { append, parked, poison, projection, awaitConsumer, seen, streamOf, withProjector } = fixture()
    for (const failing of ["a2", "a4"]) poison.add(failing)
    yield* Effect.gen(function*() {
      for (const n of upTo(5)) yield* awaitConsumer(yield* append("a", n))
      const failed = yield* Parking.retry(projection, streamOf("a"), { actor: "ann" })
      equal([failed.outcome, failed.parked?.attempts], ["failed", 2], "the outcome of the first retry")
      includes(failed.entry.detail ?? "", "poison a2", "the detail of its entry")
      equal(yield* seen("a"), ["a1"], "the document after the first retry")
      poison.delete("a2")
      const further = yield* Parking.retry(projection, streamOf("a"))
      equal([further.outcome, further.parked?.version], ["retried", 4], "the outcome of the second retry")
      equal(yield* seen("a"), ["a1", "a2", "a3"], "the document after the second retry")
      equal(yield* parked, [["a", 4, 1]], "the parked streams")
      yield* equalComplete(projection)
      equal(
        (yield* parkingLog(projection)).map((e) => [e.action, e.actor]),
        [["parked", undefined], ["failed", "ann"], ["retried", undefined], ["parked", undefined]],
        "the parking log"
      )
    }).pipe(withProjector)
  }),

  test("a skip needs a reason, and the stream continues after the event", function*() {
    const { append, parked, poison, projection, awaitConsumer, seen, streamOf, withProjector } = fixture()
    for (const failing of ["a2", "a3"]) poison.add(failing)
    yield* Effect.gen(function*() {
      for (const n of upTo(4)) yield* awaitConsumer(yield* append("a", n))
      const refused = yield* Effect.flip(Parking.skip(projection, streamOf("a"), { reason: "" }))
      equal(refused._tag, "EventStoreError", "the error of a skip without a reason")
      const first = yield* Parking.skip(projection, streamOf("a"), { reason: "a test", actor: "bob" })
      equal(
        [first.outcome, first.entry.detail, first.entry.actor, first.parked?.version],
        ["skipped", "a test", "bob", 3],
        "the entry of the skip, and the version at which the stream is parked again"
      )
      const second = yield* Parking.skip(projection, streamOf("a"), { reason: "another" })
      equal([second.outcome, second.parked], ["skipped", undefined], "the outcome of the second skip")
      equal(yield* seen("a"), ["a1", "a4"], "the document")
      equal(yield* parked, [], "the parked streams")
      yield* equalComplete(projection)
      const [partition] = (yield* DeliveryAudit.run(projection)).partitions
      equal([partition?.events, partition?.applied, partition?.skipped], [4, 2, 2], "the events, applied and skipped")
    }).pipe(withProjector)
  }),

  test("parked streams of several partitions survive restarts and are retried together", function*() {
    const { append, parked, poison, projection, awaitConsumer, seen, withProjector } = fixture(3)
    const ids = ["a", "b", "c", "d", "e"]
    for (const id of ids) poison.add(`${id}2`)
    const round = Effect.fnUntraced(function*(from: number) {
      let last = Position.start
      for (const n of [from, from + 1]) for (const id of [...ids, "good"]) last = yield* append(id, n)
      yield* awaitConsumer(last)
      equal(yield* parked, ids.map((id) => [id, 2, 1]), "the parked streams")
      for (const id of ids) equal(yield* seen(id), [`${id}1`], `the document of ${id}`)
      equal((yield* seen("good")).length, from + 1, "the number of events of the stream that is not parked")
    })
    for (const from of [1, 3, 5]) yield* withProjector(round(from))
    yield* Effect.gen(function*() {
      poison.delete("a2")
      const outcomes = yield* Parking.retryAll(projection, { actor: "ann" })
      equal(outcomes, { requested: 5, retried: 1, failed: 4, skipped: 0, parkedLater: 0 }, "the outcomes")
      equal(yield* parked, ["b", "c", "d", "e"].map((id) => [id, 2, 2]), "the parked streams after a retry")
      poison.clear()
      yield* Parking.retryAll(projection)
      for (const id of ids) {
        equal(
          yield* seen(id),
          upTo(6).map((n) => `${id}${n}`),
          `the document of ${id} after the retries`
        )
      }
      equal((yield* Parking.retryAll(projection)).requested, 0, "the requests without parked streams")
      yield* equalComplete(projection)
    }).pipe(withProjector)
  }),

  test("an undecodable event parks its stream, and `inspect` shows its stored payload", function*() {
    const { append, parked, poison, projection, awaitConsumer, seen, streamOf, type, withProjector } = fixture()
    poison.add("b1")
    yield* Effect.gen(function*() {
      yield* append("a", 1)
      const { driver } = (yield* EventStore.EventStore)[internals]
      yield* driver.append({
        stream: streamOf("a"),
        expected: "any",
        events: [newEvent(type, `{"n":"odd"}`)]
      })
      yield* append("a", 3)
      yield* awaitConsumer(yield* append("b", 1))
      equal(yield* parked, [["a", 2, 1], ["b", 1, 1]], "the parked streams")
      const odd = yield* Parking.inspect(projection, streamOf("a"))
      equal(odd.recorded.data, { n: "odd" }, "the stored payload")
      equal(
        Result.match(odd.events, { onSuccess: () => "decoded", onFailure: ({ reason }) => reason._tag }),
        "UndecodableEvent",
        "the decoding error"
      )
      equal(
        [odd.waiting.map((event) => event.version), odd.more],
        [[3], false],
        "the waiting versions, and whether there are more"
      )
      equal(odd.history.map((e) => e.action), ["parked"], "the parking log of this stream")
      const decodable = yield* Parking.inspect(projection, streamOf("b"))
      equal<unknown>(
        Result.getOrThrow(decodable.events).map(({ event }) => event),
        [{ _tag: type, id: "b", key: "b", n: 1 }],
        "the decoded events"
      )
      includes(decodable.parked.error, "poison b1", "the parking error")
      equal(
        (yield* Parking.skip(projection, streamOf("a"), { reason: "odd" })).outcome,
        "skipped",
        "the outcome of the skip"
      )
      equal(yield* seen("a"), ["a1", "a3"], "the document")
    }).pipe(withProjector)
  }),

  test("an undecodable document parks the streams that change it, until it is fixed", function*() {
    const { append, parked, projection, awaitConsumer, seen, withProjector } = fixture()
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const write = (document: string) =>
      driver.write([{ generation: projection.id, changes: [{ key: "k", document, indexed: [] }] }])
    yield* Effect.gen(function*() {
      yield* awaitConsumer(yield* append("b", 1, "other"))
      yield* write(`{"seen":"nothing"}`)
      yield* append("a", 1, "k")
      yield* append("b", 2, "k")
      yield* awaitConsumer(yield* append("a", 2, "other"))
      equal(yield* parked, [["a", 1, 1], ["b", 2, 1]], "the parked streams")
      equal(yield* seen("other"), ["b1"], "the other document while they are parked")
      yield* write(`{"seen":[]}`)
      equal((yield* Parking.retryAll(projection)).retried, 2, "the outcomes")
      equal((yield* seen("k")).toSorted(), ["a1", "b2"], "the fixed document")
      equal(yield* seen("other"), ["b1", "a2"], "the other document")
      yield* equalComplete(projection)
    }).pipe(withProjector)
  })
]

const requests: ReadonlyArray<Case<Stores>> = [
  test("rejects a request for a key that is not parked, or at another event", function*() {
    const { append, poison, projection, awaitConsumer, streamOf, withProjector } = fixture()
    poison.add("a1")
    yield* Effect.gen(function*() {
      const position = yield* append("a", 1)
      yield* awaitConsumer(position)
      const notParked = yield* Effect.flip(Parking.retry(projection, "unknown"))
      equal(
        [notParked._tag, "key" in notParked && notParked.key],
        ["NotParked", "unknown"],
        "the error of a retry, and its key"
      )
      equal((yield* Effect.flip(Parking.inspect(projection, "unknown")))._tag, "NotParked", "the error of `inspect`")
      const other = yield* Effect.flip(
        Parking.skip(projection, streamOf("a"), { reason: "a test", position: Position.make(position + 1n) })
      )
      equal(other._tag, "NotParked", "the error of a skip at another event")
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      equal((yield* parkedKeys(projection))[0]?.request, undefined, "the stored request")
      equal(
        yield* driver.request(
          projection.id,
          { id: "test", action: "skip" },
          [{ partition: 0, key: streamOf("a"), position: Position.make(position + 1n) }]
        ),
        0,
        "whether the driver accepts a request at another event"
      )
    }).pipe(withProjector)
  }),

  test("a request without a running worker is carried out by the next worker", function*() {
    const { append, poison, projection, awaitConsumer, seen, streamOf, withProjector } = fixture()
    poison.add("a1")
    yield* withProjector(Effect.flatMap(append("a", 1), awaitConsumer))
    poison.clear()
    const error = yield* Effect.flip(Parking.retry(projection, streamOf("a"), { actor: "ann", timeout: "50 millis" }))
    equal(error._tag, "StillParked", "the error without a worker")
    const [entry] = yield* parkedKeys(projection)
    equal([entry?.request?.action, entry?.request?.actor], ["retry", "ann"], "the stored request")
    yield* Effect.gen(function*() {
      yield* awaitConsumer(yield* append("b", 1))
      yield* parkedKeys(projection).pipe(
        Effect.repeat({ until: (all) => all.length === 0 }),
        Effect.timeout("1 minute")
      )
      equal(yield* seen("a"), ["a1"], "the document")
      equal((yield* parkingLog(projection)).at(-1)?.actor, "ann", "the actor of the last entry")
    }).pipe(withProjector)
  }),

  test("an idle worker carries out another process's request long before its lease ends", function*() {
    const { append, poison, projection, seen, streamOf } = fixture()
    poison.add("a1")
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    // Two stores on one driver, as in two processes: one does not wake the other's worker.
    let claims = 0
    const withProjector = yield* ProjectionStore.make({
      ...driver,
      inProcess: undefined,
      claim: (request) => Effect.tap(driver.claim(request), () => Effect.sync(() => claims++))
    })
    const worker = Effect.provide(Projector.layer([projection], { lease: "1 hour" }))
    yield* Effect.gen(function*() {
      yield* withProjector.awaitPosition(projection, yield* append("a", 1), "50 seconds")
      poison.clear()
      const before = claims
      yield* Effect.repeat(Effect.sync(() => claims), {
        until: (now) => now >= before + 2,
        schedule: Schedule.spaced("10 millis")
      })
      const outcome = yield* Effect.provideService(
        Parking.retry(projection, streamOf("a")),
        ProjectionStore.ProjectionStore,
        yield* ProjectionStore.make(driver)
      )
      equal(outcome.outcome, "retried", "the outcome")
      equal(yield* seen("a"), ["a1"], "the document")
    }).pipe(worker, Effect.provideService(ProjectionStore.ProjectionStore, withProjector), Effect.timeout("1 minute"))
  }),

  test("a worker repeats a retry during which the store failed", function*() {
    const { append, poison, projection, awaitConsumer, seen, streamOf } = fixture()
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
      yield* awaitConsumer(yield* append("a", 1))
      poison.clear()
      equal((yield* Parking.retry(projection, streamOf("a"))).outcome, "retried", "the outcome")
      isAbove(failures, 2, "the number of loads, of which two fail")
      equal(yield* seen("a"), ["a1"], "the document")
      equal(
        (yield* parkingLog(projection)).map((e) => e.action),
        ["parked", "retried"],
        "the actions in the parking log"
      )
    }).pipe(
      Effect.provide(Projector.layer([projection], { retryDelay: { first: "10 millis", max: "20 millis" } })),
      Effect.provideService(ProjectionStore.ProjectionStore, flaky)
    )
  })
]

const repetitions: ReadonlyArray<Case<Stores>> = [
  test("applies the events of a parked key once when its owner retries it twice at a time", function*() {
    const { append, poison, projection, awaitConsumer, seen } = fixture()
    poison.add("a1")
    yield* append("a", 1)
    const position = yield* append("a", 2)
    yield* Effect.provide(awaitConsumer(position), Projector.layer([projection]))
    poison.clear()
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const { assigned: [owned], generation } = yield* driver.claim({
      consumer: projection.id,
      owner: "me",
      partitions: 1,
      partitionedBy: "stream",
      reads: ConsumerReads.format(ConsumerReads.of(projection)),
      lease: Duration.minutes(1)
    })
    yield* driver.request(generation, { id: "test", action: "retry" }, yield* driver.parkedPlaces(generation, {}))
    const partition = {
      events: yield* EventStore.EventStore,
      store: driver,
      processor: DocumentProcessor.make(projection, driver),
      generation,
      partition: 0,
      partitions: 1,
      former: [],
      epoch: owned!.epoch,
      filter: filterOf(projection, 0),
      batchSize: 10,
      maxBatchSize: 10,
      stopTimeout: Duration.seconds(3)
    }
    // As after a lost connection: the first transaction is not known to commit, and the second has read the same request.
    const checkpoint = LogPosition.make(owned!.position, owned!.eventId, owned!.count)
    const [parked] = yield* driver.parked(generation, { limit: 1 })
    const events = yield* Stream.runCollect(partition.events.readStreamEncoded(parked!.stream))
    const chunk = {
      keys: [{ parked: parked!, reached: undefined, isComplete: true }],
      events: events.map((event) => ({ event, keys: [parked!.key], isSingle: true }))
    }
    const retry = Unparking.apply(partition, chunk, checkpoint)
    const outcomes = yield* Effect.all([Effect.result(retry), Effect.result(retry)], { concurrency: 2 })
    const advanced = outcomes.map((outcome) =>
      Result.match(outcome, {
        onSuccess: ({ advanced }) => advanced,
        onFailure: ({ isRetryable }) => isRetryable ? "lost" : "failed"
      })
    )
    equal(advanced.toSorted(), ["advanced", "lost"], "the outcomes")
    equal((yield* retry).advanced, "lost", "a later one")
    equal((yield* driver.progress(generation))[0]?.applied, 2n, "the deliveries")
    equal(yield* seen("a"), ["a1", "a2"], "the document")
    yield* equalComplete(projection)
  })
]

/** A projection store that fails three times, directly after the given operation within a transaction. */
const failingAfter = (operation: "advance" | "park" | "recordLateDelivery" | "unpark") =>
  Effect.gen(function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    let failures = 0
    const failAfter = <A>(effect: Effect.Effect<A, EventStoreError>) =>
      Effect.flatMap(effect, (answer) =>
        failures++ < 3
          ? Effect.fail(storeError(new StoreUnavailable({ message: "a crash", cause: undefined })))
          : Effect.succeed(answer))
    const store = yield* ProjectionStore.make({
      ...driver,
      park: (...args) => operation === "park" ? failAfter(driver.park(...args)) : driver.park(...args),
      recordLateDelivery: (...args) =>
        operation === "recordLateDelivery"
          ? failAfter(driver.recordLateDelivery(...args))
          : driver.recordLateDelivery(...args),
      unpark: (...args) => operation === "unpark" ? failAfter(driver.unpark(...args)) : driver.unpark(...args),
      // An `advance` that moves the checkpoint is its own transaction, so a failure after it would not roll it back.
      advance: (request) =>
        operation === "advance" && request.from === request.to
          ? failAfter(driver.advance(request))
          : driver.advance(request)
    })
    return { store, failures: () => failures }
  })

const crashes: ReadonlyArray<Case<Stores>> = (["park", "advance", "recordLateDelivery", "unpark"] as const).map((
  operation
) =>
  test(`rolls back a batch or retry that fails after "${operation}", and repeats it`, function*() {
    const { append, poison, projection, awaitConsumer, seen, streamOf } = fixture()
    poison.add("a2")
    const { failures, store } = yield* failingAfter(operation)
    yield* Effect.gen(function*() {
      for (const n of upTo(3)) yield* append("a", n, "k")
      yield* awaitConsumer(yield* append("b", 1, "k"))
      equal(yield* seen("k"), ["a1", "b1"], "the document before the retry")
      equal((yield* parkingLog(projection)).map((e) => e.action), ["parked"], "the actions before the retry")
      yield* equalComplete(projection)
      poison.clear()
      equal((yield* Parking.retry(projection, streamOf("a"))).outcome, "retried", "the outcome")
      equal(yield* seen("k"), ["a1", "b1", "a2", "a3"], "the document after the retry")
      equal(
        (yield* parkingLog(projection)).map((e) => e.action),
        ["parked", "retried"],
        "the actions after the retry"
      )
      yield* equalComplete(projection)
      isAbove(failures(), 3, "the number of calls, of which three fail")
    }).pipe(
      Effect.provide(Projector.layer([projection], { retryDelay: { first: "10 millis", max: "20 millis" } })),
      Effect.provideService(ProjectionStore.ProjectionStore, store)
    )
  })
)

/**
 * All cases of parking.
 *
 * @since 0.1.0
 * @category suites
 */
export const parking: ReadonlyArray<Case<Stores>> = [...processing, ...requests, ...repetitions, ...crashes]
