/**
 * The conformance suite of projection stores. It tests the driver and the typed service.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import { StreamId } from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import * as DocumentCodec from "../projection/DocumentCodec.ts"
import * as Projection from "../projection/ProjectionDefinition.ts"
import { ProjectionStore, ReadAfter } from "../projection/ProjectionStore.ts"
import * as DocumentListSuite from "./DocumentListSuite.ts"
import { type Case, equal, includes, isAtLeast, test, unique } from "./Suite.ts"

const Noticed = Schema.TaggedUnion({ Noticed: { id: Schema.String } })
const Note = Schema.Struct({
  id: Schema.String,
  status: Schema.Literals(["open", "done"]),
  due: Schema.optionalKey(Schema.DateTimeUtc)
})

/** A projection store does not depend on events, so these projections only have documents and a checkpoint. */
const notes = () =>
  Projection.make(unique("notes"), {
    events: Noticed,
    document: Note,
    index: ["status"],
    key: (event) => event.id,
    evolve: { Noticed: Projection.ignore }
  })

const put = (key: string, status: "open" | "done"): EncodedDocument => ({
  key,
  document: JSON.stringify({ id: key, status }),
  indexed: [",status,", `status=4${status}`]
})
const remove = (key: string): EncodedDocument => ({ key, document: undefined, indexed: [] })

const at = (position: number) => Position.make(BigInt(position))
const minute = Duration.minutes(1)

const driver = Effect.map(ProjectionStore, (store) => store[internals].driver)

const claim = (id: string, owner = "me", lease = minute, partitions = 1) =>
  Effect.flatMap(
    driver,
    (driver) => driver.claim({ consumer: id, owner, partitions, partitionedBy: "document", lease })
  )

/** Returns the epoch and the checkpoint of the only partition if the owner holds it. */
const acquire = (id: string, owner = "me", lease = minute) =>
  Effect.map(
    claim(id, owner, lease),
    ({ assigned: [assigned] }) =>
      assigned === undefined ? Option.none() : Option.some({ epoch: assigned.epoch, position: assigned.position })
  )

const written = (
  id: string,
  epoch: bigint,
  from: number,
  to: number,
  changes: ReadonlyArray<EncodedDocument> = []
) => ({
  generation: id,
  partition: 0,
  epoch,
  from: at(from),
  to: at(to),
  changes,
  applied: []
})

const advance = (id: string, epoch: bigint, from: number, to: number, changes: ReadonlyArray<EncodedDocument> = []) =>
  Effect.flatMap(
    driver,
    (driver) => Effect.map(driver.advance(written(id, epoch, from, to, changes)), (outcome) => outcome === "advanced")
  )

const keys = (id: string, where: ReadonlyArray<string> = []) =>
  Effect.flatMap(
    driver,
    (driver) =>
      Effect.map(
        driver.list({
          consumer: id,
          where: where.map((entry) => ({ _tag: "OneOf", field: "status", entries: [entry] })),
          order: { field: undefined, isDescending: false },
          limit: 1000
        }),
        ({ documents }) => documents.map(({ key }) => key)
      )
  )

const ownership: ReadonlyArray<Case<ProjectionStore>> = [
  test("returns the start as the checkpoint of a new projection", function*() {
    const { id } = notes()
    equal(yield* (yield* driver).checkpoint(id), Position.start, "the checkpoint")
    equal(yield* acquire(id), Option.some({ epoch: 1n, position: Position.start }), "the first lease")
  }),

  test("stores with a checkpoint the id of the event there", function*() {
    const { id } = notes()
    const store = yield* driver
    const eventId = "0198c0de-0000-7000-8000-000000000001"
    const stored = Effect.map(
      Effect.all([store.progress(id), claim(id)]),
      ([[progress], { assigned: [assigned] }]) => {
        equal(progress?.count, assigned?.count, "the number of events before it")
        return [progress?.eventId, assigned?.eventId]
      }
    )
    const { assigned: [assigned] } = yield* claim(id)
    equal(yield* stored, [undefined, undefined], "at the start")
    yield* store.advance({ ...written(id, assigned!.epoch, 0, 5), toEventId: eventId })
    equal(yield* stored, [eventId, eventId], "after an event")
    const key = unique("note")
    yield* store.advance({
      ...written(id, assigned!.epoch, 5, 7, [put(key, "open")]),
      toEventId: eventId.replace("1", "2"),
      toCount: { since: at(2), events: 4 },
      reads: [{ key, revision: 0n }]
    })
    equal((yield* store.progress(id))[0]?.count, { since: at(2), events: 4 }, "the number of events before it")
    equal(yield* stored, [eventId.replace("1", "2"), eventId.replace("1", "2")], "after a write on condition")
  }),

  test("excludes other workers until the lease expires or is released", function*() {
    const { id } = notes()
    const store = yield* driver
    equal(Option.map(yield* acquire(id, "one"), ({ epoch }) => epoch), Option.some(1n), "the first owner")
    equal(yield* acquire(id, "two"), Option.none(), "another owner")
    equal(yield* acquire(id, "one"), Option.some({ epoch: 1n, position: Position.start }), "the same owner")
    yield* store.release(id, "two")
    equal(yield* acquire(id, "two"), Option.none(), "who has nothing gives nothing back")
    yield* store.release(id, "one")
    equal(yield* advance(id, 1n, 0, 1), false, "who has given it back cannot write")
    equal(yield* acquire(id, "two"), Option.some({ epoch: 3n, position: Position.start }), "given back")

    const short = notes()
    yield* acquire(short.id, "one", Duration.seconds(2))
    const { nextLeaseEndsIn } = yield* claim(short.id, "two")
    isAtLeast(2000, nextLeaseEndsIn ?? Infinity, "the time until the lease ends")
    const taken = yield* acquire(short.id, "two").pipe(
      Effect.repeat({ until: Option.isSome, schedule: Schedule.spaced("10 millis") }),
      Effect.timeout("30 seconds")
    )
    equal(Option.map(taken, (lease) => lease.epoch), Option.some(2n), "ended")
  }),

  test("spreads partitions evenly, each to one worker", function*() {
    const { id } = notes()
    const store = yield* driver
    const assigned = (owner: string, lease = minute) =>
      Effect.map(claim(id, owner, lease, 8), ({ assigned }) => assigned.map((one) => one.partition))
    equal(yield* assigned("one"), [0, 1, 2, 3, 4, 5, 6, 7], "one worker has all")
    equal(yield* assigned("two"), [], "the second finds none free")
    const { assigned: all, assignmentSize } = yield* claim(id, "one", minute, 8)
    equal([all.length, assignmentSize], [8, 4], "the assignment of the first worker shrinks by half")
    for (const partition of [4, 5, 6, 7]) yield* store.release(id, "one", partition)
    equal(yield* assigned("two"), [4, 5, 6, 7], "which the second takes")
    equal((yield* claim(id, "three", minute, 8)).assignmentSize, 3, "of three workers, three each at most")
    yield* store.release(id, "two")
    equal(yield* assigned("three"), [4, 5, 6, 7], "the released partitions")
    const progress = yield* store.progress(id)
    equal(progress.map((p) => p.owner), ["one", "one", "one", "one", "three", "three", "three", "three"], "the owners")
    const other = yield* Effect.flip(claim(id, "one", minute, 4))
    equal(other.reason._tag, "StoreMisconfigured", "another number is rejected")
    includes(other.message, "8 partitions", "the message names the number")
  }),

  test("keeps the partitions of a worker that stops claiming", function*() {
    const { id } = notes()
    const store = yield* driver
    const bid = (owner: string, renewOnly = false, lease = minute) =>
      Effect.map(
        store.claim({ consumer: id, owner, partitions: 4, partitionedBy: "document", lease, renewOnly }),
        ({ assigned, assignmentSize }) => [assigned.map(({ partition }) => partition), assignmentSize] as const
      )
    equal(yield* bid("one"), [[0, 1, 2, 3], 4], "one worker has all")
    yield* store.release(id, "one", 2)
    equal(yield* bid("one", true), [[0, 1, 3], 4], "it does not take back what it gave")
    equal(yield* bid("two"), [[2], 4], "which is within another's share")
    for (const partition of [0, 1, 3]) yield* store.release(id, "one", partition)
    equal(yield* bid("two"), [[0, 1, 2, 3], 4], "as all is")
    equal(yield* bid("one", true, Duration.seconds(1)), [[], 4], "who has nothing is given nothing")
    equal(yield* bid("one"), [[], 2], "who asks again counts again")
    equal((yield* bid("two"))[1], 2, "for others too")
  }),

  test("grants one of 20 concurrent claims", function*() {
    const { id } = notes()
    const bids = yield* Effect.forEach(
      Array.from({ length: 20 }, (_, i) => `owner-${i}`),
      (owner) => acquire(id, owner),
      { concurrency: "unbounded" }
    )
    equal(bids.filter(Option.isSome).length, 1, "owners")
  }),

  test("rejects a write without the lease", function*() {
    const { id } = notes()
    yield* acquire(id, "one", Duration.zero)
    equal(yield* advance(id, 1n, 0, 5, [put("a", "open")]), true, "while it is the owner")
    yield* (yield* driver).release(id, "one")
    yield* acquire(id, "two")
    equal(yield* advance(id, 1n, 5, 6, [put("a", "done"), put("b", "open")]), false, "after another took over")
    equal(yield* (yield* driver).checkpoint(id), at(5), "the checkpoint")
    equal(yield* keys(id, ["status=4open"]), ["a"], "the documents")
    equal(yield* advance(id, 3n, 5, 6, [put("b", "open")]), true, "the new owner writes")
  })
]

const progress: ReadonlyArray<Case<ProjectionStore>> = [
  test("writes documents and checkpoint atomically", function*() {
    const { id } = notes()
    yield* acquire(id)
    equal(yield* advance(id, 1n, 0, 3, [put("a", "open"), put("b", "open")]), true, "the first batch")
    equal(yield* advance(id, 1n, 0, 4, [put("c", "open")]), false, "the same batch again")
    equal(yield* advance(id, 1n, 2, 4, [put("c", "open")]), false, "from another position")
    equal(yield* keys(id), ["a", "b"], "the documents")
    equal(yield* advance(id, 1n, 3, 4, [remove("a"), put("b", "done"), put("c", "open")]), true, "the next batch")
    equal(yield* keys(id), ["b", "c"], "the documents after it")
    equal(yield* keys(id, ["status=4open"]), ["c"], "the index after it")
    equal(yield* (yield* driver).checkpoint(id), at(4), "the checkpoint")
  }),

  test("writes one of 20 concurrent writes of the same batch", function*() {
    const { id } = notes()
    yield* acquire(id)
    const results = yield* Effect.forEach(
      Array.from({ length: 20 }, (_, i) => i),
      (i) => advance(id, 1n, 0, 1, [put(`k${i}`, "open")]),
      { concurrency: "unbounded" }
    )
    equal(results.filter((written) => written).length, 1, "writes")
    equal((yield* keys(id)).length, 1, "documents")
  }),

  test("rejects a shared document that changed since it was read", function*() {
    const { id } = notes()
    const store = yield* driver
    const { assigned: [one, two] } = yield* claim(id, "me", minute, 2)
    const move = (partition: 0 | 1, read: Record<string, bigint>, changes: ReadonlyArray<EncodedDocument>) =>
      store.advance({
        ...written(id, [one, two][partition]!.epoch, 0, 1, changes),
        partition,
        reads: Object.entries(read).map(([key, revision]) => ({ key, revision }))
      })
    equal(yield* move(0, { a: 0n, b: 0n }, [put("a", "open"), put("b", "open")]), "advanced", "new ones")
    equal(yield* move(1, { a: 0n }, [put("a", "done")]), "changed", "one that was not there when it was read")
    const [a, b] = yield* store.load(id, ["a", "b"])
    equal(yield* move(1, { a: a!.revision, c: 1n }, [put("c", "open")]), "changed", "one that is there no more")
    equal(
      yield* move(1, { a: a!.revision, b: b!.revision, c: 0n }, [put("a", "done"), remove("b"), put("c", "open")]),
      "advanced",
      "as they were read"
    )
    equal(yield* keys(id), ["a", "c"], "the documents")
    equal(yield* move(0, { a: a!.revision }, [put("a", "open")]), "changed", "one that was written since")
    const again = yield* store.load(id, ["a"])
    equal(yield* move(1, { a: again[0]!.revision }, []), "lost", "from a checkpoint that has moved")
    equal((yield* store.progress(id)).map((p) => p.position), [at(1), at(1)], "the checkpoints")
  }),

  test("stores the stream that feeds a document until the document is removed", function*() {
    const { id } = notes()
    const store = yield* driver
    const { assigned: [one] } = yield* claim(id, "me", minute, 2)
    const streams = Effect.map(
      store.load(id, ["a", "b"]),
      (all) => all.map(({ key, stream }) => [key, stream]).toSorted()
    )
    const move = (from: number, revisions: Record<string, bigint>, changes: ReadonlyArray<EncodedDocument>) =>
      store.advance({
        ...written(id, one!.epoch, from, from + 1, changes),
        partition: 0,
        reads: Object.entries(revisions).map(([key, revision]) => ({ key, revision }))
      })
    const of = (key: string, stream: string): EncodedDocument => ({ ...put(key, "open"), stream })
    const revisions = Effect.map(
      store.load(id, ["a", "b"]),
      (all) => Object.fromEntries(all.map(({ key, revision }) => [key, revision]))
    )
    yield* move(0, { a: 0n, b: 0n }, [of("a", "A-1"), put("b", "open")])
    equal(yield* streams, [["a", "A-1"], ["b", undefined]], "the streams")
    yield* move(1, yield* revisions, [of("a", "A-2"), of("b", "B-1")])
    equal(yield* streams, [["a", "A-2"], ["b", "B-1"]], "the streams after an update")
    yield* move(2, yield* revisions, [remove("a")])
    yield* move(3, { a: 0n }, [of("a", "A-3")])
    equal(yield* streams, [["a", "A-3"], ["b", "B-1"]], "the streams after a removal")
  }),

  test("loses no update of 20 partitions that write one document", function*() {
    const { id } = notes()
    const store = yield* driver
    const { assigned } = yield* claim(id, "me", minute, 20)
    const counted = (n: number): EncodedDocument => ({ key: "k", document: String(n), indexed: [] })
    yield* Effect.forEach(assigned, ({ epoch, partition }) =>
      Effect.gen(function*() {
        const [found] = yield* store.load(id, ["k"])
        const n = found === undefined ? 0 : Number(found.document)
        return yield* store.advance({
          ...written(id, epoch, 0, 1, [counted(n + 1)]),
          partition,
          reads: [{ key: "k", revision: found?.revision ?? 0n }]
        })
      }).pipe(Effect.repeat({ until: (outcome) => outcome === "advanced" })), { concurrency: "unbounded" })
    equal((yield* store.load(id, ["k"])).map((d) => d.document), [20], "the count")
  }),

  test("counts and digests delivered events per segment, also late ones", function*() {
    const { id } = notes()
    const store = yield* driver
    yield* acquire(id)
    const applied = (first: number, events: number, digest: bigint) => ({ first: at(first), events, digest })
    const move = (from: number, to: number, segments: ReadonlyArray<ReturnType<typeof applied>>) =>
      store.advance({ ...written(id, 1n, from, to), applied: segments })
    yield* move(0, 300, [applied(1, 256, 5n), applied(257, 40, -7n)])
    yield* move(300, 310, [applied(301, 10, 1n << 62n)])
    yield* move(310, 600, [applied(311, 250, 9n)])
    yield* store.recordLateDelivery(id, 0, [applied(258, 1, 3n), applied(600, 1, 4n)])
    equal(yield* store.applied(id, 0), [
      applied(1, 256, 5n),
      applied(257, 51, -7n ^ (1n << 62n) ^ 3n),
      applied(311, 251, 9n ^ 4n)
    ], "the segments")
    const [progress] = yield* store.progress(id)
    equal(
      [progress?.applied, progress?.digest],
      [558n, 5n ^ -7n ^ (1n << 62n) ^ 9n ^ 3n ^ 4n],
      "of the whole partition"
    )
  }),

  test("parks, retries and frees a stream, and records each step", function*() {
    const { id } = notes()
    const store = yield* driver
    const stream = StreamId.make("Note-1")
    const event = (version: number, error: string) => ({
      stream,
      key: stream,
      version: Version.make(version),
      position: at(10 * version),
      eventId: globalThis.crypto.randomUUID(),
      type: "Noticed",
      error
    })
    const [third, fifth] = [event(3, "first \u0000"), event(5, "second")]
    yield* claim(id, "me", minute, 2)
    yield* store.park(id, 1, [third])
    const [parked] = yield* store.parked(id)
    equal(
      [parked?.key, parked?.version, parked?.position, parked?.attempts],
      [stream, third.version, at(30), 1],
      "it"
    )
    equal(yield* store.parked(id, 0), [], "in another partition")
    equal(yield* store.request(id, "Note-2", { action: "retry" }), false, "another key is not")
    const requested = Effect.map(claim(id, "me", minute, 2), ({ assigned }) => assigned.map((one) => one.requested))
    equal(yield* requested, [false, false], "no request yet")
    equal(yield* store.request(id, stream, { action: "retry", actor: "ann" }), true, "asked")
    equal(yield* requested, [false, true], "the owner hears of it")
    yield* store.unpark({
      generation: id,
      partition: 1,
      key: stream,
      position: at(30),
      action: "failed",
      next: { ...third, error: "again" }
    })
    const [again] = yield* store.parked(id)
    equal([again?.attempts, again?.error, again?.request], [2, "again", undefined], "it has failed again")
    yield* store.request(id, stream, { action: "skip", actor: "bob", reason: "a test" })
    equal((yield* store.parked(id))[0]?.request, { action: "skip", actor: "bob", reason: "a test" }, "the request")
    const unparkAt = (position: Position.Position, action: "skipped" | "retried", next?: typeof fifth) =>
      store.unpark({ generation: id, partition: 1, key: stream, position, action, next })
    equal(yield* unparkAt(at(30), "skipped", fifth), true, "parked there")
    equal((yield* store.parked(id)).map((p) => [p.position, p.attempts]), [[at(50), 1]], "at another event")
    yield* store.request(id, stream, { action: "retry" })
    equal(yield* unparkAt(at(30), "skipped"), false, "no longer parked there")
    equal(yield* unparkAt(at(50), "retried"), true, "parked at the later event")
    equal(yield* unparkAt(at(50), "retried"), false, "not parked at all")
    equal(yield* store.parked(id), [], "free")
    equal(
      (yield* store.parkingLog(id)).map((
        e
      ) => [e.action, e.position, e.actor, e.detail?.replace("\u0000", "?").replace("\ufffd", "?")]),
      [
        ["parked", at(30), undefined, "first ?"],
        ["failed", at(30), "ann", "again"],
        ["skipped", at(30), "bob", "a test"],
        ["parked", at(50), undefined, "second"],
        ["retried", at(50), undefined, undefined]
      ],
      "what has become of it"
    )
  }),

  test("separates the documents of projections", function*() {
    const [a, b] = [notes(), notes()]
    yield* acquire(a.id)
    yield* acquire(b.id)
    yield* advance(a.id, 1n, 0, 1, [put("k", "open")])
    yield* advance(b.id, 1n, 0, 1, [put("k", "done")])
    const store = yield* ProjectionStore
    equal(Option.map(yield* store.get(a, "k"), (note) => note.status), Option.some("open" as const), "one")
    equal(Option.map(yield* store.get(b, "k"), (note) => note.status), Option.some("done" as const), "the other")
  })
]

const reading: ReadonlyArray<Case<ProjectionStore>> = [
  test("reads documents by key, index and page, in key order", function*() {
    const projection = notes()
    const store = yield* ProjectionStore
    yield* acquire(projection.id)
    // Keys are sorted by code point: "Z" before "a", and U+FF5A before the surrogate pair of U+1D518.
    const sorted = ["0", "Z", "a", "aa", "b", "ü", "\uff5a", "𝔘"]
    yield* advance(
      projection.id,
      1n,
      0,
      1,
      sorted.toReversed().map((key, i) => put(key, i % 2 === 0 ? "open" : "done"))
    )
    const pages = (options: Parameters<typeof store.list<typeof projection>>[1]) =>
      Effect.map(
        Stream.runCollect(Stream.paginate(undefined, (after: string | undefined) =>
          Effect.map(store.list(projection, { ...options, after }), ({ items, next }) => [
            [
              items.map((note) =>
                note.id
              ).join(" ")
            ],
            Option.map(next, (cursor): string | undefined => cursor)
          ]))),
        (found) =>
          Array.from(found)
      )
    equal(yield* pages({}), [sorted.join(" ")], "all")
    equal(yield* pages({ limit: 8 }), [sorted.join(" ")], "exactly a page")
    equal(yield* pages({ limit: 3 }), ["0 Z a", "aa b ü", "\uff5a 𝔘"], "by page")
    equal(yield* pages({ limit: 3, orderBy: { direction: "desc" } }), ["𝔘 \uff5a ü", "b aa a", "Z 0"], "descending")
    equal(yield* pages({ where: { status: "open" } }), ["Z aa ü 𝔘"], "by an indexed field")
    equal(yield* pages({ where: { status: "open" }, limit: 3 }), ["Z aa ü", "𝔘"], "by an indexed field and page")
    equal(yield* pages({ where: {} }), [sorted.join(" ")], "an empty filter")
    equal(Option.map(yield* store.get(projection, "aa"), (note) => note.id), Option.some("aa"), "by key")
    equal(yield* store.get(projection, "nobody"), Option.none(), "a key without a document")
    equal(yield* store.get(projection, "\u0000"), Option.none(), "a key that cannot be")
    equal((yield* Effect.flip(store.list(projection, { limit: 0 })))._tag, "EventStoreError", "an empty page")
    equal((yield* Effect.flip(store.list(projection, { after: "\u0000" })))._tag, "EventStoreError", "a bad cursor")
  }),

  test("round-trips every JSON string in a document and its index", function*() {
    const Text = Schema.Struct({ text: Schema.String })
    const projection = Projection.make(unique("texts"), {
      events: Noticed,
      document: Text,
      index: ["text"],
      key: (event) => event.id,
      evolve: { Noticed: Projection.ignore }
    })
    const store = yield* ProjectionStore
    yield* acquire(projection.id)
    const texts = ["", "\u0000", "\u001f", "\ud800", "a,b", "{}", "\"\\'", "NULL", "💶"]
    const codec = DocumentCodec.of(projection)
    const changes = texts.map((text, i) => Result.getOrThrow(codec.encode(`k${i}`, { text })))
    yield* advance(projection.id, 1n, 0, 1, changes)
    for (const [i, text] of texts.entries()) {
      equal(yield* store.get(projection, `k${i}`), Option.some({ text }), `the document ${JSON.stringify(text)}`)
      equal((yield* store.list(projection, { where: { text } })).items, [{ text }], `found by ${JSON.stringify(text)}`)
    }
  }),

  test("finds equal indexed values in any encoding, also long ones", function*() {
    const Sample = Schema.Struct({ big: Schema.BigInt, at: Schema.DateTimeUtc, text: Schema.String })
    const projection = Projection.make(unique("samples"), {
      events: Noticed,
      document: Sample,
      index: ["big", "at", "text"],
      key: (event) => event.id,
      evolve: { Noticed: Projection.ignore }
    })
    const store = yield* ProjectionStore
    yield* acquire(projection.id)
    // Too long for an index row, with a long common prefix that ends within a surrogate pair.
    const long = ["a", "b"].map((end) => "x" + "𝔘".repeat(10_000) + end)
    const samples = [...long, "short"].map((text, i) =>
      Sample.make({ big: BigInt(i) * 10n ** 30n, at: DateTime.makeUnsafe(i), text })
    )
    const codec = DocumentCodec.of(projection)
    const changes = samples.map((sample, i) => Result.getOrThrow(codec.encode(`k${i}`, sample)))
    equal(yield* advance(projection.id, 1n, 0, 1, changes), true, "written")
    for (const sample of samples) {
      for (const where of [{ big: sample.big }, { at: sample.at }, { text: sample.text }]) {
        equal((yield* store.list(projection, { where })).items, [sample], Object.keys(where).join())
      }
    }
  }),

  test("fails for a document that does not satisfy its Schema", function*() {
    const projection = notes()
    yield* acquire(projection.id)
    yield* advance(projection.id, 1n, 0, 1, [{ key: "k", document: `{"id":1}`, indexed: [] }])
    const error = yield* Effect.flip((yield* ProjectionStore).get(projection, "k"))
    const reason = error._tag === "EventStoreError" ? error.reason : error
    equal<ReadonlyArray<string>>(
      reason._tag === "UndecodableDocument" ? [reason.projection, reason.key] : [reason._tag],
      [projection.id, "k"],
      "it names projection and key"
    )
  }),

  test("waits for a requested position up to the timeout", function*() {
    const projection = notes()
    const store = yield* ProjectionStore
    yield* acquire(projection.id)
    const readAt = (position: number, timeout: Duration.Duration) =>
      Effect.provideService(store.get(projection, "k"), ReadAfter, { position: at(position), timeout })
    const behind = yield* Effect.flip(readAt(2, Duration.millis(100)))
    equal<ReadonlyArray<unknown>>(
      behind._tag === "ProjectionBehind" ? [behind.projection, behind.wanted, behind.reached] : [behind._tag],
      [projection.id, at(2), Position.start],
      "too late: the wanted position and the reached one"
    )
    const waiting = yield* Effect.forkChild(readAt(2, Duration.seconds(30)))
    yield* advance(projection.id, 1n, 0, 1)
    yield* Effect.yieldNow
    equal(waiting.pollUnsafe(), undefined, "one short of the position, it still waits")
    yield* advance(projection.id, 1n, 1, 2, [put("k", "open")])
    equal(Option.map(yield* Fiber.join(waiting), (note) => note.id), Option.some("k"), "in time: the document")
    equal(Option.isSome(yield* readAt(1, Duration.zero)), true, "an older position needs no waiting")
  }),

  test("does not wait inside the transaction of an append", function*() {
    const projection = Projection.make(unique("inline"), {
      events: Noticed,
      document: Note,
      lifecycle: "inline",
      key: (event) => event.id,
      evolve: { Noticed: Projection.ignore }
    })
    yield* (yield* ProjectionStore).awaitPosition(projection, at(1_000_000), "1 minute")
  }),

  test("awaitPosition does not end while the projection is behind for seconds", function*() {
    const behind = yield* Effect.flip((yield* ProjectionStore).awaitPosition(notes(), at(9), "1500 millis"))
    equal(behind._tag, "ProjectionBehind", "the error")
  })
]

/**
 * The cases.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases: ReadonlyArray<Case<ProjectionStore>> = [
  ...ownership,
  ...progress,
  ...reading,
  ...DocumentListSuite.cases
]
