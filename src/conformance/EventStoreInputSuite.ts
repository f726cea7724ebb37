/**
 * The part of the event store suite on input validation and on decoding stored events.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Position from "../core/Position.ts"
import * as Version from "../core/Version.ts"
import * as Event from "../event/Event.ts"
import type { NewEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import {
  added,
  append,
  appendStored,
  ascending,
  CartEvent,
  read,
  rejection,
  storedEvent,
  upTo,
  versionsOf
} from "./EventStoreFixtures.ts"
import { type Case, equal, includes, test, unique } from "./Suite.ts"

/**
 * The cases on invalid input, and on unusual valid input.
 *
 * @since 0.1.0
 * @category constructors
 */
export const input: ReadonlyArray<Case<EventStore>> = [
  test("rejects invalid stream names in appends and reads", function*() {
    for (const name of ["", "x".repeat(10_000), "a\u0000b", "a\ud800b"]) {
      const written = yield* rejection(append(name, [1]))
      const seen = yield* rejection(read(name))
      equal([written._tag, seen._tag], ["InvalidRequest", "InvalidRequest"], JSON.stringify(name.slice(0, 20)))
    }
  }),

  test("accepts 10,000 events, and rejects none, too many, or 10 MB payloads", function*() {
    const store = yield* EventStore
    const stream = unique("Cart")
    const large = yield* rejection(store.append(CartEvent, stream, [added(1, "x".repeat(10_000_000))]))
    equal(large._tag, "InvalidRequest", "10 MB")
    includes(large.message, "bytes", "10 MB")
    equal((yield* rejection(append(stream, [])))._tag, "InvalidRequest", "no events")
    equal((yield* rejection(append(stream, upTo(10_001))))._tag, "InvalidRequest", "10,001 events")
    equal(yield* read(stream), [], "nothing was written")
    equal((yield* append(stream, upTo(10_000))).events.length, 10_000, "10,000 events")
    const events = yield* read(stream)
    equal(versionsOf(events), upTo(10_000), "all of them, in order")
    ascending(events, "the positions increase")
    equal(
      (yield* store.append(CartEvent, stream, [added(1, "x".repeat(1_000_000))])).version,
      Version.make(10_001),
      "1 MB"
    )
  }),

  test("rejects ill-typed input without changing the store", function*() {
    const store = yield* EventStore
    const stream = unique("Cart")
    const untyped = (value: unknown) => value as never
    const invalidAppends = [
      ...[NaN, 1.5, -1, 2 ** 60, "none", null, {}].map((expected) => ({ expected: untyped(expected) })),
      { metadata: untyped({ actor: { name: "ann" } }) },
      { metadata: { attributes: untyped({ n: 1n }) } }
    ]
    for (const options of invalidAppends) {
      const reason = yield* rejection(store.append(CartEvent, stream, [added(1)], options))
      equal(reason._tag, "InvalidRequest", Inspectable.toStringUnknown(options))
    }
    for (const name of [undefined, null, 5]) {
      equal((yield* rejection(store.append(CartEvent, untyped(name), [added(1)])))._tag, "InvalidRequest", String(name))
    }
    for (const options of [{ limit: -1 }, { limit: NaN }, { from: untyped(NaN) }, { from: untyped(-1) }]) {
      equal((yield* rejection(read(stream, options)))._tag, "InvalidRequest", Inspectable.toStringUnknown(options))
    }
    for (const after of [-5n, 2n ** 63n, 3, "3"]) {
      const reason = yield* rejection(Stream.runDrain(store.readAll(CartEvent, { after: untyped(after) })))
      equal(reason._tag, "InvalidRequest", `after ${after}`)
    }
    yield* append(stream, [1])
    equal((yield* read(stream)).length, 1, "the stream is as free as before")
  }),

  test("rejects a subscription from beyond the end of the log", function*() {
    const store = yield* EventStore
    const beyond = Position.make(2n ** 62n + 10n ** 15n)
    for (const follow of [store.subscribe(CartEvent, { after: beyond }), store.readAll(CartEvent, { after: beyond })]) {
      const reason = yield* rejection(Effect.timeout(Stream.runDrain(follow), "30 seconds"))
      equal(reason._tag, "StoreMisconfigured", "the reason")
    }
  }),

  test("rejects invalid page sizes and command ids", function*() {
    const stream = unique("Cart")
    for (const pageSize of [0, -1, 1.5, NaN, 1_000_000]) {
      equal((yield* rejection(read(stream, { pageSize })))._tag, "InvalidRequest", `a page of ${pageSize}`)
    }
    for (const id of ["", "x".repeat(1000), "a\u0000b", "\udfff"]) {
      equal((yield* rejection(append(stream, [1], "any", id)))._tag, "InvalidRequest", JSON.stringify(id.slice(0, 20)))
    }
  }),

  test("round-trips every JSON string in payloads, metadata, names and command ids", function*() {
    const store = yield* EventStore
    const strings = [
      "",
      "\u0000",
      "a\u0000b",
      "\ud800",
      "💶 € ü ﷽",
      "\u202e\u2028\n\t\\\"'",
      "x".repeat(100_000),
      "$1; drop table events --"
    ]
    const stream = unique("Cart-💶 '\"\\;$1 \u202e")
    const batch = strings.map((sku, i) => added(i, sku))
    const metadata = { commandId: unique("command €'\""), actor: "a\u0000b", attributes: { "k\u0000": strings } }
    yield* store.append(CartEvent, stream, batch, { metadata })
    const events = yield* read(stream)
    equal(events.map((e) => e.event), batch, "the payloads")
    equal(
      events.map((e) => JSON.stringify({ ...e.metadata, payloadHash: undefined })),
      events.map(() => JSON.stringify(metadata)),
      "the metadata"
    )
    const short = unique("Cart")
    // Characters of two code units fill the limit of 512 exactly.
    const longest = short + "x".repeat(short.length % 2) + "𝔘".repeat(Math.floor((512 - short.length) / 2))
    yield* append(longest, [1])
    equal((yield* read(longest)).length, 1, "a name of 512 characters")
  })
]

/**
 * The cases on undecodable events and past schema versions.
 *
 * @since 0.1.0
 * @category constructors
 */
export const decoding: ReadonlyArray<Case<EventStore>> = [
  test("fails at an undecodable event after delivering the events before it", function*() {
    const store = yield* EventStore
    const faults: ReadonlyArray<readonly [NewEvent, string]> = [
      [storedEvent("Unheard", 1, {}), "UnknownType"],
      [storedEvent("ItemAdded", 2, { sku: "x", quantity: 1 }), "NewerVersion"],
      [storedEvent("ItemAdded", 0, { sku: "x", quantity: 1 }), "UnknownVersion"],
      [storedEvent("ItemAdded", 1, { sku: "x", quantity: "many" }), "Malformed"],
      [storedEvent("ItemAdded", 1, { quantity: 1 }), "Malformed"],
      [storedEvent("ItemAdded", 1, ["sku"]), "Malformed"],
      [storedEvent("ItemAdded", 1, null), "Malformed"]
    ]
    for (const [event, problem] of faults) {
      const stream = unique("Cart")
      yield* append(stream, [1, 2])
      yield* appendStored(stream, [event])
      yield* append(stream, [3])
      const seen: Array<number> = []
      const reason = yield* rejection(
        Stream.runForEach(store.readStream(CartEvent, stream), (e) => Effect.sync(() => seen.push(e.version)))
      )
      equal(seen, [1, 2], "the events before it")
      const recorded = yield* Stream.runCollect(store.readStreamEncoded(stream))
      const { position, schemaVersion, type, version } = recorded[2]!
      equal<string>(reason._tag, "UndecodableEvent", `${problem}: the reason`)
      if (reason._tag === "UndecodableEvent") {
        equal(
          [reason.problem, reason.position, reason.stream, reason.version, reason.type, reason.schemaVersion],
          [problem, position, stream, version, type, schemaVersion],
          `${problem}: what it names`
        )
      }
      equal(recorded.length, 4, "nothing is lost")
      equal((yield* read(stream, { from: Version.make(4) })).length, 1, "the events after it can be read")
    }
  }),

  test("upcasts an event of a past schema version without changing the row", function*() {
    const store = yield* EventStore
    const Now = Schema.TaggedUnion({ Measured: { unit: Schema.Literals(["m", "ft"]), value: Schema.Finite } }).pipe(
      Event.upcasters({
        Measured: Event.from({ feet: Schema.Finite })
          .to({ value: Schema.Finite }, (v1) => ({ value: v1.feet }))
          .toCurrent((v2) => ({ unit: "ft" as const, value: v2.value }))
      })
    )
    const stream = unique("Gauge")
    yield* appendStored(stream, [storedEvent("Measured", 1, { feet: 1 }), storedEvent("Measured", 2, { value: 2 })])
    yield* store.append(Now, stream, [Now.cases.Measured.make({ unit: "m", value: 3 })])
    const events = yield* Stream.runCollect(store.readStream(Now, stream))
    equal(
      events.map((e) => e.event),
      [["ft", 1], ["ft", 2], ["m", 3]].map(([unit, value]) => ({ _tag: "Measured", unit, value })) as ReadonlyArray<
        typeof Now.Type
      >,
      "the events"
    )
    equal(events.map((e) => e.schemaVersion), [1, 2, 3], "the schema versions")
    equal(events[0]!.data, { feet: 1 }, "the stored payload")
  })
]
