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
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Position from "../core/Position.ts"
import * as DocumentCodec from "../projection/DocumentCodec.ts"
import * as Projection from "../projection/ProjectionDefinition.ts"
import { ProjectionStore, ReadAfter } from "../projection/ProjectionStore.ts"
import * as DocumentFilterSuite from "./DocumentFilterSuite.ts"
import * as DocumentListSuite from "./DocumentListSuite.ts"
import * as ProjectionLeaseSuite from "./ProjectionLeaseSuite.ts"
import { acquire, advance, at, Note, notes, Noticed, put } from "./ProjectionStoreFixtures.ts"
import * as ProjectionWriteSuite from "./ProjectionWriteSuite.ts"
import { type Case, equal, test, unique } from "./Suite.ts"
import * as TimerSuite from "./TimerSuite.ts"

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
  ...ProjectionLeaseSuite.cases,
  ...ProjectionWriteSuite.cases,
  ...reading,
  ...DocumentListSuite.cases,
  ...DocumentFilterSuite.cases,
  ...TimerSuite.cases
]
