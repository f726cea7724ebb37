/**
 * The conformance suite of event stores. Run it on a store with real connections, since it tests concurrency. The cases may share one store.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { ConcurrencyConflict, storeError, StoreFailure } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { StreamId } from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { boundaries } from "./AppendConditionSuite.ts"
import { boundedPages } from "./BoundedPagesSuite.ts"
import {
  added,
  append,
  ascending,
  BellEvent,
  CartEvent,
  conflictsOf,
  race,
  read,
  rejection,
  rung,
  storedEvent,
  upTo,
  versionsOf
} from "./EventStoreFixtures.ts"
import { decoding, input } from "./EventStoreInputSuite.ts"
import { inlineProjections } from "./InlineProjectionsSuite.ts"
import { identity } from "./LogIdentitySuite.ts"
import { raw } from "./StoredEventSuite.ts"
import { closing } from "./StreamClosingSuite.ts"
import { type Case, equal, includes, isAbove, isAtLeast, test, unique } from "./Suite.ts"

const basics: ReadonlyArray<Case<EventStore>> = [
  test("has no append in flight when none runs, and its end is the last event", function*() {
    const store = yield* EventStore
    const { driver } = store[internals]
    const before = yield* driver.inFlight
    const { position } = yield* store.append(CartEvent, unique("Cart"), [added(1)])
    const { appends, readAt } = yield* driver.inFlight
    equal([before.appends, appends], [[], []], "the appends in flight")
    equal(yield* driver.lockHolders, [], "the transactions that hold locks")
    equal([yield* driver.head, yield* driver.last], [position, position], "the high-water mark and the last position")
    equal(DateTime.isGreaterThanOrEqualTo(readAt, before.readAt), true, "whether the clock went on")
  }),

  test("reads appended events back unchanged", function*() {
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
    const { payloadHash, ...first } = events[0]!.metadata
    equal(typeof payloadHash, "string", "the hash of what the command id stands for, on the first event")
    equal([first, events[1]!.metadata], [metadata, metadata], "the metadata")
    equal<ReadonlyArray<string>>(events.map((e) => e.stream), [stream, stream], "the stream")
    ascending(events, "the positions increase")
    isAbove<bigint>(events[0]!.position, before, "the first position")
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
    equal(new Set(events.map((e) => e.id)).size, 2, "every event has its own id")
  }),

  test("reads an unknown stream as empty", function*() {
    equal(yield* read(unique("Cart")), [], "forwards")
    equal(yield* read(unique("Cart"), { direction: "backward" }), [], "backwards")
  }),

  test("reads a stream in both directions, from a version, with any page size", function*() {
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

  test("reads many streams at once, each as it would be read alone", function*() {
    const streams = upTo(40).map((n) => ({ stream: unique("Cart"), size: n % 4, from: Version.make(n % 3 + 1) }))
    yield* Effect.forEach(streams, ({ size, stream }) => size > 0 ? append(stream, upTo(size)) : Effect.void, {
      concurrency: "unbounded",
      discard: true
    })
    const all = yield* Effect.forEach(streams, ({ from, stream }) => read(stream, { from }), {
      concurrency: "unbounded"
    })
    equal(all.map(versionsOf), streams.map(({ from, size }) => upTo(size).slice(from - 1)), "the versions")
    equal<ReadonlyArray<boolean>>(
      all.map((events, index) => events.every(({ stream }) => stream === streams[index]!.stream)),
      streams.map(() => true),
      "whether the events are of the stream"
    )
  }),

  test("reads the log from a position, by type, up to the high-water mark", function*() {
    const store = yield* EventStore
    const start = yield* store.head
    const [a, b] = [unique("Cart"), unique("Cart")]
    yield* append(a, [1, 2])
    yield* append(b, [3])
    yield* store.append(BellEvent, unique("Bell"), [rung(1)])
    yield* append(a, [4])
    const all = yield* Stream.runCollect(store.readAllEncoded({ after: start }))
    const mine = all.filter((e) => e.stream === a || e.stream === b || e.type === "BellRung")
    equal(mine.map((e) => `${e.stream === a ? "a" : e.stream === b ? "b" : "bell"}${e.version}`), [
      "a1",
      "a2",
      "b1",
      "bell1",
      "a3"
    ], "the order")
    ascending(all, "the positions increase")
    for (const pageSize of [1, 2, 5, 6]) {
      const carts = yield* Stream.runCollect(store.readAll(CartEvent, { after: start, pageSize }))
      equal(
        carts.filter((e) => e.stream === a || e.stream === b).map((e) => e.event),
        [added(1), added(2), added(3), added(4)],
        `one set of events, pages of ${pageSize}`
      )
      const withoutTags = yield* Stream.runCollect(
        store.readAllEncoded({ after: start, pageSize, where: { tags: [] } })
      )
      equal(withoutTags.map((e) => e.position), all.map((e) => e.position), "an empty list of tags selects every event")
      const rest = yield* Stream.runCollect(store.readAllEncoded({ after: mine[2]!.position, pageSize }))
      equal(
        rest.map((e) => e.position),
        all.filter((e) => e.position > mine[2]!.position).map((e) => e.position),
        "after a position"
      )
    }
    isAtLeast<bigint>(yield* store.head, mine[4]!.position, "the head has passed the last event")
  })
]

const expectations: ReadonlyArray<Case<EventStore>> = [
  test("checks every kind of expected version", function*() {
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

  test("writes 20 concurrent appends that expect any version", function*() {
    const stream = unique("Cart")
    const exits = yield* race(upTo(20).map((n) => append(stream, [n, n])))
    equal(exits.filter(Exit.isSuccess).length, 20, "appends written")
    const events = yield* read(stream)
    equal(versionsOf(events), upTo(40), "versions without a hole")
    ascending(events, "positions in the order of the versions")
    for (let i = 0; i < 40; i += 2) equal(events[i]!.event, events[i + 1]!.event, "events of one append stay together")
    const receipts = exits.flatMap((exit) => Exit.isSuccess(exit) ? [exit.value.version] : [])
    equal(receipts.toSorted((a, b) => a - b), upTo(20).map((n) => Version.make(n * 2)), "every receipt is true")
  }),

  test("writes one of 20 concurrent appends that expect no stream", function*() {
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

  test("writes one of 20 concurrent appends that expect the same version", function*() {
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

  test("writes all or none of 20 concurrent appends that expect a stream", function*() {
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

  test("loses no update of 20 concurrent read-and-append writers", function*() {
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

  test("writes all events of an append or none", function*() {
    const store = yield* EventStore
    const stream = unique("Cart")
    const broken = { _tag: "ItemAdded", sku: "x", quantity: 1.5 } as const
    const reason = yield* rejection(store.append(CartEvent, stream, [added(1), broken, added(2)]))
    equal(reason._tag, "InvalidRequest", "an event that breaks its Schema")
    includes(reason.message, "quantity", "the message names the field")
    const rollback = storeError(new StoreFailure({ message: "rolled back by the test", cause: undefined }))
    const error = yield* Effect.flip(store[internals].driver.append({
      stream: StreamId.make(stream),
      expected: "any",
      events: [storedEvent("ItemAdded", 1, { sku: "x", quantity: 1 })],
      inTransaction: () => Effect.fail(rollback)
    }))
    equal(error.message, rollback.message, "the failure in the transaction of the append")
    equal(yield* read(stream), [], "nothing was written")
    equal((yield* append(stream, [1], "noStream")).version, Version.make(1), "the stream can be begun")
  }),

  test("passes the recorded events to the transaction of an append", function*() {
    const store = yield* EventStore
    const stream = StreamId.make(unique("Cart"))
    let seen: ReadonlyArray<EncodedEvent> = []
    yield* store[internals].driver.append({
      stream,
      expected: "noStream",
      events: [
        storedEvent("ItemAdded", 1, { sku: "x", quantity: 1 }),
        storedEvent("ItemAdded", 1, { sku: "x", quantity: 2 })
      ],
      inTransaction: (events) =>
        Effect.sync(() => {
          seen = events
        })
    })
    equal(seen, yield* Stream.runCollect(store.readStreamEncoded(stream)), "the same records")
  })
]

const idempotency: ReadonlyArray<Case<EventStore>> = [
  test("returns the first receipt for a repeated command id", function*() {
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

  test("writes once and returns one receipt for 20 equal command ids", function*() {
    for (const expected of ["any", "noStream", Version.zero] as const) {
      const [stream, command] = [unique("Cart"), unique("command")]
      const exits = yield* race(upTo(20).map(() => append(stream, [1, 2], expected, command)))
      const receipts = exits.flatMap((exit) => Exit.isSuccess(exit) ? [exit.value] : [])
      equal(receipts.length, 20, `answers, expecting ${expected}`)
      for (const receipt of receipts) equal(receipt, receipts[0]!, "the receipt")
      equal((yield* read(stream)).length, 2, "events in the stream")
    }
  }),

  test("rejects a command id of another stream, also concurrently", function*() {
    const [a, b, command] = [unique("Cart"), unique("Cart"), unique("command")]
    yield* append(a, [1], "any", command)
    const reason = yield* rejection(append(b, [1], "any", command))
    equal<string>(
      reason._tag === "CommandIdReused" ? reason.firstStream : reason._tag,
      a,
      "the rejection names the first stream"
    )
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

  test("writes an interrupted append completely or not at all", function*() {
    const store = yield* EventStore
    const stream = unique("Cart")
    const commands = upTo(40).map(() => unique("command"))
    yield* Effect.forEach(commands, (command, i) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(append(stream, [i, i, i], "any", command))
        for (let step = 0; step < i % 8; step++) yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
      }), { concurrency: 8 })
    // An interruption does not wait for the database. The next append to the stream does.
    yield* append(stream, [1])
    const events = yield* read(stream)
    equal(versionsOf(events), upTo(events.length), "versions without a hole")
    for (const command of commands) {
      const written = events.filter((e) => e.metadata.commandId === command)
      if (written.length > 0) equal(written.length, 3, "all of its events or none")
      if (written.length === 0) continue
      const receipt = Option.getOrUndefined(yield* store.receipt(command))
      equal(receipt?.events.map((e) => e.id), written.map((e) => e.id), "the receipt tells which")
    }
    const { version } = yield* append(stream, [2])
    equal(versionsOf(yield* read(stream)).slice(0, version), upTo(version), "the stream after the next append")
  })
]

const subscriptions: ReadonlyArray<Case<EventStore>> = [
  test("catches up and continues live for one and for many subscribers", function*() {
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

  test("delivers each event once and in order under 32 concurrent writers", function*() {
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
      ascending(events, "the positions increase")
      for (const stream of writers) {
        equal(versionsOf(events.filter((e) => e.stream === stream)), upTo(10), "every event of every stream, in order")
      }
    }
  }),

  test("delivers later events after rolled-back appends", function*() {
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
      yield* Effect.ignore(store[internals].driver.append({
        stream: StreamId.make(unique("Cart")),
        expected: "any",
        events: [storedEvent("ItemAdded", 1, { sku: "x", quantity: n })],
        inTransaction: () => Effect.fail(storeError(new StoreFailure({ message: "rolled back", cause: undefined })))
      }))
      yield* store.append(BellEvent, stream, [rung(n)])
    }
    const events = yield* Effect.timeout(Fiber.join(listener), "30 seconds")
    equal(events.map((e) => e.event), upTo(3).map(rung), "the events")
  })
]

/**
 * The cases.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases: ReadonlyArray<Case<EventStore>> = [
  ...basics,
  ...expectations,
  ...idempotency,
  ...subscriptions,
  ...boundaries,
  ...boundedPages,
  ...input,
  ...decoding,
  ...closing,
  ...inlineProjections,
  ...identity,
  ...raw
]
