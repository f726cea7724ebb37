/**
 * Cases about the filters of lists of documents, and the indexes that they need.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { internals } from "../core/internals.ts"
import * as DocumentCodec from "../projection/DocumentCodec.ts"
import type { Where } from "../projection/list/DocumentFilter.ts"
import * as Projection from "../projection/ProjectionDefinition.ts"
import type { ListOptions } from "../projection/ProjectionReader.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import { listed } from "./DocumentListModel.ts"
import { definition, type Field, Sampled, sampleOf, type Samples, samples, write } from "./DocumentSamples.ts"
import { type Case, equal, includes, test, unique } from "./Suite.ts"

const invalid = (options: ListOptions<Samples>) =>
  Effect.gen(function*() {
    const error = yield* Effect.flip((yield* ProjectionStore).list(samples(), options))
    equal(error._tag === "EventStoreError" ? error.reason._tag : error._tag, "InvalidRequest", "the reason")
    return error.message
  })

/** Projections into which the cases write documents. */
const neverFolded = {
  events: Sampled,
  key: ({ id }: typeof Sampled.Type) => id,
  evolve: { Sampled: Projection.ignore }
} as const

const put = (projection: Projection.Any, documents: ReadonlyArray<unknown>) =>
  Effect.flatMap(ProjectionStore, (store) => {
    const { encode } = DocumentCodec.of(projection)
    const changes = documents.map((document, n) => Result.getOrThrow(encode(`${n}`, document)))
    return store[internals].driver.write([{ generation: projection.id, changes }])
  })

const idsOf = <P extends Projection.Any>(projection: P, where: Where<P>) =>
  Effect.flatMap(
    ProjectionStore,
    (store) =>
      Effect.map(store.list(projection, { where }), ({ items }) => items.map((item) => Reflect.get(Object(item), "id")))
  )

const longText = "x".repeat(700)

/** A field of every kind that has no order, or another form when it is stored. */
const parcel = {
  id: Schema.String,
  address: Schema.Struct({ city: Schema.String, zip: Schema.String }),
  labels: Schema.Record(Schema.String, Schema.Int),
  lasts: Schema.Duration,
  wraps: Schema.Option(Schema.Struct({ a: Schema.String, b: Schema.Int })),
  code: Schema.StringFromBase64Url,
  note: Schema.optionalKey(Schema.String)
}

const parcelOf = (id: string) => ({
  id,
  address: { city: "Rome", zip: id },
  labels: { b: 2, a: 1 },
  lasts: Duration.seconds(5),
  wraps: Option.some({ a: id, b: 1 }),
  code: longText + id
})

/** What a program without types may pass. */
const untyped = (options: unknown) => invalid(options as ListOptions<Samples>)

/**
 * The cases.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases: ReadonlyArray<Case<ProjectionStore>> = [
  test("rejects filters and orders that no index can answer", function*() {
    includes(yield* untyped({ where: { id: "a" } }), `no index on "id"; it has number`, "a field without an index")
    includes(yield* untyped({ orderBy: { field: "id" } }), `no index on "id"`, "an order without an index")
    includes(yield* untyped({ orderBy: { field: "number", direction: "down" } }), `"asc" or "desc"`, "a direction")
    includes(
      yield* untyped({ where: { number: { above: 1 } } }),
      `no operator "above"; use a value, or in, gt`,
      "an operator"
    )
    includes(
      yield* untyped({ where: { number: { gte: "1" } } }),
      `"number" does not satisfy its Schema`,
      "a bound's type"
    )
    includes(yield* untyped({ where: { number: "1" } }), `"number" does not satisfy its Schema`, "a value's type")
    includes(yield* invalid({ where: { number: NaN } }), "NaN", "a value that is NaN")
    includes(yield* invalid({ where: { number: { lt: NaN } } }), "NaN", "a bound that is NaN")
    includes(yield* untyped({ where: { number: { lt: null } } }), "null", "a bound that is null")
    includes(yield* untyped({ where: { isOpen: { gt: false } } }), "boolean", "a bound that is a boolean")
    includes(yield* invalid({ where: { number: { gt: 1, gte: 1 } } }), "use `gt` or `gte`", "two lower bounds")
    includes(yield* invalid({ where: { number: { in: [1], lt: 1 } } }), "stand alone", "`in` with a bound")
    includes(yield* untyped({ where: { number: { between: [1] } } }), "two values", "`between` with one value")
    includes(yield* invalid({ where: { either: { gte: 1, lt: "a" } } }), "different types", "bounds of two types")
    includes(yield* invalid({ where: { text: { gte: "x".repeat(501) } } }), "500 bytes", "a long bound")
    const many = Array.from({ length: 1001 }, (_, n) => n)
    includes(yield* invalid({ where: { number: { in: many } } }), "at most 1000", "too many values")
    includes(yield* invalid({ limit: 10_001 }), "10000", "a large page")
  }),

  test("an operator that is undefined, and a range that is empty, are no errors", function*() {
    const projection = samples()
    const documents = ["a", "b", "c"].map((id, n) => sampleOf(id, n))
    yield* write(projection, documents)
    equal((yield* listed(projection, { where: { big: { gte: undefined } } })).length, 3, "undefined")
    equal(yield* listed(projection, { where: { number: { between: [2, 1] } } }), [], "an empty range")
    equal(yield* listed(projection, { where: { number: { in: [] } } }), [], "no values")
  }),

  test("rejects an index on what is no field, and a document without a place in the order", function*() {
    const wrong = (index: ReadonlyArray<string>) => {
      try {
        // What a program without types may pass.
        Projection.make("wrong", { ...definition, index: index as ReadonlyArray<Field> })
        return "accepted"
      } catch (error) {
        return String(error)
      }
    }
    includes(wrong(["totl"]), `cannot index "totl", which is no field of its document; it has id, number`, "a field")
    includes(wrong(["kind", "kind"]), `names "kind" twice`, "the same field")
    includes(wrong(["x".repeat(61)]), "at most 60 characters", "a long name")
    const ofType = (v: Projection.Document) => {
      try {
        Projection.make("wrong", { ...neverFolded, document: Schema.Struct({ v }), index: ["v"] })
        return "accepted"
      } catch (error) {
        return String(error)
      }
    }
    includes(
      ofType(Schema.Struct({ tags: Schema.HashSet(Schema.String) })),
      `cannot index "v", because it has sets or maps`,
      "a set"
    )
    includes(ofType(Schema.ReadonlyMap(Schema.String, Schema.Int)), "sets or maps", "a map")
    includes(ofType(Schema.Array(Schema.Duration)), "durations within another value", "durations")
    includes(ofType(Schema.NullOr(Schema.Duration)), "accepted", "a duration")
    const { encode } = DocumentCodec.of(samples())
    const encoded = encode("k", { ...sampleOf("k", 1), number: NaN })
    includes(Result.isFailure(encoded) ? encoded.failure : "", `"number" is NaN`, "a document with NaN")
    const long = encode("k", { ...sampleOf("k", 1), big: 10n ** 401n + 1n })
    includes(Result.isFailure(long) ? long.failure : "", "402 significant digits", "a document with a large bigint")
    yield* ProjectionStore
  }),

  test("lists documents of a union and of a class", function*() {
    class Visit extends Schema.Class<Visit>(unique("Visit"))({ id: Schema.String, at: Schema.DateTimeUtc }) {}
    const fields = { id: Schema.String, at: Schema.DateTimeUtc, note: Schema.Option(Schema.String) }
    const Either = Schema.Union([Schema.TaggedStruct("Call", fields), Schema.TaggedStruct("Mail", fields)])
    const at = [5, -7, 3].map((millis) => DateTime.makeUnsafe(millis))
    const note = Option.some("n")
    const visits = Projection.make(unique("visits"), { ...neverFolded, document: Visit, index: ["at"] })
    const contacts = Projection.make(unique("contacts"), { ...neverFolded, document: Either, index: ["at", "note"] })
    const store = yield* ProjectionStore
    yield* put(visits, at.map((at, n) => new Visit({ id: `${n}`, at })))
    yield* put(contacts, at.map((at, n) => ({ _tag: n === 0 ? "Call" : "Mail", id: `${n}`, at, note })))
    const options = { where: { at: { lt: at[0] } }, orderBy: { field: "at", direction: "desc" } } as const
    equal((yield* store.list(visits, options)).items.map(({ id }) => id), ["2", "1"], "instances of a class")
    equal((yield* store.list(contacts, options)).items.map(({ id }) => id), ["2", "1"], "members of a union")
    equal((yield* store.list(contacts, { orderBy: { field: "at" } })).items.length, 3, "all members")
    equal((yield* store.list(contacts, { where: { note } })).items.length, 3, "a value that is stored in another form")
    equal((yield* store.list(contacts, { where: { note: Option.none() } })).items.length, 0, "another value")
  }),

  ...[false, true].map((isClass) =>
    test(
      `finds values without an order, in any form and with fields in any order (${isClass ? "class" : "struct"})`,
      function*() {
        class Instance extends Schema.Class<Instance>(unique("Parcel"))(parcel) {}
        const parcels = Projection.make(unique("parcels"), {
          ...neverFolded,
          document: isClass ? Instance : Schema.Struct(parcel),
          index: ["address", "labels", "lasts", "wraps", "code", "note"]
        })
        yield* put(parcels, ["1", "2"].map((id) => isClass ? new Instance(parcelOf(id)) : parcelOf(id)))
        const ids = (where: Where<typeof parcels>) => idsOf(parcels, where)
        equal(yield* ids({ address: { zip: "2", city: "Rome" } }), ["2"], "a struct")
        equal(yield* ids({ address: { zip: "3", city: "Rome" } }), [], "another struct")
        equal(yield* ids({ labels: { a: 1, b: 2 } }), ["1", "2"], "a record")
        equal(yield* ids({ labels: { a: 1, b: 3 } }), [], "another record")
        equal(yield* ids({ lasts: Duration.seconds(5) }), ["1", "2"], "a duration")
        equal(yield* ids({ lasts: Duration.nanos(5_000_000_000n) }), ["1", "2"], "an equal duration in another form")
        equal(yield* ids({ lasts: { gt: Duration.seconds(4), lt: Duration.seconds(6) } }), ["1", "2"], "within bounds")
        equal(yield* ids({ wraps: Option.some({ b: 1, a: "1" }) }), ["1"], "an option")
        equal(yield* ids({ wraps: Option.none() }), [], "another option")
        equal(yield* ids({ code: `${longText}1` }), ["1"], "a long text that is stored in another form")
        equal(yield* ids({ note: { in: [null] } }), ["1", "2"], "a missing value")
      }
    )
  ),

  test("finds values in fields that are stored under another name", function*() {
    const renamed = Schema.Struct({ id: Schema.String, lasts: Schema.Duration, wraps: parcel.wraps }).pipe(
      Schema.encodeKeys({ id: "key" })
    )
    const tasks = Projection.make(unique("tasks"), { ...neverFolded, document: renamed, index: ["lasts", "wraps"] })
    yield* put(tasks, ["1", "2"].map(parcelOf))
    equal(yield* idsOf(tasks, { lasts: Duration.seconds(5) }), ["1", "2"], "a duration")
    equal(yield* idsOf(tasks, { wraps: Option.some({ b: 1, a: "2" }) }), ["2"], "an option")
  }),

  test("tells the values of a field apart that two members of a union declare differently", function*() {
    const One = Schema.TaggedStruct("One", { id: Schema.String, v: Schema.Struct({ a: Schema.Int }) })
    const Two = Schema.TaggedStruct("Two", { id: Schema.String, v: Schema.Struct({ a: Schema.Int, b: Schema.Int }) })
    const either = Projection.make(unique("either"), {
      ...neverFolded,
      document: Schema.Union([One, Two]),
      index: ["v"]
    })
    yield* put(either, [
      { _tag: "One", id: "1", v: { a: 1 } },
      { _tag: "Two", id: "2", v: { a: 1, b: 2 } },
      { _tag: "Two", id: "3", v: { a: 1, b: 3 } }
    ])
    equal(yield* idsOf(either, { v: { a: 1 } }), ["1"], "the value of the first member")
    equal(yield* idsOf(either, { v: { b: 2, a: 1 } }), ["2"], "a value of the second")
  }),

  test("finds the default of a field that older documents lack", function*() {
    const older = Schema.Struct({ id: Schema.String })
    const defaultOf = Effect.succeed({ a: 1, b: 5 })
    const newer = Schema.Struct({
      id: Schema.String,
      status: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed("open"))),
      v: Schema.Struct({ a: Schema.Int, b: Schema.Int }).pipe(Schema.withDecodingDefaultKey(defaultOf))
    })
    const name = unique("tickets")
    yield* put(Projection.make(name, { ...neverFolded, document: older }), [{ id: "1" }])
    const tickets = Projection.make(name, { ...neverFolded, document: newer, index: ["status", "v"] })
    yield* (yield* ProjectionStore).reindex(tickets)
    equal(yield* idsOf(tickets, { status: "open" }), ["1"], "a text")
    equal(yield* idsOf(tickets, { v: { b: 5, a: 1 } }), ["1"], "a struct")
    equal(yield* idsOf(tickets, { status: "closed" }), [], "another text")
  }),

  test("finds JSON values in documents whose fields have no names or no types", function*() {
    const records = Projection.make(unique("records"), {
      ...neverFolded,
      document: Schema.Record(Schema.String, Schema.Unknown),
      index: ["id", "v"]
    })
    const durations = Projection.make(unique("durations"), {
      ...neverFolded,
      document: Schema.Record(Schema.String, Schema.Duration),
      index: ["v"]
    })
    yield* put(records, [{ id: "1", v: { b: [{ d: 2, c: 1 }], a: null } }, { id: "2" }])
    yield* put(durations, [{ v: Duration.seconds(5) }, { w: Duration.seconds(5) }])
    equal(yield* idsOf(records, { v: { a: null, b: [{ c: 1, d: 2 }] } }), ["1"], "JSON")
    equal(yield* idsOf(records, { id: "2" }), ["2"], "a text")
    equal(
      (yield* (yield* ProjectionStore).list(durations, { where: { v: Duration.millis(5000) } })).items.length,
      1,
      "one"
    )
    const error = yield* Effect.flip(idsOf(records, { v: Option.some(1) }))
    includes(error.message, `"v" does not satisfy its Schema`, "a value that is no JSON")
  }),

  test("does not mistake long texts with one beginning for each other", function*() {
    const projection = samples()
    const store = yield* ProjectionStore
    const long = ["a", "b", "c"].map((end) => "x".repeat(600) + end)
    yield* write(projection, long.map((text, n) => ({ ...sampleOf(`${n}`, n), text })))
    for (const [n, text] of long.entries()) {
      equal((yield* store.list(projection, { where: { text } })).items.map(({ id }) => id), [`${n}`], "one")
    }
    equal((yield* listed(projection, { where: { text: { in: long.slice(1) } } })).length, 2, "two")
    equal(
      yield* listed(projection, { where: { text: { gt: "x".repeat(500), lt: "y" } }, limit: 9 }).pipe(
        Effect.map((ids) => ids.length)
      ),
      3,
      "above their beginning"
    )
    equal(
      (yield* listed(projection, { orderBy: { field: "text", direction: "desc" }, limit: 1 })).length,
      3,
      "each once"
    )
  })
]
