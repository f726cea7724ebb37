/**
 * The conformance suite of event stores: what every back end must do, races included. Run it against a store with real
 * connections; the tests may share one store.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Inspectable from "effect/Inspectable"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  ConcurrencyConflict,
  EventStoreError,
  type EventStoreErrorReason,
  storeError,
  StoreFailure
} from "../domain/errors.ts"
import * as Event from "../domain/Event.ts"
import type { EventQuery, QueryItem } from "../domain/EventQuery.ts"
import type { NewEvent, RecordedEvent } from "../domain/EventRecord.ts"
import * as Position from "../domain/Position.ts"
import type { Receipt } from "../domain/Receipt.ts"
import { StreamId } from "../domain/StreamId.ts"
import * as Version from "../domain/Version.ts"
import { EventStore } from "../store/EventStore.ts"
import { type Case, equal, ok, test, unique } from "./Suite.ts"

const CartEvent = Schema.TaggedUnion({
  ItemAdded: { sku: Schema.String, quantity: Schema.Int },
  CheckedOut: { at: Schema.DateTimeUtc, note: Schema.optionalKey(Schema.String) }
})
const added = (quantity: number, sku = "sku") => CartEvent.cases.ItemAdded.make({ sku, quantity })

/** Only ever written by one test, so that a reader of these finds nothing else. */
const BellEvent = Schema.TaggedUnion({ BellRung: { n: Schema.Int } })
const rung = (n: number) => BellEvent.cases.BellRung.make({ n })

const append = (
  stream: string,
  quantities: ReadonlyArray<number>,
  expected: Version.Expected = "any",
  commandId?: string
): Effect.Effect<Receipt, ConcurrencyConflict | EventStoreError, EventStore> =>
  Effect.flatMap(EventStore, (store) =>
    store.append(CartEvent, stream, quantities.map((quantity) => added(quantity)), {
      expected,
      metadata: commandId === undefined ? {} : { commandId }
    }))

const read = (stream: string, options?: Parameters<EventStore["Service"]["readStream"]>[2]) =>
  Effect.flatMap(EventStore, (store) => Stream.runCollect(store.readStream(CartEvent, stream, options)))

const versionsOf = (events: ReadonlyArray<RecordedEvent>): ReadonlyArray<number> => events.map((event) => event.version)

const upTo = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)

const ascending = (events: ReadonlyArray<{ readonly position: bigint }>): boolean =>
  events.every((event, i) => i === 0 || event.position > events[i - 1]!.position)

/** Runs all at once, each from a fiber of its own, and answers how each ended. */
const race = <A, E, R>(
  effects: ReadonlyArray<Effect.Effect<A, E, R>>
): Effect.Effect<ReadonlyArray<Exit.Exit<A, E>>, never, R> =>
  Effect.forEach(effects, Effect.exit, { concurrency: "unbounded" })

const conflictsOf = <A>(exits: ReadonlyArray<Exit.Exit<A, unknown>>): ReadonlyArray<ConcurrencyConflict> =>
  exits.flatMap((exit) => {
    const error = Option.getOrUndefined(Exit.findErrorOption(exit))
    return error instanceof ConcurrencyConflict ? [error] : []
  })

const refusal = <E extends { readonly _tag: string }, R>(effect: Effect.Effect<unknown, E | EventStoreError, R>) =>
  Effect.map(
    Effect.flip(effect),
    (error): EventStoreErrorReason | E => error instanceof EventStoreError ? error.reason : error
  )

const rawEvent = (type: string, schemaVersion: number, data: Schema.Json): NewEvent => ({
  id: globalThis.crypto.randomUUID(),
  type,
  schemaVersion,
  data: JSON.stringify(data),
  metadata: "{}"
})

const appendRaw = (stream: string, events: ReadonlyArray<NewEvent>) =>
  Effect.flatMap(EventStore, ({ driver }) => driver.append({ stream: StreamId.make(stream), expected: "any", events }))

const basics: ReadonlyArray<Case<EventStore>> = [
  test("an append is read back as it was written", function*() {
    const stream = unique("Cart")
    const metadata = {
      commandId: unique("command"),
      correlationId: "c",
      causationId: "d",
      actor: "ann",
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      attributes: { tenant: "t", nested: [1, null, { deep: true }] }
    }
    const store = yield* EventStore
    const before = yield* store.head
    const batch = [added(2), CartEvent.cases.CheckedOut.make({ at: DateTime.makeUnsafe("2026-01-02T03:04:05.678Z") })]
    const receipt = yield* store.append(CartEvent, stream, batch, { metadata })
    const events = yield* read(stream)
    equal(events.map((e) => e.event), batch, "the events")
    equal(versionsOf(events), [1, 2], "the versions")
    equal(events.map((e) => e.type), ["ItemAdded", "CheckedOut"], "the types")
    equal(events.map((e) => e.schemaVersion), [1, 1], "the schema versions")
    equal(events.map((e) => e.data), [{ sku: "sku", quantity: 2 }, { at: "2026-01-02T03:04:05.678Z" }], "the payloads")
    equal(events.map((e) => e.metadata), [metadata, metadata], "the metadata")
    ok(events.every((e) => e.stream === stream), "the stream")
    ok(ascending(events) && events[0]!.position > before, "positions grow")
    equal(
      receipt,
      {
        stream: StreamId.make(stream),
        version: Version.make(2),
        position: events[1]!.position,
        events: events.map(({ id, position, type, version }) => ({ id, type, version, position }))
      },
      "the receipt"
    )
    ok(new Set(events.map((e) => e.id)).size === 2, "every event has an id of its own")
  }),

  test("a stream that does not exist is empty", function*() {
    equal(yield* read(unique("Cart")), [], "forwards")
    equal(yield* read(unique("Cart"), { direction: "backward" }), [], "backwards")
  }),

  test("a stream is read forwards and backwards, from a version, up to a limit, in pages of any size", function*() {
    const stream = unique("Cart")
    yield* append(stream, upTo(7))
    for (const pageSize of [1, 2, 3, 7, 8]) {
      const of = (options: Parameters<typeof read>[1]) =>
        Effect.map(read(stream, { ...options, pageSize }), (events) => versionsOf(events).join(" "))
      equal(yield* of({}), "1 2 3 4 5 6 7", `all, pages of ${pageSize}`)
      equal(yield* of({ from: Version.make(3) }), "3 4 5 6 7", `from 3, pages of ${pageSize}`)
      equal(yield* of({ from: Version.make(3), limit: 2 }), "3 4", `2 from 3, pages of ${pageSize}`)
      equal(yield* of({ from: Version.make(8) }), "", `from beyond the end, pages of ${pageSize}`)
      equal(yield* of({ direction: "backward" }), "7 6 5 4 3 2 1", `backwards, pages of ${pageSize}`)
      equal(
        yield* of({ direction: "backward", from: Version.make(3) }),
        "3 2 1",
        `backwards from 3, pages of ${pageSize}`
      )
      equal(yield* of({ direction: "backward", limit: 2 }), "7 6", `the last 2, pages of ${pageSize}`)
      equal(yield* of({ limit: 0 }), "", `none, pages of ${pageSize}`)
    }
  }),

  test("the log is read from a position, by type, in pages of any size, and ends at the head", function*() {
    const store = yield* EventStore
    const start = yield* store.head
    const [a, b] = [unique("Cart"), unique("Cart")]
    yield* append(a, [1, 2])
    yield* append(b, [3])
    yield* store.append(BellEvent, unique("Bell"), [rung(1)])
    yield* append(a, [4])
    const all = yield* Stream.runCollect(store.readAllRecorded({ after: start }))
    const mine = all.filter((e) => e.stream === a || e.stream === b || e.type === "BellRung")
    equal(mine.map((e) => `${e.stream === a ? "a" : e.stream === b ? "b" : "bell"}${e.version}`), [
      "a1",
      "a2",
      "b1",
      "bell1",
      "a3"
    ], "the order")
    ok(ascending(all), "positions grow")
    for (const pageSize of [1, 2, 5, 6]) {
      const carts = yield* Stream.runCollect(store.readAll(CartEvent, { after: start, pageSize }))
      equal(
        carts.filter((e) => e.stream === a || e.stream === b).map((e) => e.event),
        [added(1), added(2), added(3), added(4)],
        `one set of events, pages of ${pageSize}`
      )
      const rest = yield* Stream.runCollect(store.readAllRecorded({ after: mine[2]!.position, pageSize }))
      equal(
        rest.map((e) => e.position),
        all.filter((e) => e.position > mine[2]!.position).map((e) => e.position),
        "after a position"
      )
    }
    ok((yield* store.head) >= mine[4]!.position, "the head has passed the last event")
  })
]

const expectations: ReadonlyArray<Case<EventStore>> = [
  test("every kind of expected version holds, on an empty stream and on one of three events", function*() {
    const cases: ReadonlyArray<readonly [expected: Version.Expected, onEmpty: boolean, onThree: boolean]> = [
      ["any", true, true],
      ["noStream", true, false],
      ["streamExists", false, true],
      [Version.make(0), true, false],
      [Version.make(2), false, false],
      [Version.make(3), false, true],
      [Version.make(4), false, false],
      [Version.make(Number.MAX_SAFE_INTEGER), false, false]
    ]
    for (const [expected, onEmpty, onThree] of cases) {
      for (const [events, allowed] of [[0, onEmpty], [3, onThree]] as const) {
        const stream = unique("Cart")
        if (events > 0) yield* append(stream, upTo(events))
        const exit = yield* Effect.exit(append(stream, [10, 11], expected))
        const what = `expecting ${expected} of ${events} events`
        equal(Exit.isSuccess(exit), allowed, what)
        if (!allowed) {
          equal(
            conflictsOf([exit]).map((c) => [c.stream, c.expected, c.actual]),
            [[stream, expected, Version.make(events)]],
            `${what}: the conflict tells the stream, what was expected and the true version`
          )
        }
        equal((yield* read(stream)).length, allowed ? events + 2 : events, `${what}: events in the stream`)
      }
    }
  }),

  test("20 concurrent appends expecting any: all are written, one after the other", function*() {
    const stream = unique("Cart")
    const exits = yield* race(upTo(20).map((n) => append(stream, [n, n])))
    equal(exits.filter(Exit.isSuccess).length, 20, "appends written")
    const events = yield* read(stream)
    equal(versionsOf(events), upTo(40), "versions without a hole")
    ok(ascending(events), "positions in the order of the versions")
    for (let i = 0; i < 40; i += 2) equal(events[i]!.event, events[i + 1]!.event, "events of one append stay together")
    const receipts = exits.flatMap((exit) => Exit.isSuccess(exit) ? [exit.value.version] : [])
    equal(receipts.toSorted((a, b) => a - b), upTo(20).map((n) => Version.make(n * 2)), "every receipt is true")
  }),

  test("20 concurrent appends expecting no stream: one is written", function*() {
    const stream = unique("Cart")
    const exits = yield* race(upTo(20).map((n) => append(stream, [n, n, n], "noStream")))
    equal(exits.filter(Exit.isSuccess).length, 1, "appends written")
    equal(
      conflictsOf(exits).map((c) => c.actual),
      Array.from({ length: 19 }, () => Version.make(3)),
      "the others' conflicts"
    )
    equal((yield* read(stream)).length, 3, "events in the stream")
  }),

  test("20 concurrent appends expecting the same version: one is written", function*() {
    const stream = unique("Cart")
    yield* append(stream, upTo(5))
    const exits = yield* race(upTo(20).map((n) => append(stream, [n], Version.make(5))))
    equal(exits.filter(Exit.isSuccess).length, 1, "appends written")
    equal(
      conflictsOf(exits).map((c) => c.actual),
      Array.from({ length: 19 }, () => Version.make(6)),
      "the others' conflicts"
    )
    equal(versionsOf(yield* read(stream)), upTo(6), "versions without a hole")
  }),

  test("20 concurrent appends expecting that the stream exists: none is written, or all", function*() {
    const stream = unique("Cart")
    const none = yield* race(upTo(20).map((n) => append(stream, [n], "streamExists")))
    equal(
      conflictsOf(none).map((c) => c.actual),
      Array.from({ length: 20 }, () => Version.zero),
      "conflicts without a stream"
    )
    yield* append(stream, [0])
    const all = yield* race(upTo(20).map((n) => append(stream, [n], "streamExists")))
    equal(all.filter(Exit.isSuccess).length, 20, "appends written")
    equal(versionsOf(yield* read(stream)), upTo(21), "versions without a hole")
  }),

  test("20 writers that read the version and append at it lose no update", function*() {
    const stream = unique("Cart")
    const increment = Effect.gen(function*() {
      const events = yield* read(stream)
      const last = events.at(-1)?.event
      const n = last?._tag === "ItemAdded" ? last.quantity : 0
      return yield* append(stream, [n + 1], Version.make(events.length))
    })
    const untilDone = Effect.retry(increment, { while: (error) => error instanceof ConcurrencyConflict, times: 1000 })
    yield* Effect.all(upTo(20).map(() => untilDone), { concurrency: "unbounded" })
    equal((yield* read(stream)).map((e) => e.event), upTo(20).map((n) => added(n)), "every increment counts once")
  }),

  test("an append is all or nothing", function*() {
    const store = yield* EventStore
    const stream = unique("Cart")
    const broken = { _tag: "ItemAdded", sku: "x", quantity: 1.5 } as const
    const reason = yield* refusal(store.append(CartEvent, stream, [added(1), broken, added(2)]))
    equal(reason._tag, "InvalidRequest", "an event that breaks its Schema")
    ok(reason.message.includes("quantity"), "the message names the field")
    const rollback = storeError(new StoreFailure({ message: "rolled back by the test", cause: undefined }))
    const error = yield* Effect.flip(store.driver.append({
      stream: StreamId.make(stream),
      expected: "any",
      events: [rawEvent("ItemAdded", 1, { sku: "x", quantity: 1 })],
      inTransaction: () => Effect.fail(rollback)
    }))
    equal(error.message, rollback.message, "the failure in the transaction of the append")
    equal(yield* read(stream), [], "nothing was written")
    equal((yield* append(stream, [1], "noStream")).version, Version.make(1), "the stream can be begun")
  }),

  test("the transaction of an append sees its events as they are recorded", function*() {
    const store = yield* EventStore
    const stream = StreamId.make(unique("Cart"))
    let seen: ReadonlyArray<RecordedEvent> = []
    yield* store.driver.append({
      stream,
      expected: "noStream",
      events: [
        rawEvent("ItemAdded", 1, { sku: "x", quantity: 1 }),
        rawEvent("ItemAdded", 1, { sku: "x", quantity: 2 })
      ],
      inTransaction: (events) =>
        Effect.sync(() => {
          seen = events
        })
    })
    equal(seen, yield* Stream.runCollect(store.readStreamRecorded(stream)), "the same records")
  })
]

const idempotency: ReadonlyArray<Case<EventStore>> = [
  test("the same command id twice: one append, the same receipt", function*() {
    const store = yield* EventStore
    const [stream, command] = [unique("Cart"), unique("command")]
    const first = yield* append(stream, [1, 2], "noStream", command)
    yield* append(stream, [3])
    const second = yield* append(stream, [1, 2], "noStream", command)
    equal(second, first, "the receipt")
    equal((yield* read(stream)).length, 3, "events in the stream")
    equal(yield* store.receipt(command), Option.some(first), "the receipt by command id")
    equal(yield* store.receipt(unique("command")), Option.none(), "an unknown command id")
  }),

  test("20 concurrent appends of the same command id: one append, the same receipt for all", function*() {
    for (const expected of ["any", "noStream", Version.zero] as const) {
      const [stream, command] = [unique("Cart"), unique("command")]
      const exits = yield* race(upTo(20).map(() => append(stream, [1, 2], expected, command)))
      const receipts = exits.flatMap((exit) => Exit.isSuccess(exit) ? [exit.value] : [])
      equal(receipts.length, 20, `answers, expecting ${expected}`)
      for (const receipt of receipts) equal(receipt, receipts[0]!, "the receipt")
      equal((yield* read(stream)).length, 2, "events in the stream")
    }
  }),

  test("a command id used on another stream is refused, also at the same time", function*() {
    const [a, b, command] = [unique("Cart"), unique("Cart"), unique("command")]
    yield* append(a, [1], "any", command)
    const reason = yield* refusal(append(b, [1], "any", command))
    ok(reason._tag === "CommandIdReused" && reason.firstStream === a, "the refusal names the first stream")
    equal(yield* read(b), [], "nothing was written")
    for (let round = 0; round < 5; round++) {
      const id = unique("command")
      const streams = upTo(10).map(() => unique("Cart"))
      const exits = yield* race(streams.map((stream) => append(stream, [1], "any", id)))
      equal(exits.filter(Exit.isSuccess).length, 1, "appends written")
      const lengths = yield* Effect.forEach(streams, (stream) => Effect.map(read(stream), (events) => events.length))
      equal(lengths.reduce((sum, n) => sum + n, 0), 1, "events written")
    }
  }),

  test("an interrupted append is in the log whole, or not at all", function*() {
    const store = yield* EventStore
    const stream = unique("Cart")
    const commands = upTo(40).map(() => unique("command"))
    yield* Effect.forEach(commands, (command, i) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(append(stream, [i, i, i], "any", command))
        for (let step = 0; step < i % 8; step++) yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
      }), { concurrency: 8 })
    // Whoever interrupts an append does not wait for the database. The next append to the stream does.
    yield* append(stream, [1])
    const events = yield* read(stream)
    equal(versionsOf(events), upTo(events.length), "versions without a hole")
    for (const command of commands) {
      const written = events.filter((e) => e.metadata.commandId === command)
      ok(written.length === 0 || written.length === 3, "all of its events or none")
      if (written.length === 0) continue
      const receipt = Option.getOrUndefined(yield* store.receipt(command))
      equal(receipt?.events.map((e) => e.id), written.map((e) => e.id), "the receipt tells which")
    }
    const { version } = yield* append(stream, [2])
    equal(versionsOf(yield* read(stream)).slice(0, version), upTo(version), "the store goes on")
  })
]

const subscriptions: ReadonlyArray<Case<EventStore>> = [
  test("a subscription catches up and goes on live, for one listener as for many, in pages of 1 and of 500", function*() {
    const store = yield* EventStore
    const after = yield* store.head
    const stream = unique("Bell")
    yield* store.append(BellEvent, stream, [rung(1), rung(2)])
    const listeners = yield* Effect.forEach([1, 1, 500, 500], (pageSize) =>
      Effect.forkChild(
        store.subscribe(BellEvent, { after, pageSize }).pipe(
          Stream.filter((e) => e.stream === stream),
          Stream.take(6),
          Stream.runCollect
        )
      ))
    yield* store.append(BellEvent, stream, [rung(3)])
    yield* append(unique("Cart"), [1])
    yield* store.append(BellEvent, stream, [rung(4), rung(5)])
    yield* store.append(BellEvent, stream, [rung(6)])
    for (const listener of listeners) {
      const events = yield* Effect.timeout(Fiber.join(listener), "30 seconds")
      equal(events.map((e) => e.event), upTo(6).map(rung), "every event once, in order")
    }
  }),

  test("a subscription under 32 concurrent writers skips nothing, doubles nothing and keeps the order", function*() {
    const store = yield* EventStore
    const after = yield* store.head
    const writers = upTo(32).map(() => unique("Bell"))
    const total = 32 * 10
    const listen = (pageSize: number) =>
      store.subscribe(BellEvent, { after, pageSize }).pipe(
        Stream.filter((e) => writers.includes(e.stream)),
        Stream.take(total),
        Stream.runCollect
      )
    const listeners = yield* Effect.forEach([1, 7, 500], (pageSize) => Effect.forkChild(listen(pageSize)))
    yield* Effect.forEach(
      writers,
      (stream) => Effect.forEach(upTo(10), (n) => store.append(BellEvent, stream, [rung(n)])),
      { concurrency: "unbounded" }
    )
    for (const listener of listeners) {
      const events = yield* Effect.timeout(Fiber.join(listener), "60 seconds")
      ok(ascending(events), "positions grow")
      for (const stream of writers) {
        equal(versionsOf(events.filter((e) => e.stream === stream)), upTo(10), "every event of every stream, in order")
      }
    }
  }),

  test("rolled-back appends stall nobody", function*() {
    const store = yield* EventStore
    const after = yield* store.head
    const stream = unique("Bell")
    const listener = yield* Effect.forkChild(
      store.subscribe(BellEvent, { after }).pipe(
        Stream.filter((e) => e.stream === stream),
        Stream.take(3),
        Stream.runCollect
      )
    )
    for (const n of upTo(3)) {
      yield* Effect.ignore(store.driver.append({
        stream: StreamId.make(unique("Cart")),
        expected: "any",
        events: [rawEvent("ItemAdded", 1, { sku: "x", quantity: n })],
        inTransaction: () => Effect.fail(storeError(new StoreFailure({ message: "rolled back", cause: undefined })))
      }))
      yield* store.append(BellEvent, stream, [rung(n)])
    }
    const events = yield* Effect.timeout(Fiber.join(listener), "30 seconds")
    equal(events.map((e) => e.event), upTo(3).map(rung), "the events")
  })
]

const bad: ReadonlyArray<Case<EventStore>> = [
  test("bad stream names are refused, to write and to read", function*() {
    for (const name of ["", "x".repeat(10_000), "a\u0000b", "a\ud800b"]) {
      const written = yield* refusal(append(name, [1]))
      const seen = yield* refusal(read(name))
      equal([written._tag, seen._tag], ["InvalidRequest", "InvalidRequest"], JSON.stringify(name.slice(0, 20)))
    }
  }),

  test("a payload of 10 MB, no events and too many events are refused; 10,000 events are not", function*() {
    const store = yield* EventStore
    const stream = unique("Cart")
    const large = yield* refusal(store.append(CartEvent, stream, [added(1, "x".repeat(10_000_000))]))
    ok(large._tag === "InvalidRequest" && large.message.includes("bytes"), "10 MB")
    equal((yield* refusal(append(stream, [])))._tag, "InvalidRequest", "no events")
    equal((yield* refusal(append(stream, upTo(10_001))))._tag, "InvalidRequest", "10,001 events")
    equal(yield* read(stream), [], "nothing was written")
    equal((yield* append(stream, upTo(10_000))).events.length, 10_000, "10,000 events")
    const events = yield* read(stream)
    equal(versionsOf(events), upTo(10_000), "all of them, in order")
    ok(ascending(events), "positions grow")
    equal(
      (yield* store.append(CartEvent, stream, [added(1, "x".repeat(1_000_000))])).version,
      Version.make(10_001),
      "1 MB"
    )
  }),

  test("what no caller with types would send is refused, and leaves the store whole", function*() {
    const store = yield* EventStore
    const stream = unique("Cart")
    const untyped = (value: unknown) => value as never
    const refusedAppends = [
      ...[NaN, 1.5, -1, 2 ** 60, "none", null, {}].map((expected) => ({ expected: untyped(expected) })),
      { metadata: untyped({ actor: { name: "ann" } }) },
      { metadata: { attributes: untyped({ n: 1n }) } }
    ]
    for (const options of refusedAppends) {
      const reason = yield* refusal(store.append(CartEvent, stream, [added(1)], options))
      equal(reason._tag, "InvalidRequest", Inspectable.toStringUnknown(options))
    }
    for (const name of [undefined, null, 5]) {
      equal((yield* refusal(store.append(CartEvent, untyped(name), [added(1)])))._tag, "InvalidRequest", String(name))
    }
    for (const options of [{ limit: -1 }, { limit: NaN }, { from: untyped(NaN) }, { from: untyped(-1) }]) {
      equal((yield* refusal(read(stream, options)))._tag, "InvalidRequest", Inspectable.toStringUnknown(options))
    }
    for (const after of [-5n, 2n ** 63n, 3, "3"]) {
      const reason = yield* refusal(Stream.runDrain(store.readAll(CartEvent, { after: untyped(after) })))
      equal(reason._tag, "InvalidRequest", `after ${after}`)
    }
    yield* append(stream, [1])
    equal((yield* read(stream)).length, 1, "the stream is as free as before")
  }),

  test("to follow the log from beyond its end is refused, not waited for", function*() {
    const store = yield* EventStore
    const beyond = Position.make(2n ** 62n + 10n ** 15n)
    for (const follow of [store.subscribe(CartEvent, { after: beyond }), store.readAll(CartEvent, { after: beyond })]) {
      const reason = yield* refusal(Effect.timeout(Stream.runDrain(follow), "30 seconds"))
      equal(reason._tag, "StoreMisconfigured", "the reason")
    }
  }),

  test("bad page sizes and command ids are refused", function*() {
    const stream = unique("Cart")
    for (const pageSize of [0, -1, 1.5, NaN, 1_000_000]) {
      equal((yield* refusal(read(stream, { pageSize })))._tag, "InvalidRequest", `a page of ${pageSize}`)
    }
    for (const id of ["", "x".repeat(1000), "a\u0000b", "\udfff"]) {
      equal((yield* refusal(append(stream, [1], "any", id)))._tag, "InvalidRequest", JSON.stringify(id.slice(0, 20)))
    }
  }),

  test("every string that JSON can hold survives, in payloads, metadata, names and command ids", function*() {
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
    ok(events.every((e) => JSON.stringify(e.metadata) === JSON.stringify(metadata)), "the metadata")
    const short = unique("Cart")
    // A character of two code units as often as it goes in, up to the last of the 512.
    const longest = short + "x".repeat(short.length % 2) + "𝔘".repeat(Math.floor((512 - short.length) / 2))
    yield* append(longest, [1])
    equal((yield* read(longest)).length, 1, "a name of 512 characters")
  })
]

const decoding: ReadonlyArray<Case<EventStore>> = [
  test("an event that cannot be decoded is a typed error that names it; the events before it are delivered", function*() {
    const store = yield* EventStore
    const faults: ReadonlyArray<readonly [NewEvent, string]> = [
      [rawEvent("Unheard", 1, {}), "UnknownType"],
      [rawEvent("ItemAdded", 2, { sku: "x", quantity: 1 }), "UnknownVersion"],
      [rawEvent("ItemAdded", 1, { sku: "x", quantity: "many" }), "Malformed"],
      [rawEvent("ItemAdded", 1, { quantity: 1 }), "Malformed"],
      [rawEvent("ItemAdded", 1, ["sku"]), "Malformed"],
      [rawEvent("ItemAdded", 1, null), "Malformed"]
    ]
    for (const [event, problem] of faults) {
      const stream = unique("Cart")
      yield* append(stream, [1, 2])
      yield* appendRaw(stream, [event])
      yield* append(stream, [3])
      const seen: Array<number> = []
      const reason = yield* refusal(
        Stream.runForEach(store.readStream(CartEvent, stream), (e) => Effect.sync(() => seen.push(e.version)))
      )
      equal(seen, [1, 2], "the events before it")
      const recorded = yield* Stream.runCollect(store.readStreamRecorded(stream))
      const { position, schemaVersion, type, version } = recorded[2]!
      ok(reason._tag === "UndecodableEvent", `${problem}: the reason`)
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

  test("an event of a past schema version is read as a current one, and stays as it was written", function*() {
    const store = yield* EventStore
    const Now = Schema.TaggedUnion({ Measured: { unit: Schema.Literals(["m", "ft"]), value: Schema.Finite } }).pipe(
      Event.history({
        Measured: Event.from({ feet: Schema.Finite })
          .to({ value: Schema.Finite }, (v1) => ({ value: v1.feet }))
          .toCurrent((v2) => ({ unit: "ft" as const, value: v2.value }))
      })
    )
    const stream = unique("Gauge")
    yield* appendRaw(stream, [rawEvent("Measured", 1, { feet: 1 }), rawEvent("Measured", 2, { value: 2 })])
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

/** Seats of shows: an event of a show and of a person, found by either. */
const SeatEvent = Schema.TaggedUnion({
  SeatTaken: { show: Schema.String, person: Schema.String, extra: Schema.optionalKey(Schema.Array(Schema.String)) },
  ShowCancelled: { show: Schema.String }
}).pipe(Event.tags({ show: "show", person: "person", extra: "extra" }))
const seat = (show: string, person: string) => SeatEvent.cases.SeatTaken.make({ show, person })

const seatsOf = (show: string): QueryItem => ({ types: ["SeatTaken"], tags: [Event.tag("show", show)] })

/** Takes a seat if `query` matches fewer than `limit` events. */
const takeSeat = (
  show: string,
  person: string,
  query: EventQuery = [seatsOf(show)],
  limit = 1,
  between: Effect.Effect<void> = Effect.void
): Effect.Effect<"taken" | "full" | "changed", ConcurrencyConflict | EventStoreError, EventStore> =>
  Effect.gen(function*() {
    const store = yield* EventStore
    const { condition, events } = yield* store.readQueryRecorded(query)
    yield* between
    if (events.length >= limit) return "full"
    yield* store.appendIf(condition, SeatEvent, unique("Seat"), [seat(show, person)])
    return "taken" as const
  }).pipe(Effect.catchTag("BoundaryConflict", () => Effect.succeed("changed" as const)))

const count = <A>(all: ReadonlyArray<A>, one: A): number => all.filter((a) => a === one).length

const boundaries: ReadonlyArray<Case<EventStore>> = [
  test("events are found by type and tag, in position order, across streams", function*() {
    const store = yield* EventStore
    const [x, y, ann, bob] = [unique("show"), unique("show"), unique("ann"), unique("bob")]
    yield* store.append(SeatEvent, unique("Seat"), [seat(x, ann), seat(y, ann), seat(x, bob)])
    yield* store.append(SeatEvent, unique("Seat"), [SeatEvent.cases.ShowCancelled.make({ show: x }), seat(y, bob)])
    const find = (query: EventQuery) =>
      Effect.map(store.readQueryRecorded(query), ({ events }) => {
        ok(ascending(events), "positions grow")
        return events.map((e) =>
          e.tags.map((tag) =>
            tag === `show:${x}` ? "x" : tag === `show:${y}` ? "y" : tag === `person:${ann}` ? "a" : "b"
          ).toSorted().join("")
        )
      })
    const tagX = Event.tag("show", x)
    equal(yield* find([seatsOf(x)]), ["ax", "bx"], "a type and a tag")
    equal(yield* find([{ tags: [tagX] }]), ["ax", "bx", "x"], "a tag")
    equal(yield* find([{ tags: [tagX, Event.tag("person", ann)] }]), ["ax"], "two tags: both")
    equal(yield* find([{ tags: [Event.tag("person", ann), tagX] }]), ["ax"], "in any order")
    equal(
      yield* find([{ tags: [tagX] }, { tags: [Event.tag("person", bob)] }]),
      ["ax", "bx", "x", "by"],
      "two items: either, once"
    )
    equal(
      yield* find([{ types: ["ShowCancelled"], tags: [tagX] }, seatsOf(y)]),
      ["ay", "x", "by"],
      "items of different types"
    )
    equal(yield* find([{ tags: [Event.tag("show", unique("none"))] }]), [], "a tag without events")
    const byType = (yield* store.readQueryRecorded([{ types: ["ShowCancelled"] }])).events
    ok(byType.length > 0 && byType.every((e) => e.type === "ShowCancelled"), "a type alone")
  }),

  test("an append holds only while its query has no new match", function*() {
    const store = yield* EventStore
    const [x, y] = [unique("show"), unique("show")]
    const { condition } = yield* store.readQueryRecorded([seatsOf(x)])
    yield* store.append(SeatEvent, unique("Seat"), [seat(y, "p"), SeatEvent.cases.ShowCancelled.make({ show: x })])
    yield* store.appendIf(condition, SeatEvent, unique("Seat"), [seat(x, "p")])
    const stream = unique("Seat")
    const error = yield* Effect.flip(store.appendIf(condition, SeatEvent, stream, [seat(x, "q")]))
    const last = (yield* store.readQueryRecorded([seatsOf(x)])).events.at(-1)
    ok(error._tag === "BoundaryConflict" && error.position === last?.position, "the conflict names the new match")
    equal(yield* Stream.runCollect(store.readStreamRecorded(stream)), [], "nothing was written")
    const again = yield* store.readQueryRecorded([seatsOf(x)])
    yield* store.appendIf(again.condition, SeatEvent, stream, [seat(x, "q")], { expected: "noStream" })
    const both = yield* store.readQueryRecorded([seatsOf(x)])
    const version = yield* Effect.flip(
      store.appendIf(both.condition, SeatEvent, stream, [seat(x, "r")], { expected: "noStream" })
    )
    equal(version._tag, "ConcurrencyConflict", "the stream's version holds too")
  }),

  test("16 racers for one slot, each round one winner, whenever they are held up", function*() {
    const pauses = [
      Effect.void,
      Effect.yieldNow,
      Effect.sleep("1 millis")
    ]
    for (let round = 0; round < 60; round++) {
      const show = unique("show")
      // Before the read, and between read and append, all wait for each other.
      const gate = yield* Latch.make(false)
      let ready = 0
      const barrier = Effect.suspend(() => {
        ready++
        if (ready === 16) gate.openUnsafe()
        return gate.await
      })
      const between = round % 3 === 0 ? barrier : pauses[round % 3]!
      const results = yield* Effect.forEach(upTo(16), (n) => takeSeat(show, `p${n}`, [seatsOf(show)], 1, between), {
        concurrency: "unbounded"
      })
      equal(count(results, "taken"), 1, `winners of round ${round}`)
      if (round % 3 === 0) equal(count(results, "changed"), 15, "all of them had seen a free seat")
    }
  }),

  test("conditions that ask for different things never let both through: write skew", function*() {
    const store = yield* EventStore
    for (let round = 0; round < 40; round++) {
      const [show, person] = [unique("show"), unique("person")]
      // One asks for the show, the other for the person; each writes what the other asks for.
      const byShow = takeSeat(show, person, [seatsOf(show)], 1, Effect.yieldNow)
      const byPerson = takeSeat(
        show,
        person,
        [{ types: ["SeatTaken"], tags: [Event.tag("person", person)] }],
        1,
        Effect.yieldNow
      )
      const byBoth = takeSeat(
        show,
        person,
        [seatsOf(show), { tags: [Event.tag("person", person)] }],
        1,
        Effect.yieldNow
      )
      const plain = Effect.as(store.append(SeatEvent, unique("Seat"), [seat(show, person)]), "plain" as const)
      const racers = [byShow, byPerson, byBoth, byShow, byPerson, byBoth]
      const results = yield* Effect.all(round % 2 === 0 ? racers : [...racers, plain], { concurrency: "unbounded" })
      ok(count(results, "taken") <= 1, `at most one of round ${round}`)
      if (round % 2 === 0) equal(count(results, "taken"), 1, `one of round ${round}`)
    }
  }),

  test("a condition on a type alone holds under races", function*() {
    const Once = Schema.TaggedUnion({ [unique("HappenedOnce")]: { n: Schema.Int } })
    const [type] = Object.keys(Once.cases)
    const store = yield* EventStore
    const results = yield* Effect.forEach(upTo(16), (n) =>
      Effect.gen(function*() {
        const { condition, events } = yield* store.readQueryRecorded([{ types: [type!] }])
        if (events.length > 0) return "full"
        yield* Effect.yieldNow
        yield* store.appendIf(condition, Once, unique("Once"), [{ _tag: type!, n }])
        return "taken"
      }).pipe(Effect.catchTag("BoundaryConflict", () => Effect.succeed("changed"))), { concurrency: "unbounded" })
    equal(count(results, "taken"), 1, "winners")
  }),

  test("100 concurrent appends on disjoint boundaries: no conflict", function*() {
    const shows = upTo(100).map(() => unique("show"))
    const results = yield* Effect.forEach(shows, (show) => takeSeat(show, unique("p")), { concurrency: "unbounded" })
    equal(count(results, "taken"), 100, "seats taken")
  }),

  test("tags of every kind: all Unicode, 100 on an event; absurd ones are refused", function*() {
    const store = yield* EventStore
    const odd = ["", " ", "a:b", "\u001f", "\u202e", "💶", "{}", "\"\\'", "NULL", "x".repeat(200), "𝔘".repeat(100)]
    const show = unique("show")
    for (const person of odd) {
      const stream = unique("Seat")
      yield* store.append(SeatEvent, stream, [seat(show, person + show)])
      const { events } = yield* store.readQueryRecorded([{ tags: [Event.tag("person", person + show)] }])
      equal(events.map((e) => e.stream), [stream], JSON.stringify(person))
    }
    const many = (n: number) =>
      SeatEvent.cases.SeatTaken.make({ show, person: "p", extra: upTo(n).map((i) => `${show}${i}`) })
    yield* store.append(SeatEvent, unique("Seat"), [many(98)])
    const { events } = yield* store.readQueryRecorded([{
      tags: [Event.tag("extra", `${show}98`), Event.tag("extra", `${show}1`)]
    }])
    equal(events.map((e) => e.tags.length), [100], "100 tags")
    for (const bad of [many(99), seat(show, "x".repeat(10_000)), seat(show, "\u0000"), seat(show, "\ud800")]) {
      equal((yield* refusal(store.append(SeatEvent, unique("Seat"), [bad])))._tag, "InvalidRequest", "an absurd tag")
    }
    for (const query of [[], [{}], [{ types: [], tags: [] }], [{ tags: [""] }], [{ tags: ["x".repeat(10_000)] }]]) {
      equal((yield* refusal(store.readQueryRecorded(query)))._tag, "InvalidRequest", "an absurd query")
    }
  }),

  test("a query of more matches than a page is read whole", function*() {
    const store = yield* EventStore
    const show = unique("show")
    const events = upTo(5000).map((n) => seat(show, `p${n}`))
    for (const part of [0, 1, 2]) {
      yield* store.append(SeatEvent, unique("Seat"), part === 2 ? events.slice(0, 1) : events)
    }
    const found = yield* store.readQueryRecorded([seatsOf(show)])
    equal(found.events.length, 10_001, "matches")
    ok(ascending(found.events), "positions grow")
    yield* store.appendIf(found.condition, SeatEvent, unique("Seat"), [seat(show, "last")])
  })
]

/**
 * All tests.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<EventStore>> = [
  ...basics,
  ...expectations,
  ...idempotency,
  ...subscriptions,
  ...boundaries,
  ...bad,
  ...decoding
]
