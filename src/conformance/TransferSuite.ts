/**
 * The conformance suite for exporting and importing a whole log. Every case uses empty stores of its own.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as StreamLifecycle from "../archive/StreamLifecycle.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import type { Receipt } from "../core/Receipt.ts"
import { StreamId } from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import { ofStoredTypes } from "../event/EventQuery.ts"
import type { StoredEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as LogTransfer from "../transfer/LogTransfer.ts"
import { seat as seatFor, SeatEvent, seatsOf } from "./AppendConditionRaces.ts"
import { added, append, appendStored, CartEvent, read, rejection, upTo, versionsOf } from "./EventStoreFixtures.ts"
import { type Case, equal, includes, isAbove } from "./Suite.ts"

type Store = EventStore["Service"]

const id = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`
const at = DateTime.makeUnsafe("2026-01-02T03:04:05.678Z")

const storedEvent = (
  position: number,
  stream: string,
  version: number,
  rest: Partial<StoredEvent> = {}
): StoredEvent => ({
  position: Position.make(BigInt(position)),
  stream: StreamId.make(stream),
  version: Version.make(version),
  id: id(position),
  type: "ItemAdded",
  schemaVersion: 1,
  data: `{"sku":"sku","quantity":${position}}`,
  metadata: "{}",
  tags: [],
  recordedAt: at,
  ...rest
})

/** Fills a log with gaps, unusual JSON texts, command ids, tags, hashes, and closed and archived streams. */
const fillWithEdgeCases = Effect.gen(function*() {
  const { driver } = (yield* EventStore)[internals]
  // `JSON.stringify` would not write these texts.
  const restored = yield* driver.restore({
    after: Position.start,
    events: [
      storedEvent(3, "Odd-ü💶", 1, {
        data: `{ "b" :1.0e0,\n"a":"\\u0000", "a":12345678901234567890}`,
        metadata: `{"actor" : "ann"}`
      }),
      storedEvent(7, "Odd-2", 1, {
        commandId: "command \"1\"",
        commandEvents: 2,
        tags: [`odd:{"a",\\ b}`, "e:"],
        schemaVersion: 7
      }),
      storedEvent(8, "Odd-2", 2, { data: "null", hash: "0123456789abcdef".repeat(4) }),
      storedEvent(20, "Odd-ü💶", 2, { data: `{"2":1,"1":2}`, type: "Unknown", recordedMicros: 7 })
    ]
  })
  equal(restored, { _tag: "Restored" }, "the restored events")
  for (const n of upTo(6)) yield* append(`Cart-${n}`, upTo(n), "any", `command-${n}`)
  yield* (yield* EventStore).append(SeatEvent, "Seat-1", [seatFor("show", "ann"), seatFor("other", "ann")])
  yield* appendStored("Raw-1", [{ id: id(99), type: "ItemAdded", schemaVersion: 1, data: "[[]]", metadata: "{}" }])
  for (const n of [2, 4, 5]) {
    yield* StreamLifecycle.close(CartEvent, `Cart-${n}`, added(0, "summary"), { metadata: { commandId: `close-${n}` } })
  }
  yield* StreamLifecycle.archive("Cart-4")
  yield* StreamLifecycle.archive("Cart-2")
  yield* append("Cart-1", [2])
})

/** The lines of an export of the current store. */
const exportedLines = Effect.map(Stream.runCollect(LogTransfer.export()), (lines) => Array.from(lines))
const exportedText = Effect.map(exportedLines, (lines) => lines.join(""))
const importLines = (lines: ReadonlyArray<string>, options?: Parameters<typeof LogTransfer.import>[1]) =>
  LogTransfer.import(Stream.fromIterable(lines), options)

/** Runs an effect on a new empty store. */
type OnNewStore = <A, E, R>(
  body: Effect.Effect<A, E, R>
) => Effect.Effect<A, E, Exclude<R, EventStore> | Scope.Scope>

const statuses = Effect.forEach(["Cart-1", "Cart-2", "Cart-4", "Cart-5", "Odd-2"], StreamLifecycle.status)

/** Fails unless streams, commands, queries and conditional appends work after the import, from `head` on. */
const checkAppendsAfterImport = Effect.fnUntraced(function*(
  head: Position.Position,
  receiptBefore: Option.Option<Receipt>
) {
  const store = yield* EventStore
  equal(yield* store.receipt("command-3"), receiptBefore, "the receipt of a command")
  equal(yield* append("Cart-3", upTo(3), "any", "command-3"), Option.getOrThrow(receiptBefore), "a repeated command")
  equal((yield* rejection(append("Cart-3", [9], "any", "command-3")))._tag, "CommandIdReused", "another payload")
  equal((yield* rejection(append("Cart-2", [1])))._tag, "StreamClosed", "an archived stream")
  equal((yield* rejection(append("Cart-5", [1])))._tag, "StreamClosed", "a closed stream")
  equal((yield* store.readByQuery(ofStoredTypes([seatsOf("show")]))).events.length, 1, "events by tag")
  const { condition } = yield* store.readByQuery(ofStoredTypes([seatsOf("none")]))
  yield* store.appendIf({ ...condition, after: head }, SeatEvent, "Seat-2", [seatFor("show", "ben")])
  const receipt = yield* append("Cart-3", [4], Version.make(3))
  isAbove<bigint>(receipt.position, head, "the position of the next event")
  equal(versionsOf(yield* read("Cart-3")), upTo(4), "the versions of the stream")
})

const importsAnEqualLog = Effect.fnUntraced(function*(onNewStore: OnNewStore) {
  yield* fillWithEdgeCases
  const lines = yield* exportedLines
  const exportProgress: Array<LogTransfer.Progress> = []
  const onProgress = (p: LogTransfer.Progress) => Effect.sync(() => exportProgress.push(p))
  const paged = yield* Stream.runCollect(LogTransfer.export({ pageSize: 7, onProgress }))
  equal(paged.join(""), lines.join(""), "the export with another page size")
  const head = yield* (yield* EventStore).head
  const last = exportProgress[exportProgress.length - 1]!
  equal(
    [last.events, last.position, last.head, last.line],
    [lines.length - 4, head, head, lines.length],
    "the last progress of the export"
  )
  const receiptBefore = yield* (yield* EventStore).receipt("command-3")
  const before = yield* statuses
  yield* onNewStore(Effect.gen(function*() {
    const progress: Array<LogTransfer.Progress> = []
    const done = yield* importLines(lines, { onProgress: (p) => Effect.sync(() => progress.push(p)) })
    equal(done, { events: lines.length - 4, written: lines.length - 4, archived: 2, head }, "the result")
    equal(progress[progress.length - 1], last, "the last progress of the import")
    equal(yield* exportedText, lines.join(""), "the export of the imported log")
    equal(yield* statuses, before, "the status of the streams")
    yield* checkAppendsAfterImport(head, receiptBefore)
    const again = yield* Effect.flip(importLines(lines))
    equal(again._tag, "TransferRejected", "an import over newer events")
  }))
})

/** Imports ever longer parts of an export, then the whole. */
const resumesAfterShortExports = Effect.fnUntraced(function*(lines: ReadonlyArray<string>) {
  const { driver } = (yield* EventStore)[internals]
  for (const part of [0, 1, 2, 9, 501, 700, lines.length - 2, lines.length - 1]) {
    const error = yield* Effect.flip(importLines(lines.slice(0, part)))
    equal<string | number>(
      error._tag === "DamagedExport" ? error.line : error._tag,
      part + 1,
      `the line of an export cut after ${part} lines`
    )
  }
  const { written } = yield* importLines(lines)
  isAbove(written, 0, "the events that the last import wrote")
  isAbove(500, written, "the bound on the events that the last import wrote")
  equal(yield* exportedText, lines.join(""), "the log")
  equal(yield* driver.last, yield* driver.head, "the end of the log")
})

/** Interrupts imports while they wait, read and write. */
const resumesAfterInterruptions = Effect.fnUntraced(function*(lines: ReadonlyArray<string>) {
  const { driver } = (yield* EventStore)[internals]
  for (let round = 0; round < 12; round++) {
    const fiber = yield* Effect.forkChild(LogTransfer.import(Stream.rechunk(Stream.fromIterable(lines), 20)))
    yield* Effect.sleep(round * 2)
    yield* Fiber.interrupt(fiber)
    const own = (yield* driver.readStored({ after: Position.start, limit: 10_000 })).events
    equal<ReadonlyArray<string | undefined>>(
      own.map(({ position }) => `"position":"${position}"`),
      own.map((_, i) => /"position":"\d+"/.exec(lines[i + 1]!)?.[0]),
      "a prefix of the log without gaps"
    )
  }
  yield* importLines(lines)
  equal(yield* exportedText, lines.join(""), "the log")
})

const resumesAnImport = Effect.fnUntraced(function*(onNewStore: OnNewStore) {
  yield* fillWithEdgeCases
  for (let n = 0; n < 40; n++) yield* append(`More-${n % 3}`, upTo(30))
  const lines = yield* exportedLines
  yield* onNewStore(resumesAfterShortExports(lines))
  yield* onNewStore(resumesAfterInterruptions(lines))
})

const rejectsAnotherLog = Effect.fnUntraced(function*(onNewStore: OnNewStore) {
  yield* fillWithEdgeCases
  const lines = yield* exportedLines
  yield* onNewStore(Effect.gen(function*() {
    yield* append("Cart-1", [1])
    const before = yield* exportedText
    const other = yield* Effect.flip(importLines(lines))
    equal(other._tag, "TransferRejected", "an import over other events")
    includes(other.message, "Import into an empty log", "the message")
    for (const n of upTo(60)) yield* append("Cart-1", [n])
    const more = yield* Effect.flip(importLines(lines))
    equal(more._tag, "TransferRejected", "an import over more events")
    includes(more.message, "Import into an empty log", "the message")
    equal((yield* exportedLines).slice(1, 2), before.split("\n").slice(1, 2).map((line) => `${line}\n`), "the log")
    equal(versionsOf(yield* read("Cart-1")), upTo(61), "the stream")
  }))
})

/** Batches that no log can contain after `a` version 1, `b` version 1, and the closing event of `b`. The event at position 8 is the wrong one. */
const invalidBatches: ReadonlyArray<readonly [string, ReadonlyArray<StoredEvent>]> = [
  ["a gap in the versions of the batch", [storedEvent(7, "a", 2), storedEvent(8, "a", 4)]],
  ["a gap after the stored version", [storedEvent(8, "a", 3)]],
  ["a stored version", [storedEvent(8, "a", 1)]],
  ["a version twice in the batch", [storedEvent(7, "c", 1), storedEvent(8, "c", 1)]],
  ["a new stream that starts at version 2", [storedEvent(7, "c", 1), storedEvent(8, "d", 2)]],
  ["a position twice", [storedEvent(8, "c", 1), storedEvent(8, "c", 2)]],
  ["descending positions", [storedEvent(9, "c", 1), storedEvent(8, "c", 2)]],
  ["a closed stream", [storedEvent(8, "b", 3)]],
  ["a stream closed in the batch", [storedEvent(7, "c", 1, { closes: true }), storedEvent(8, "c", 2)]],
  ["a stored command id", [storedEvent(8, "c", 1, { commandId: "c", commandEvents: 1 })]],
  [
    "a command id twice in the batch",
    [
      storedEvent(7, "c", 1, { commandId: "d", commandEvents: 1 }),
      storedEvent(8, "c", 2, { commandId: "d", commandEvents: 1 })
    ]
  ]
]

const restoresOnlyValidBatches = Effect.gen(function*() {
  const { driver } = (yield* EventStore)[internals]
  const start = [
    storedEvent(2, "a", 1, { commandId: "c", commandEvents: 1 }),
    storedEvent(5, "b", 1),
    storedEvent(6, "b", 2, { closes: true })
  ]
  equal(yield* driver.restore({ after: Position.start, events: start }), { _tag: "Restored" }, "the first batch")
  const six = Position.make(6n)
  for (const [what, events] of invalidBatches) {
    const result = yield* driver.restore({ after: six, events })
    equal(result._tag === "Rejected" ? result.position : result, Position.make(8n), what)
  }
  equal(
    yield* driver.restore({ after: Position.make(5n), events: [storedEvent(8, "a", 2)] }),
    { _tag: "WrongEnd", last: six },
    "a batch that does not start at the end"
  )
  equal((yield* driver.readStored({ after: Position.start, limit: 10 })).events, start, "the log")
  const next = yield* driver.restore({ after: six, events: [storedEvent(8, "a", 2)] })
  equal(next, { _tag: "Restored" }, "the next batch")
})

const transfersAnEmptyLog = Effect.gen(function*() {
  const lines = yield* exportedLines
  equal(lines.length, 2, "the header and the footer")
  equal((yield* importLines(lines)).events, 0, "the imported events")
  equal((yield* append("Cart-1", [1])).version, Version.make(1), "the first version afterwards")
})

/**
 * Returns the cases. `fresh` makes an empty store that nothing else uses, each time it runs.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases = <E>(fresh: Effect.Effect<Store, E, Scope.Scope>): ReadonlyArray<Case<never>> => {
  const onNewStore: OnNewStore = (body) =>
    Effect.flatMap(Effect.orDie(fresh), (store) => Effect.provideService(body, EventStore, store))
  const test = <E2>(name: string, body: Effect.Effect<void, E2, EventStore | Scope.Scope>): Case<never> => ({
    name,
    test: Effect.flatMap(fresh, (store) => Effect.provideService(body, EventStore, store))
  })
  return [
    test("imports an exported log as an equal log that accepts new events", importsAnEqualLog(onNewStore)),
    test("resumes an interrupted import at any point", resumesAnImport(onNewStore)),
    test("rejects an import into another log without writing", rejectsAnotherLog(onNewStore)),
    test("restores valid batches byte for byte and rejects all others", restoresOnlyValidBatches),
    test("exports and imports an empty log", transfersAnEmptyLog)
  ]
}
