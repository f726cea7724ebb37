/**
 * Cases about lists of documents: order, pages and indexes, compared with a filter and a sort over all documents.
 *
 * @since 0.1.0
 */
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { internals } from "../core/internals.ts"
import * as DocumentCodec from "../projection/DocumentCodec.ts"
import * as IndexEntry from "../projection/list/IndexEntry.ts"
import * as Projection from "../projection/ProjectionDefinition.ts"
import type { ListOptions } from "../projection/ProjectionReader.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import { expected, listed, randomList } from "./DocumentListModel.ts"
import { type Sample, Sampled, sampleOf, type Samples, samples, write } from "./DocumentSamples.ts"
import { type Case, equal, includes, test, unique } from "./Suite.ts"

const lists: ReadonlyArray<Case<ProjectionStore>> = [1, 2, 3, 4, 5, 6].map((seed) =>
  test(`lists by filter, order and page what a filter and a sort over all documents give (seed ${seed})`, function*() {
    const projection = samples()
    const ids = ["", "Z", "a", "ü", "\uff5a", "𝔘"].flatMap((prefix) =>
      Array.from({ length: 8 }, (_, n) => `${prefix}${n}`)
    )
    let documents = ids.map((id, n) => sampleOf(id, seed * 1000 + n))
    yield* write(projection, documents)
    for (let n = 0; n < 30; n++) {
      const options = randomList(seed * 10_000 + n)
      equal(yield* listed(projection, options), expected(documents, options), show(options))
      if (n % 10 !== 9) continue
      // Indexes follow documents that change and are removed.
      documents = documents.map(({ id }, i) => sampleOf(id, seed * 100_000 + n * 100 + i))
      yield* write(projection, documents)
    }
  })
)

const show = (options: ListOptions<Samples>): string =>
  JSON.stringify(options, (_, value: unknown) => typeof value === "bigint" ? `${value}n` : value)

const pages: ReadonlyArray<Case<ProjectionStore>> = [
  test("a page after a cursor follows what is written between the pages", function*() {
    const projection = samples()
    const store = yield* ProjectionStore
    const of = (id: string, number: number) => ({ ...sampleOf(id, 1), number })
    yield* write(projection, [of("a", 10), of("b", 20), of("c", 30), of("d", 40)])
    const options = { orderBy: { field: "number" }, limit: 2 } as const
    const first = yield* store.list(projection, options)
    equal(first.items.map(({ id }) => id), ["a", "b"], "the first page")
    // "a" moves ahead of the cursor and is seen again; "d" moves behind it and is not seen; "e" is new.
    yield* write(projection, [of("a", 35), of("d", 5), of("e", 20.5)])
    const rest = yield* store.list(projection, { ...options, limit: 9, after: Option.getOrThrow(first.next) })
    equal(rest.items.map(({ id }) => id), ["e", "c", "a"], "the second page")
  }),

  test("rejects the cursor of another order, filter or projection", function*() {
    const [projection, other] = [samples(), samples()]
    const store = yield* ProjectionStore
    for (const one of [projection, other]) yield* write(one, ["a", "b", "c"].map((id, n) => sampleOf(id, n)))
    const options = { orderBy: { field: "number" }, limit: 1 } as const
    const after = Option.getOrThrow((yield* store.list(projection, options)).next)
    equal((yield* store.list(projection, { ...options, limit: 2, after })).items.length, 2, "with another limit")
    const rejected = Effect.fnUntraced(function*(list: Samples, options: ListOptions<Samples>) {
      const error = yield* Effect.flip(store.list(list, options))
      equal(error._tag === "EventStoreError" ? error.reason._tag : error._tag, "InvalidRequest", "the reason")
      includes(error.message, "`after`", "the message")
    })
    yield* rejected(projection, { after })
    yield* rejected(projection, { orderBy: { field: "number", direction: "desc" }, after })
    yield* rejected(projection, { orderBy: { field: "big" }, after })
    yield* rejected(projection, { ...options, where: { kind: "a" }, after })
    yield* rejected(other, { ...options, after })
    for (const text of ["", "a", "?", `${after}x`, after.slice(1), "bnVsbA"]) {
      yield* rejected(projection, { ...options, after: text })
    }
  })
]

const reindexing: ReadonlyArray<Case<ProjectionStore>> = [
  test("a list that uses an index which older code did not write fails until reindex has added it", function*() {
    const projection = samples()
    const store = yield* ProjectionStore
    const driver = store[internals].driver
    const documents = Array.from({ length: 20 }, (_, n) => sampleOf(`k${n}`, n))
    yield* write(projection, documents)
    const { encode, fields } = DocumentCodec.of(projection)
    const kind = fields.filter(({ field }) => field === "kind").map(({ index }) => index)
    /** What code with an index on `kind` alone, or without an index, writes. */
    const asBefore = (document: Sample, hasKind: boolean) => {
      const change = Result.getOrThrow(encode(document.id, document))
      return {
        ...change,
        indexed: hasKind
          ? [IndexEntry.namesOf(kind), ...change.indexed.filter((entry) => entry.startsWith("kind="))]
          : []
      }
    }
    const writeAsBefore = (n: number, hasKind: boolean) =>
      driver.write([{ generation: projection.id, changes: [asBefore(documents[n]!, hasKind)] }])
    const options = { where: { big: { gte: 0n } }, orderBy: { field: "text" }, limit: 100 } as const
    const list = store.list(projection, options)
    const tagOf = Effect.map(
      Effect.result(list),
      (found) =>
        Result.isSuccess(found)
          ? "listed"
          : found.failure._tag === "EventStoreError"
          ? found.failure.reason._tag
          : "other"
    )
    equal(yield* tagOf, "listed", "before")
    yield* writeAsBefore(3, true)
    equal(yield* tagOf, "IndexIncomplete", "with another index")
    equal((yield* store.list(projection, { where: { kind: "a" } })).items.length > 0, true, "by the index that it has")
    equal((yield* store.list(projection)).items.length, 20, "without an index")
    yield* writeAsBefore(4, false)
    equal((yield* Effect.flip(store.list(projection, { where: { kind: "a" } })))._tag, "EventStoreError", "without it")
    includes((yield* Effect.flip(list)).message, "an index on big, text", "the message")
    yield* store.reindex(projection)
    equal(yield* listed(projection, options), expected(documents, options), "after reindex")
    // A document that was removed has no entries, and none are left of it.
    yield* driver.write([{ generation: projection.id, changes: [{ key: "k3", document: undefined, indexed: [] }] }])
    equal(yield* listed(projection, options), expected(documents.filter(({ id }) => id !== "k3"), options), "removed")
    yield* writeAsBefore(4, false)
    yield* driver.write([{ generation: projection.id, changes: [{ key: "k4", document: undefined, indexed: [] }] }])
    equal(yield* tagOf, "listed", "without the document that lacked it")
  }),

  test("a list by a field of another type fails until reindex has read the documents", function*() {
    const store = yield* ProjectionStore
    const driver = store[internals].driver
    const name = unique("prices")
    const definition = {
      events: Sampled,
      index: ["id", "price"],
      key: ({ id }: typeof Sampled.Type) => id,
      evolve: { Sampled: Projection.ignore }
    } as const
    const documentOf = <F extends Schema.Constraint>(price: F) => Schema.Struct({ id: Schema.String, price })
    const texts = Projection.make(name, { ...definition, document: documentOf(Schema.String) })
    const checked = Projection.make(name, { ...definition, document: documentOf(Schema.NonEmptyString) })
    const decimals = Projection.make(name, { ...definition, document: documentOf(Schema.BigDecimal) })
    const write = (projection: typeof texts | typeof decimals, id: string, price: unknown) =>
      driver.write([{
        generation: projection.id,
        changes: [Result.getOrThrow(DocumentCodec.of(projection).encode(id, { id, price }))]
      }])
    yield* write(texts, "a", "10.5")
    yield* write(texts, "b", "7")
    const after = Option.getOrThrow((yield* store.list(texts, { orderBy: { field: "price" }, limit: 1 })).next)
    equal((yield* store.list(checked, { where: { price: "7" } })).items.length, 1, "with a check that is added")
    const decimal = BigDecimal.fromStringUnsafe
    yield* write(decimals, "c", decimal("8"))
    const options = { where: { price: { gte: decimal("5") } }, orderBy: { field: "price" } } as const
    const failing = Effect.all([
      Effect.flip(store.list(decimals, options)),
      Effect.flip(store.list(decimals, { where: { price: decimal("7") } })),
      Effect.flip(store.list(texts, { where: { price: "7" } }))
    ])
    equal(
      (yield* failing).map((error) => error._tag === "EventStoreError" ? error.reason._tag : error._tag),
      ["IndexIncomplete", "IndexIncomplete", "IndexIncomplete"],
      "lists of both releases"
    )
    equal((yield* store.list(decimals, { where: { id: "a" } })).items.length, 1, "by another field")
    yield* store.reindex(decimals)
    const { items } = yield* store.list(decimals, options)
    equal(items.map(({ id }) => id), ["b", "c", "a"], "after reindex")
    const expired = yield* Effect.flip(store.list(decimals, { orderBy: { field: "price" }, limit: 1, after }))
    includes(expired.message, "is the cursor of another projection, filter or order", "a cursor of before")
  }),

  test("reindex leaves a document alone that is written meanwhile", function*() {
    const projection = samples()
    const driver = (yield* ProjectionStore)[internals].driver
    const document = sampleOf("k", 1)
    const change = Result.getOrThrow(DocumentCodec.of(projection).encode("k", document))
    const write = (indexed: ReadonlyArray<string>) =>
      driver.write([{ generation: projection.id, changes: [{ ...change, indexed }] }])
    yield* write([])
    const kind = DocumentCodec.of(projection).fields.filter(({ field }) => field === "kind").map(({ index }) => index)
    const { documents: [found], generation } = yield* driver.unindexed(projection.id, kind, 10)
    yield* write(change.indexed)
    yield* driver.reindex(generation, [{
      key: "k",
      revision: found!.revision,
      indexed: [IndexEntry.namesOf(kind), "kind=4stale"]
    }])
    equal(yield* listed(projection, { where: { kind: document.kind } }), ["k"], "the newer entries")
    equal((yield* driver.unindexed(projection.id, kind, 10)).documents.length, 0, "nothing is left to do")
  })
]

/**
 * The cases.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases: ReadonlyArray<Case<ProjectionStore>> = [...lists, ...pages, ...reindexing]
