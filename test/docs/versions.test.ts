/** Executes the code of docs/versions.md. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Schema, Stream } from "effect"
import { Aggregate, Command, Event, EventCodec, EventStore } from "evsrc"
import { DeciderProperties, EventProperties, GoldenEvents } from "evsrc/testing"

const book = { bookId: Schema.NonEmptyString }
const title = Schema.NonEmptyString
const reader = Schema.NonEmptyString

const BookEvent = Schema.TaggedUnion({
  BookAdded: { ...book, title, pages: Schema.Int },
  BookPlaced: { ...book, shelf: Schema.Int },
  BookLent: { ...book, reader }
}).pipe(
  Event.upcasters({
    BookAdded: Event.from({ ...book, title, subtitle: Schema.String })
      .to(
        { ...book, title },
        ({ bookId, subtitle, title }) => ({ bookId, title: subtitle === "" ? title : `${title}: ${subtitle}` })
      )
      .toCurrent((v2) => ({ ...v2, pages: 0 }))
  }),
  Event.legacy({
    BookBorrowed: Event.from({ ...book, by: reader })
      .renamedTo("BookLent", ({ bookId, by }) => ({ bookId, reader: by })),
    BookBought: Event.from({ ...book, title, shelf: Schema.Int })
      .splitInto(["BookAdded", "BookPlaced"], ({ bookId, shelf, title }) => [
        { _tag: "BookAdded", bookId, title, pages: 0 },
        { _tag: "BookPlaced", bookId, shelf }
      ]),
    BookDusted: Event.retired
  })
)

const NoteEvent = Schema.TaggedUnion({
  NoteTaken: { text: Schema.String },
  NoteSigned: { by: Schema.String }
}).pipe(Event.upcasters({
  NoteTaken: Event.from({ text: Schema.String, by: Schema.String })
    .splitInto(["NoteTaken", "NoteSigned"], ({ by, text }) => [{ _tag: "NoteTaken", text }, { _tag: "NoteSigned", by }])
    .from({ words: Schema.Array(Schema.String) })
    .toCurrent(({ words }) => ({ text: words.join(" ") }))
}))

Event.versions(BookEvent) satisfies {
  readonly BookAdded: 3
  readonly BookBorrowed: 1
  readonly BookBought: 1
  readonly BookDusted: "retired"
}

/** The event set before `BookBorrowed` was renamed. */
const FormerEvent = Schema.TaggedUnion({
  BookBought: { ...book, title, shelf: Schema.Int },
  BookBorrowed: { ...book, by: reader },
  BookDusted: book
})

const BeforeRenaming = Schema.TaggedUnion({
  BookBorrowed: { ...book, by: reader }
}).pipe(Event.legacy({
  BookLent: Event.from({ ...book, reader })
    .renamedTo("BookBorrowed", ({ bookId, reader }) => ({ bookId, by: reader }))
}))

describe("a log of several releases", () => {
  it.effect("is read as current events", () =>
    Effect.gen(function*() {
      yield* EventStore.append(FormerEvent, "Book-1", [
        { _tag: "BookBought", bookId: "1", title: "Walden", shelf: 7 },
        { _tag: "BookDusted", bookId: "1" },
        { _tag: "BookBorrowed", bookId: "1", by: "ann" }
      ])
      const recorded = yield* Stream.runCollect(EventStore.readStream(BookEvent, "Book-1"))
      assert.deepStrictEqual(recorded.map(({ event, part, version }) => [Number(version), part, event._tag]), [
        [1, 0, "BookAdded"],
        [1, 1, "BookPlaced"],
        [3, 0, "BookLent"]
      ])
      assert.deepEqual(recorded[2]?.event, { _tag: "BookLent", bookId: "1", reader: "ann" })
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it("reports a newer version", () => {
    const stored = { type: "BookAdded", schemaVersion: 4, data: {} }
    const failure = Result.getOrThrow(Result.flip(EventCodec.make(BookEvent).decodeData(stored)))
    assert.strictEqual(failure.problem, "NewerVersion")
    assert.strictEqual(
      failure.detail,
      "this program has its schema versions 1 to 3; newer code wrote the event: deploy that code here too"
    )
  })

  it("is read by both releases of a renaming", () => {
    const lent = { type: "BookLent", schemaVersion: 1, data: { bookId: "1", reader: "ann" } }
    const borrowed = { type: "BookBorrowed", schemaVersion: 1, data: { bookId: "1", by: "ann" } }
    const before = (stored: typeof lent | typeof borrowed) => EventCodec.make(BeforeRenaming).decodeData(stored)
    const after = (stored: typeof lent | typeof borrowed) => EventCodec.make(BookEvent).decodeData(stored)
    assert.deepEqual(before(lent), before(borrowed))
    assert.deepEqual(after(lent), after(borrowed))
  })
})

it.effect("decodes every stored version", () =>
  GoldenEvents.check(BookEvent, { directory: "test/golden/books" }).pipe(Effect.provide(NodeServices.layer)))

/** Version 1 stored the weight as text, in kilograms or grams. */
const ParcelEvent = Schema.TaggedUnion({ ParcelSent: { grams: Schema.Int } }).pipe(Event.upcasters({
  ParcelSent: Event.from({ weight: Schema.String }).toCurrent(({ weight }) => {
    const amount = Number.parseFloat(weight) || 0
    return { grams: Math.round(weight.endsWith("kg") ? 1000 * amount : amount) }
  })
}))

it.effect("upcasts every stored weight", () =>
  GoldenEvents.check(ParcelEvent, {
    directory: "test/golden/parcels",
    past: { ParcelSent: { 1: [{ weight: "2.5 kg" }, { weight: "800 g" }] } }
  }).pipe(Effect.provide(NodeServices.layer)))

const Lend = Command.make("Lend", { payload: { ...book, reader } })
const BookState = Schema.Struct({ readers: Schema.Array(reader) })

const BookDecider = Aggregate.make("Book", {
  id: "bookId",
  state: BookState,
  events: BookEvent,
  commands: [Lend]
}).decider({
  initial: { readers: [] },
  evolve: {
    BookAdded: (state) => state,
    BookPlaced: (state) => state,
    BookLent: ({ readers }, event) => ({ readers: [...readers, event.reader] })
  },
  decide: { Lend: (_, command) => [BookEvent.cases.BookLent.make(command)] }
})

describe("the properties", () => {
  for (const { name, test } of EventProperties.all(BookEvent)) it.effect(name, () => test)
  for (const { name, test } of EventProperties.all(NoteEvent)) it.effect(name, () => test)
  for (const { name, test } of DeciderProperties.all(BookDecider, { state: BookState })) it.effect(name, () => test)
})
