/**
 * The suite of JSON values: what is stored is read back exactly, and what JSON cannot hold is rejected with the name of the field.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { isDeepStrictEqual } from "node:util"
import { type Case, equal, includes, ok, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventQuery from "../../src/event/EventQuery.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as SnapshotPolicy from "../../src/snapshot/SnapshotPolicy.ts"
import * as StateSnapshots from "../../src/snapshot/StateSnapshots.ts"
import { fakeSnapshot } from "../snapshot/SnapshotFixtures.ts"
import type { Stores } from "../support/AccountFixtures.ts"

const Kept = Schema.TaggedUnion({ Kept: { name: Schema.String, value: Schema.Any } })
const Tagged = Schema.TaggedUnion({ Tagged: { name: Schema.String, value: Schema.Any, tag: Schema.String } }).pipe(
  Event.tags({ tag: "tag" })
)
const tagged = Projection.make(unique("tagged"), {
  events: Tagged,
  lifecycle: "inline",
  document: Schema.Struct({ value: Schema.Any }),
  key: ({ name }) => name,
  evolve: { Tagged: (_, { value }) => ({ value }) }
})

/** No such event is ever written, so that an inline projection of it can start. */
const Lost = Schema.TaggedUnion({ Lost: { name: Schema.String, value: Schema.Any } })

/** Returns JSON values from a sequence of pseudo-random numbers; the same values for the same seed. */
const values = (count: number, seed: number): ReadonlyArray<unknown> => {
  let state = seed
  const below = (bound: number) => (state = (state * 1_103_515_245 + 12_345) % 2_147_483_648) % bound
  const texts = ["", "\u0000", "\ud800", "\udfff\ud800", "💶", "\\u0000", "\"\\/\n", "__proto__", "toJSON", "-0"]
  const numbers = [0, -0, 1, -1, 0.1, 5e-324, Number.MAX_VALUE, -Number.MAX_VALUE, 2 ** 53, 1e21, 123456789.125]
  const one = (depth: number): unknown => {
    const kind = below(depth === 0 ? 4 : 6)
    if (kind === 0) return below(3) === 0 ? null : below(2) === 0
    if (kind < 3) return numbers[below(numbers.length)]
    if (kind === 3) return texts[below(texts.length)]
    const length = below(4)
    if (kind === 4) return Array.from({ length }, () => one(depth - 1))
    return Object.fromEntries(Array.from({ length }, () => [texts[below(texts.length)]!, one(depth - 1)]))
  }
  return Array.from({ length: count }, () => one(4))
}

const cyclic: Array<unknown> = []
cyclic.push(cyclic)

class Money {
  amount = 1
}

/** Values that JSON cannot hold, under the name of what the message says. */
const rejected: ReadonlyArray<readonly [value: unknown, pointer: string, what: string]> = [
  [{ a: [1, NaN] }, "/a/1", "NaN"],
  [{ "a/b~": Infinity }, "/a~1b~0", "Infinity"],
  [[-Infinity], "/0", "-Infinity"],
  [[undefined], "/0", "undefined"],
  [Array(1), "/0", "a hole in an array"],
  [{ big: 1n }, "/big", "a bigint"],
  [{ f: () => 1 }, "/f", "a function"],
  [{ s: Symbol("s") }, "/s", "a symbol"],
  [{ at: new Date(0) }, "/at", "an instance of Date"],
  [{ m: new Map() }, "/m", "an instance of Map"],
  [[new Money()], "/0", "an instance of Money"],
  [{ o: { toJSON: () => 1 } }, "/o", "an object with toJSON"]
]

const projection = Projection.make(unique("kept"), {
  events: Kept,
  lifecycle: "inline",
  document: Schema.Struct({ value: Schema.Any }),
  key: ({ name }) => name,
  evolve: { Kept: (_, { value }) => ({ value }) }
})

const snapshotsOf = StateSnapshots.make<unknown>({
  policy: SnapshotPolicy.every(1),
  state: Schema.Any,
  initial: null,
  events: Kept,
  evolveVersion: 1
})

/**
 * Cases on JSON values in events, metadata, documents and snapshots.
 *
 * @since 0.1.0
 * @category suites
 */
export const jsonValues: ReadonlyArray<Case<Stores>> = [
  test("every JSON value is read back exactly from events, metadata, documents and snapshots", function*() {
    const all = values(300, 7)
    const stream = unique("Kept")
    const attributes = { values: all as ReadonlyArray<Schema.Json>, "-0": -0 }
    yield* Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const documents = yield* ProjectionStore.ProjectionStore
      yield* store.append(
        Kept,
        stream,
        all.map((value, i) => ({ _tag: "Kept" as const, name: `${stream}-${i}`, value })),
        {
          metadata: { attributes }
        }
      )
      const events = yield* Stream.runCollect(store.readStream(Kept, stream))
      for (const [i, value] of all.entries()) {
        ok(isDeepStrictEqual(events[i]!.event.value, value), `the value of event ${i} is ${JSON.stringify(value)}`)
        const found = Option.getOrThrow(yield* documents.get(projection, `${stream}-${i}`))
        ok(isDeepStrictEqual(found.value, value), `the value of document ${i} is ${JSON.stringify(value)}`)
      }
      ok(isDeepStrictEqual(events[0]!.metadata.attributes, attributes), "the metadata is the same")
    }).pipe(Effect.provide(Projector.layerInline([projection])))
    const { driver } = (yield* EventStore.EventStore)[internals]
    for (const value of [-0, all]) {
      const snapshot = fakeSnapshot(unique("t"), snapshotsOf.fingerprint, 1, {
        state: Result.getOrThrow(snapshotsOf.encode(value))
      })
      yield* driver.snapshots.write(snapshot)
      const read = Option.getOrThrow(yield* driver.snapshots.read(snapshot))
      ok(
        isDeepStrictEqual(Result.getOrThrow(snapshotsOf.decode(read.state)), value),
        "the state of the snapshot is the same"
      )
    }
  }),

  test("a key with an escape is read as it is after a key with a backslash", function*() {
    const name = unique("first")
    const all = ["\\", "\n", "\"", "\u0000"].map((key, i): Readonly<Record<string, number>> => ({
      [name]: 0,
      [key]: i
    }))
    const stream = unique("Kept")
    const [correlationId, tag] = [unique("correlation"), unique("tag")]
    const same = (found: ReadonlyArray<unknown>, what: string) =>
      ok(isDeepStrictEqual(found, all), `${what} is ${JSON.stringify(found)}`)
    const valuesOf = (events: ReadonlyArray<{ readonly data: Schema.Json }>) =>
      events.map(({ data }) => Reflect.get(Object(data), "value"))
    yield* Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const documents = yield* ProjectionStore.ProjectionStore
      const batch = all.map((value, i) => ({ _tag: "Tagged" as const, name: `${stream}-${i}`, value, tag }))
      const after = yield* store.head
      yield* store.append(Tagged, stream, batch, { metadata: { correlationId, attributes: all[2]! } })
      const read = yield* Stream.runCollect(store.readStream(Tagged, stream))
      same(read.map(({ event }) => event.value), "a stream")
      same([...all.slice(0, 2), read[0]!.metadata.attributes, all[3]], "the metadata")
      same(
        valuesOf(yield* Stream.runCollect(store.readAllEncoded({ after, where: { streamPrefix: stream } }))),
        "the log"
      )
      same(
        valuesOf((yield* store.readByQuery(EventQuery.make(Tagged, [{ tags: [Event.tag("tag", tag)] }]))).events),
        "a query"
      )
      const { driver } = store[internals]
      const correlated = yield* driver.readCorrelation({ correlationId, after, limit: 10 })
      same(valuesOf(correlated.events), "a correlation")
      for (const [i, { id }] of read.entries()) {
        const found = Option.getOrThrow(yield* driver.event(id))
        ok(isDeepStrictEqual(found.data, { name: `${stream}-${i}`, value: all[i], tag }), `event ${i} by its id`)
        const document = Option.getOrThrow(yield* documents.get(tagged, `${stream}-${i}`))
        ok(isDeepStrictEqual(document.value, all[i]), `document ${i} is ${JSON.stringify(document.value)}`)
      }
      const listed = yield* documents.list(tagged, { limit: 10 })
      same(listed.items.map(({ value }) => value), "a list of documents")
    }).pipe(Effect.provide(Projector.layerInline([tagged])))
    const texts = all.map((value) => Result.getOrThrow(snapshotsOf.encode(value)))
    same(texts.map((text) => Result.getOrThrow(snapshotsOf.decode(text))), "a snapshot")
  }),

  test("a value that JSON cannot hold is rejected with the name of its field", function*() {
    const store = yield* EventStore.EventStore
    const stream = unique("Kept")
    for (const [value, pointer, what] of [...rejected, [cyclic, "", "a cycle"] as const]) {
      const event = { _tag: "Kept" as const, name: "n", value }
      const inData = yield* Effect.flip(store.append(Kept, stream, [event]))
      equal(
        inData._tag === "EventStoreError" ? inData.reason._tag : inData._tag,
        "InvalidRequest",
        `${what} in an event`
      )
      includes(inData.message, what, "the message of an event")
      if (pointer !== "") includes(inData.message, `event "Kept": "/value${pointer}" is`, "the message of an event")
      const inMetadata = yield* Effect.flip(
        store.append(Kept, stream, [{ ...event, value: 1 }], {
          metadata: { attributes: { value: value as Schema.Json } }
        })
      )
      equal(
        inMetadata._tag === "EventStoreError" ? inMetadata.reason._tag : inMetadata._tag,
        "InvalidRequest",
        `${what} in metadata`
      )
      includes(inMetadata.message, what, "the message of metadata")
      if (pointer !== "") includes(inMetadata.message, `"/attributes/value${pointer}" is`, "the message of metadata")
      ok(Result.isFailure(snapshotsOf.encode(value)), `${what} is not stored in a snapshot`)
    }
    equal(yield* Stream.runCollect(store.readStream(Kept, stream)), [], "the events")
  }),

  test("a document that JSON cannot hold is rejected with the name of its field", function*() {
    for (const [value, pointer, what] of rejected) {
      const lossy = Projection.make(unique("lossy"), {
        events: Lost,
        lifecycle: "inline",
        document: Schema.Struct({ value: Schema.Any }),
        key: ({ name }) => name,
        evolve: { Lost: () => ({ value }) }
      })
      const error = yield* EventStore.append(Lost, unique("Lost"), [{ _tag: "Lost", name: "n", value: 1 }]).pipe(
        Effect.flip,
        Effect.provide(Layer.fresh(Projector.layerInline([lossy])))
      )
      includes(error.message, `"/value${pointer}" is ${what}`, "the message of a document")
    }
  })
]
