/**
 * The conformance suite of reads of stored events.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { internals } from "../core/internals.ts"
import type { Position } from "../core/Position.ts"
import { StreamId } from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import type { NewEvent, StoredEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { append, appendStored, ascending, read, storedEvent, upTo } from "./EventStoreFixtures.ts"
import { type Case, equal, isAtLeast, test, unique } from "./Suite.ts"

/**
 * Returns the stored events of some streams after a position, read in pages.
 *
 * @since 0.1.0
 * @category constructors
 */
export const readStored = Effect.fnUntraced(function*(after: Position, streams: ReadonlyArray<string>, limit = 500) {
  const { driver } = (yield* EventStore)[internals]
  const found: Array<StoredEvent> = []
  let from = after
  while (true) {
    const { events, head } = yield* driver.readStored({ after: from, limit })
    isAtLeast(limit, events.length, "a page is no longer than its limit")
    if (events.length > 0) ascending(events, "a page is in order")
    equal(
      events.filter(({ position }) => position <= from || position > head),
      [],
      "a page is between `after` and the head"
    )
    for (const event of events) if (streams.includes(event.stream)) found.push(event)
    if (events.length < limit) return found
    from = events[events.length - 1]!.position
  }
})

/** Returns a stored event without the fields that the store assigns. */
const withoutAssigned = ({ position: _position, recordedAt: _recordedAt, hash: _hash, ...event }: StoredEvent) => event

/**
 * The cases.
 *
 * @since 0.1.0
 * @category constructors
 */
export const raw: ReadonlyArray<Case<EventStore>> = [
  test("returns stored events byte for byte, the first with the command id", function*() {
    const store = yield* EventStore
    const after = yield* store.head
    const [a, b] = [StreamId.make(unique("Cart")), StreamId.make(unique("Cart"))]
    const command = unique("command")
    const plain: NewEvent = {
      ...storedEvent("ItemAdded", 1, null),
      // The store must not normalise white space, keys, numbers or escapes.
      data: `{ "quantity" :1.0e0,\n"sku": "\\u0041\\u0000é💶", "sku":"x"}`,
      metadata: `{"actor" : "ann"}`
    }
    const tagged: NewEvent = { ...storedEvent("CheckedOut", 7, {}), tags: ["cart:1", `odd:{"a",\\ b}`, "e:"] }
    yield* store[internals].driver.append({ stream: a, expected: "any", events: [plain, tagged], commandId: command })
    yield* appendStored(b, [{ ...plain, id: globalThis.crypto.randomUUID() }])
    const one = { ...storedEvent("ItemAdded", 1, {}), id: globalThis.crypto.randomUUID() }
    yield* store[internals].driver.append({ stream: a, expected: "any", events: [one], commandId: `${command}-2` })
    const events = yield* readStored(after, [a, b])
    const of = (stream: StreamId, version: number, event: NewEvent) => ({
      stream,
      version: Version.make(version),
      id: event.id,
      type: event.type,
      schemaVersion: event.schemaVersion,
      data: event.data,
      metadata: event.metadata,
      tags: event.tags ?? []
    })
    equal(events.map(withoutAssigned), [
      { ...of(a, 1, plain), commandId: command, commandEvents: 2 },
      of(a, 2, tagged),
      { ...of(b, 1, plain), id: events[2]!.id },
      { ...of(a, 3, one), commandId: `${command}-2`, commandEvents: 1 }
    ], "the rows")
  }),

  test("returns the same stored events as decoded reads, with any page size", function*() {
    const store = yield* EventStore
    const after = yield* store.head
    const streams = upTo(3).map(() => unique("Cart"))
    for (const n of upTo(4)) {
      yield* Effect.forEach(streams, (stream) => append(stream, upTo(n)), { concurrency: "unbounded" })
    }
    const expected = yield* readStored(after, streams)
    equal(expected.length, 30, "all events")
    for (const limit of [1, 7]) equal(yield* readStored(after, streams, limit), expected, `pages of ${limit}`)
    for (const stream of streams) {
      const events = yield* read(stream)
      equal(
        expected.filter((event) => event.stream === stream).map(({ id, position, recordedAt, version }) => ({
          id,
          position,
          version,
          recordedAt: DateTime.toEpochMillis(recordedAt)
        })),
        events.map(({ id, position, recordedAt, version }) => ({
          id,
          position,
          version,
          recordedAt: DateTime.toEpochMillis(recordedAt)
        })),
        "position, version, id and time"
      )
    }
    const { events, head } = yield* store[internals].driver.readStored({
      after: expected[expected.length - 1]!.position,
      limit: 10
    })
    isAtLeast<bigint>(head, expected[expected.length - 1]!.position, "the head")
    equal(events.filter((e) => e.position > head), [], "events above the head")
  })
]
