/**
 * The conformance suite of projection stores, drivers and typed service alike.
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
import * as DocumentCodec from "../domain/DocumentCodec.ts"
import type { EncodedDocument } from "../domain/DocumentCodec.ts"
import * as Position from "../domain/Position.ts"
import * as Projection from "../domain/Projection.ts"
import { ProjectionStore, ReadAfter } from "../store/ProjectionStore.ts"
import { type Case, equal, ok, test, unique } from "./Suite.ts"

const Noticed = Schema.TaggedUnion({ Noticed: { id: Schema.String } })
const Note = Schema.Struct({
  id: Schema.String,
  status: Schema.Literals(["open", "done"]),
  due: Schema.optionalKey(Schema.DateTimeUtc)
})

/** The projection store neither knows nor cares for events; these projections are only documents and a checkpoint. */
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
  indexed: [`status="${status}"`]
})
const remove = (key: string): EncodedDocument => ({ key, document: undefined, indexed: [] })

const at = (position: number) => Position.make(BigInt(position))
const minute = Duration.minutes(1)

const driver = Effect.map(ProjectionStore, (store) => store.driver)

const acquire = (id: string, owner = "me", lease = minute) =>
  Effect.flatMap(driver, (driver) => driver.acquire(id, owner, lease))

const advance = (id: string, epoch: bigint, from: number, to: number, changes: ReadonlyArray<EncodedDocument> = []) =>
  Effect.flatMap(
    driver,
    (driver) => driver.advance({ projection: id, epoch, from: at(from), to: at(to), lease: minute, changes })
  )

const keys = (id: string, where: ReadonlyArray<string> = []) =>
  Effect.flatMap(
    driver,
    (driver) => Effect.map(driver.list({ projection: id, where, limit: 1000 }), (found) => found.map((d) => d.key))
  )

const ownership: ReadonlyArray<Case<ProjectionStore>> = [
  test("a projection that never ran stands at the start", function*() {
    const { id } = notes()
    equal(yield* (yield* driver).checkpoint(id), Position.start, "the checkpoint")
    equal(yield* acquire(id), Option.some({ epoch: 1n, position: Position.start }), "the first lease")
  }),

  test("a lease keeps others out until it ends, is given back, or its owner comes again", function*() {
    const { id } = notes()
    const store = yield* driver
    ok(Option.isSome(yield* acquire(id, "one")), "the first owner")
    equal(yield* acquire(id, "two"), Option.none(), "another owner")
    const again = yield* acquire(id, "one")
    equal(again, Option.some({ epoch: 2n, position: Position.start }), "the same owner, under a new epoch")
    yield* store.release(id, 1n)
    equal(yield* acquire(id, "two"), Option.none(), "an old epoch gives nothing back")
    yield* store.release(id, 2n)
    equal(yield* advance(id, 2n, 0, 1), false, "who has given it back cannot write")
    equal(yield* acquire(id, "two"), Option.some({ epoch: 4n, position: Position.start }), "given back")

    const short = notes()
    yield* acquire(short.id, "one", Duration.millis(50))
    const taken = yield* acquire(short.id, "two").pipe(
      Effect.repeat({ until: Option.isSome, schedule: Schedule.spaced("10 millis") }),
      Effect.timeout("30 seconds")
    )
    equal(Option.map(taken, (lease) => lease.epoch), Option.some(2n), "ended")
  }),

  test("20 concurrent bids for a free projection: one owner", function*() {
    const { id } = notes()
    const bids = yield* Effect.forEach(
      Array.from({ length: 20 }, (_, i) => `owner-${i}`),
      (owner) => acquire(id, owner),
      { concurrency: "unbounded" }
    )
    equal(bids.filter(Option.isSome).length, 1, "owners")
  }),

  test("a worker that lost its lease cannot write", function*() {
    const { id } = notes()
    yield* acquire(id, "one", Duration.zero)
    ok(yield* advance(id, 1n, 0, 5, [put("a", "open")]), "while it is the owner")
    yield* (yield* driver).release(id, 1n)
    yield* acquire(id, "two")
    equal(yield* advance(id, 1n, 5, 6, [put("a", "done"), put("b", "open")]), false, "after another took over")
    equal(yield* (yield* driver).checkpoint(id), at(5), "the checkpoint")
    equal(yield* keys(id, [`status="open"`]), ["a"], "the documents")
    ok(yield* advance(id, 3n, 5, 6, [put("b", "open")]), "the new owner writes")
  })
]

const progress: ReadonlyArray<Case<ProjectionStore>> = [
  test("documents and checkpoint move together, or not at all", function*() {
    const { id } = notes()
    yield* acquire(id)
    ok(yield* advance(id, 1n, 0, 3, [put("a", "open"), put("b", "open")]), "the first batch")
    equal(yield* advance(id, 1n, 0, 4, [put("c", "open")]), false, "the same batch again")
    equal(yield* advance(id, 1n, 2, 4, [put("c", "open")]), false, "from another position")
    equal(yield* keys(id), ["a", "b"], "the documents")
    ok(yield* advance(id, 1n, 3, 4, [remove("a"), put("b", "done"), put("c", "open")]), "the next batch")
    equal(yield* keys(id), ["b", "c"], "the documents after it")
    equal(yield* keys(id, [`status="open"`]), ["c"], "the index after it")
    equal(yield* (yield* driver).checkpoint(id), at(4), "the checkpoint")
  }),

  test("20 concurrent writes of the same batch: one is written", function*() {
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

  test("projections do not see each other's documents", function*() {
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
  test("documents are read by key, by indexed field and by page, in the order of their keys", function*() {
    const projection = notes()
    const store = yield* ProjectionStore
    yield* acquire(projection.id)
    // "Z" comes before "a", and U+FF5A before the surrogate pair of U+1D518: by code point, not by dictionary or UTF-16.
    const sorted = ["0", "Z", "a", "aa", "b", "ü", "\uff5a", "𝔘"]
    yield* advance(
      projection.id,
      1n,
      0,
      1,
      sorted.toReversed().map((key, i) => put(key, i % 2 === 0 ? "open" : "done"))
    )
    const ids = (options: Parameters<typeof store.list<typeof projection>>[1]) =>
      Effect.map(
        store.list(projection, options),
        ({ items, next }) => [items.map((note) => note.id).join(" "), Option.getOrUndefined(next)] as const
      )
    equal(yield* ids({}), [sorted.join(" "), undefined], "all")
    equal(yield* ids({ limit: 8 }), [sorted.join(" "), undefined], "exactly a page")
    equal(yield* ids({ limit: 3 }), ["0 Z a", "a"], "the first page")
    equal(yield* ids({ limit: 3, after: "a" }), ["aa b ü", "ü"], "the second page")
    equal(yield* ids({ limit: 3, after: "ü" }), ["\uff5a 𝔘", undefined], "the last page")
    equal(yield* ids({ where: { status: "open" } }), ["Z aa ü 𝔘", undefined], "by an indexed field")
    equal(
      yield* ids({ where: { status: "open" }, limit: 2, after: "Z" }),
      ["aa ü", "ü"],
      "by an indexed field and page"
    )
    equal(yield* ids({ where: {} }), [sorted.join(" "), undefined], "an empty filter")
    equal(Option.map(yield* store.get(projection, "aa"), (note) => note.id), Option.some("aa"), "by key")
    equal(yield* store.get(projection, "nobody"), Option.none(), "a key without a document")
    equal(yield* store.get(projection, "\u0000"), Option.none(), "a key that cannot be")
    equal((yield* Effect.flip(store.list(projection, { limit: 0 })))._tag, "EventStoreError", "an empty page")
    equal((yield* Effect.flip(store.list(projection, { after: "\u0000" })))._tag, "EventStoreError", "a bad cursor")
  }),

  test("every string that JSON can hold survives in a document and its index", function*() {
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
    yield* advance(
      projection.id,
      1n,
      0,
      1,
      texts.map((text, i) => ({
        key: `k${i}`,
        document: JSON.stringify({ text }),
        indexed: [`text=${JSON.stringify(text)}`]
      }))
    )
    for (const [i, text] of texts.entries()) {
      equal(yield* store.get(projection, `k${i}`), Option.some({ text }), `the document ${JSON.stringify(text)}`)
      equal((yield* store.list(projection, { where: { text } })).items, [{ text }], `found by ${JSON.stringify(text)}`)
    }
  }),

  test("indexed values are found by what they are, not by how they are stored; long ones too", function*() {
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
    // Beyond what an index row can hold, alike for a long stretch, cut in the middle of a pair.
    const long = ["a", "b"].map((end) => "x" + "𝔘".repeat(10_000) + end)
    const samples = [...long, "short"].map((text, i) =>
      Sample.make({ big: BigInt(i) * 10n ** 30n, at: DateTime.makeUnsafe(i), text })
    )
    const codec = DocumentCodec.of(projection)
    const changes = samples.map((sample, i) => Result.getOrThrow(codec.encode(`k${i}`, sample)))
    ok(yield* advance(projection.id, 1n, 0, 1, changes), "written")
    for (const sample of samples) {
      for (const where of [{ big: sample.big }, { at: sample.at }, { text: sample.text }]) {
        equal((yield* store.list(projection, { where })).items, [sample], Object.keys(where).join())
      }
    }
  }),

  test("a document that does not satisfy its Schema is a typed error", function*() {
    const projection = notes()
    yield* acquire(projection.id)
    yield* advance(projection.id, 1n, 0, 1, [{ key: "k", document: `{"id":1}`, indexed: [] }])
    const error = yield* Effect.flip((yield* ProjectionStore).get(projection, "k"))
    ok(
      error._tag === "EventStoreError" && error.reason._tag === "UndecodableDocument" && error.reason.key === "k"
        && error.reason.projection === projection.id,
      "it names projection and key"
    )
  }),

  test("a read waits for the position it is asked to see, for as long as it is allowed", function*() {
    const projection = notes()
    const store = yield* ProjectionStore
    yield* acquire(projection.id)
    const readAt = (position: number, timeout: Duration.Duration) =>
      Effect.provideService(store.get(projection, "k"), ReadAfter, { position: at(position), timeout })
    const behind = yield* Effect.flip(readAt(2, Duration.millis(100)))
    ok(
      behind._tag === "ProjectionBehind" && behind.wanted === at(2) && behind.reached === Position.start
        && behind.projection === projection.id,
      "too late: what was wanted and how far it came"
    )
    const waiting = yield* Effect.forkChild(readAt(2, Duration.seconds(30)))
    yield* advance(projection.id, 1n, 0, 1)
    yield* Effect.yieldNow
    ok(waiting.pollUnsafe() === undefined, "one short of the position, it still waits")
    yield* advance(projection.id, 1n, 1, 2, [put("k", "open")])
    equal(Option.map(yield* Fiber.join(waiting), (note) => note.id), Option.some("k"), "in time: the document")
    equal(Option.isSome(yield* readAt(1, Duration.zero)), true, "an older position needs no waiting")
  }),

  test("a read model inside the transaction of an append waits for nothing", function*() {
    const projection = Projection.make(unique("inline"), {
      events: Noticed,
      document: Note,
      lifecycle: "inline",
      key: (event) => event.id,
      evolve: { Noticed: Projection.ignore }
    })
    yield* (yield* ProjectionStore).awaitPosition(projection, at(1_000_000), "1 minute")
  })
]

/**
 * All tests.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<ProjectionStore>> = [...ownership, ...progress, ...reading]
