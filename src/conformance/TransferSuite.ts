/**
 * The conformance suite of event stores, the part on exporting and importing a whole log. It needs stores of its own.
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
import { StreamId } from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
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

/** A log with whatever a log can have in it. */
const odd = Effect.gen(function*() {
  const { driver } = (yield* EventStore)[internals]
  // With gaps, and texts that JSON.stringify would not write.
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
  equal(restored, { _tag: "Restored" }, "the odd events")
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

/** The text of an export, in lines. */
const exported = Effect.map(Stream.runCollect(LogTransfer.export()), (lines) => Array.from(lines))
const of = (lines: ReadonlyArray<string>) => Stream.fromIterable(lines)

/**
 * The tests, on stores that `fresh` makes: each time one that is empty and nobody else's.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases = <E>(fresh: Effect.Effect<Store, E, Scope.Scope>): ReadonlyArray<Case<never>> => {
  const on = (store: Store) => Effect.provideService(EventStore, store)
  const scoped = <E2>(
    name: string,
    body: Effect.Effect<void, E2, EventStore | Scope.Scope>
  ): Case<never> => ({ name, test: Effect.flatMap(fresh, (store) => on(store)(body)) })
  const another = <A, E2, R>(body: Effect.Effect<A, E2, R>) =>
    Effect.flatMap(Effect.orDie(fresh), (store) => on(store)(body))

  return [
    scoped(
      "a log that is exported and imported is the same log, and goes on as it would have",
      Effect.gen(function*() {
        yield* odd
        const lines = yield* exported
        const seen: Array<LogTransfer.Progress> = []
        equal(
          (yield* Stream.runCollect(
            LogTransfer.export({ pageSize: 7, onProgress: (p) => Effect.sync(() => seen.push(p)) })
          ))
            .join(""),
          lines.join(""),
          "in pages of any size"
        )
        const head = yield* (yield* EventStore).head
        const last = seen[seen.length - 1]!
        equal(
          [last.events, last.position, last.head, last.line],
          [lines.length - 4, head, head, lines.length],
          "progress"
        )
        const first = yield* (yield* EventStore).receipt("command-3")
        const statuses = Effect.forEach(["Cart-1", "Cart-2", "Cart-4", "Cart-5", "Odd-2"], StreamLifecycle.status)
        const before = yield* statuses
        yield* another(Effect.gen(function*() {
          const told: Array<LogTransfer.Progress> = []
          const done = yield* LogTransfer.import(of(lines), { onProgress: (p) => Effect.sync(() => told.push(p)) })
          equal(done, { events: lines.length - 4, written: lines.length - 4, archived: 2, head }, "what is told")
          equal(told[told.length - 1], last, "the progress")
          equal((yield* exported).join(""), lines.join(""), "the export of the import")
          equal(yield* statuses, before, "the status of the streams")
          const store = yield* EventStore
          equal(yield* store.receipt("command-3"), first, "a receipt")
          equal(yield* append("Cart-3", [9], "any", "command-3"), Option.getOrThrow(first), "a command again")
          equal((yield* rejection(append("Cart-2", [1])))._tag, "StreamClosed", "a closed stream, archived")
          equal((yield* rejection(append("Cart-5", [1])))._tag, "StreamClosed", "a closed stream")
          equal((yield* store.readByQuery([seatsOf("show")])).events.length, 1, "by tag")
          const { condition } = yield* store.readByQuery([seatsOf("none")])
          yield* store.appendIf({ ...condition, after: head }, SeatEvent, "Seat-2", [seatFor("show", "ben")])
          const receipt = yield* append("Cart-3", [4], Version.make(3))
          isAbove<bigint>(receipt.position, head, "the position after the last")
          equal(versionsOf(yield* read("Cart-3")), upTo(4), "versions go on")
          equal(
            (yield* LogTransfer.import(of(lines)).pipe(Effect.flip))._tag,
            "TransferRejected",
            "a log that has gone on"
          )
        }))
      })
    ),

    scoped(
      "an import goes on where it was interrupted, wherever that was",
      Effect.gen(function*() {
        yield* odd
        for (let n = 0; n < 40; n++) yield* append(`More-${n % 3}`, upTo(30))
        const lines = yield* exported
        const text = lines.join("")
        yield* another(Effect.gen(function*() {
          const { driver } = (yield* EventStore)[internals]
          for (const part of [0, 1, 2, 9, 501, 700, lines.length - 2, lines.length - 1]) {
            const error = yield* Effect.flip(LogTransfer.import(of(lines.slice(0, part))))
            equal<string | number>(
              error._tag === "DamagedExport" ? error.line : error._tag,
              part + 1,
              `the line of an export cut after ${part} lines`
            )
          }
          const { written } = yield* LogTransfer.import(of(lines))
          isAbove(written, 0, "some lines were missing")
          isAbove(500, written, "no more was missing than the last lines")
          equal((yield* exported).join(""), text, "the log")
          equal(yield* driver.last, yield* driver.head, "its end")
        }))
        yield* another(Effect.gen(function*() {
          const { driver } = (yield* EventStore)[internals]
          // Interrupted while it waits, while it reads, and while it writes.
          for (let round = 0; round < 12; round++) {
            const fiber = yield* Effect.forkChild(LogTransfer.import(Stream.rechunk(of(lines), 20)))
            yield* Effect.sleep(round * 2)
            yield* Fiber.interrupt(fiber)
            const own = (yield* driver.readStored({ after: Position.start, limit: 10_000 })).events
            equal<ReadonlyArray<string | undefined>>(
              own.map(({ position }) => `"position":"${position}"`),
              own.map((_, i) => /"position":"\d+"/.exec(lines[i + 1]!)?.[0]),
              "a prefix of the log without gaps"
            )
          }
          yield* LogTransfer.import(of(lines))
          equal((yield* exported).join(""), text, "the log")
        }))
      })
    ),

    scoped(
      "an import to another log is refused, and writes nothing",
      Effect.gen(function*() {
        yield* odd
        const lines = yield* exported
        yield* another(Effect.gen(function*() {
          yield* append("Cart-1", [1])
          const before = (yield* exported).join("")
          const other = yield* Effect.flip(LogTransfer.import(of(lines)))
          equal(other._tag, "TransferRejected", "other events")
          includes(other.message, "Import into an empty log", "the message")
          for (const n of upTo(60)) yield* append("Cart-1", [n])
          const more = yield* Effect.flip(LogTransfer.import(of(lines)))
          equal(more._tag, "TransferRejected", "more events")
          includes(more.message, "Import into an empty log", "the message")
          equal((yield* exported).slice(1, 2), before.split("\n").slice(1, 2).map((line) => `${line}\n`), "the log")
          equal(versionsOf(yield* read("Cart-1")), upTo(61), "the stream")
        }))
      })
    ),

    scoped(
      "events are restored byte for byte, all or none, and none that cannot be there",
      Effect.gen(function*() {
        const { driver } = (yield* EventStore)[internals]
        const start = [
          storedEvent(2, "a", 1, { commandId: "c", commandEvents: 1 }),
          storedEvent(5, "b", 1),
          storedEvent(6, "b", 2, { closes: true })
        ]
        equal(yield* driver.restore({ after: Position.start, events: start }), { _tag: "Restored" }, "a beginning")
        const six = Position.make(6n)
        const bad: ReadonlyArray<readonly [string, ReadonlyArray<StoredEvent>]> = [
          ["a hole", [storedEvent(7, "a", 2), storedEvent(8, "a", 4)]],
          ["a hole after what is there", [storedEvent(8, "a", 3)]],
          ["a version again", [storedEvent(8, "a", 1)]],
          ["a version again in the batch", [storedEvent(7, "c", 1), storedEvent(8, "c", 1)]],
          ["a new stream that begins late", [storedEvent(7, "c", 1), storedEvent(8, "d", 2)]],
          ["a position again", [storedEvent(8, "c", 1), storedEvent(8, "c", 2)]],
          ["positions that fall", [storedEvent(9, "c", 1), storedEvent(8, "c", 2)]],
          ["a closed stream", [storedEvent(8, "b", 3)]],
          ["a stream closed in the batch", [storedEvent(7, "c", 1, { closes: true }), storedEvent(8, "c", 2)]],
          ["a command id again", [storedEvent(8, "c", 1, { commandId: "c", commandEvents: 1 })]],
          [
            "a command id twice",
            [
              storedEvent(7, "c", 1, { commandId: "d", commandEvents: 1 }),
              storedEvent(8, "c", 2, { commandId: "d", commandEvents: 1 })
            ]
          ]
        ]
        for (const [what, events] of bad) {
          const result = yield* driver.restore({ after: six, events })
          equal(result._tag === "Refused" ? result.position : result, Position.make(8n), what)
        }
        equal(
          yield* driver.restore({ after: Position.make(5n), events: [storedEvent(8, "a", 2)] }),
          { _tag: "Elsewhere", last: six },
          "not at the end"
        )
        equal((yield* driver.readStored({ after: Position.start, limit: 10 })).events, start, "the log")
        equal(yield* driver.restore({ after: six, events: [storedEvent(8, "a", 2)] }), { _tag: "Restored" }, "the next")
      })
    ),

    scoped(
      "an empty log is exported and imported too",
      Effect.gen(function*() {
        const lines = yield* exported
        equal(lines.length, 2, "a header and a footer")
        equal((yield* LogTransfer.import(of(lines))).events, 0, "nothing")
        equal((yield* append("Cart-1", [1])).version, Version.make(1), "it goes on")
      })
    )
  ]
}
