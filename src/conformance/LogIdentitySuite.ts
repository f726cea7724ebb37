/**
 * The part of the event store suite on the identity of the log: a position or a version that was read with an event, and where the log has
 * another event by now, is an error.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import * as Version from "../core/Version.ts"
import { ofStoredTypes } from "../event/EventQuery.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { append, CartEvent, read, storedEvent, versionsOf } from "./EventStoreFixtures.ts"
import { type Case, equal, includes, isAtLeast, test, unique } from "./Suite.ts"

const reasonOf = (error: { readonly _tag: string }): string =>
  error instanceof EventStoreError ? error.reason._tag : error._tag

/** The id of an event that a lost log had. */
const lostId = Effect.sync(() => storedEvent("ItemAdded", 1, {}).id)

/**
 * The cases.
 *
 * @since 0.1.0
 * @category constructors
 */
export const identity: ReadonlyArray<Case<EventStore>> = [
  test("appends only if the stream's last event is the expected one", function*() {
    const store = yield* EventStore
    const stream = unique("Cart")
    const first = yield* append(stream, [1, 2], "noStream")
    const at = (lastEventId: string | undefined, tags: ReadonlyArray<string> = []) =>
      Effect.map(
        store[internals].driver.append({
          stream: first.stream,
          expected: first.version,
          lastEventId,
          events: [{
            id: globalThis.crypto.randomUUID(),
            type: "ItemAdded",
            schemaVersion: 1,
            data: "{}",
            metadata: "{}",
            tags
          }]
        }),
        ({ _tag }) => _tag
      )
    const lost = yield* lostId
    equal(yield* at(lost), "Diverged", "another event, alone")
    equal(yield* at(lost, ["sku:a"]), "Diverged", "another event, with tags")
    equal(yield* at(first.events[0]!.id), "Diverged", "an earlier event of the stream")
    equal(yield* at(first.events[1]!.id), "Appended", "the last event")
    equal(versionsOf(yield* Stream.runCollect(store.readStreamEncoded(stream))), [1, 2, 3], "only that append")
  }),

  test("names the missing event when an append rests on it", function*() {
    const store = yield* EventStore
    const stream = unique("Cart")
    yield* append(stream, [1])
    const lastEventId = yield* lostId
    const batch = [CartEvent.cases.ItemAdded.make({ sku: "x", quantity: 1 })]
    const error = yield* Effect.flip(store.append(CartEvent, stream, batch, { expected: Version.make(1), lastEventId }))
    equal(reasonOf(error), "LogDiverged", "the reason")
    equal(error.message.includes(`version 1 of stream "${stream}"`), true, "the place in the message")
    for (const expected of ["any", "streamExists", "noStream"] as const) {
      const invalid = yield* Effect.flip(store.append(CartEvent, stream, batch, { expected, lastEventId }))
      equal(reasonOf(invalid), "InvalidRequest", `with the expected version ${expected}`)
    }
    const noId = yield* Effect.flip(
      store.append(CartEvent, stream, batch, { expected: Version.make(1), lastEventId: "x" })
    )
    equal(reasonOf(noId), "InvalidRequest", "an id that no event can have")
    equal((yield* read(stream)).length, 1, "nothing was written")
  }),

  test("appends in one batch apart from those that rest on missing events", function*() {
    const streams = [unique("Cart"), unique("Cart"), unique("Cart")]
    const store = yield* EventStore
    for (const stream of streams) yield* append(stream, [1])
    const lost = yield* lostId
    const outcomes = yield* Effect.forEach(
      streams,
      (stream, index) =>
        store.append(CartEvent, stream, [CartEvent.cases.ItemAdded.make({ sku: "x", quantity: 2 })], {
          expected: Version.make(1),
          ...(index === 1 ? { lastEventId: lost } : {})
        }).pipe(Effect.match({ onSuccess: ({ version }) => version, onFailure: reasonOf })),
      { concurrency: "unbounded" }
    )
    equal(outcomes, [2, "LogDiverged", 2], "the outcomes")
  }),

  test("rejects a condition that rests on events that the log does not have", function*() {
    const store = yield* EventStore
    const stream = unique("Cart")
    yield* append(stream, [1])
    const { condition } = yield* store.readByQuery(ofStoredTypes([{ tags: [`cart:${stream}`] }]))
    const lost = LogPosition.make((yield* append(stream, [1])).position, yield* lostId)
    const batch = [CartEvent.cases.ItemAdded.make({ sku: "x", quantity: 1 })]
    const basis = [...condition.basis ?? [], lost]
    const error = yield* Effect.flip(store.appendIf({ ...condition, basis }, CartEvent, stream, batch))
    equal(reasonOf(error), "LogDiverged", "the reason")
    equal((yield* store.appendIf(condition, CartEvent, stream, batch)).version, 3, "the condition as it was read")
  }),

  test("reads a page of a correlation only if the log has the events that were read before", function*() {
    const store = yield* EventStore
    const { driver } = store[internals]
    const correlationId = unique("correlation")
    const event = CartEvent.cases.ItemAdded.make({ sku: "x", quantity: 1 })
    const { events: [first, second] } = yield* store.append(CartEvent, unique("Cart"), [event, event], {
      metadata: { correlationId }
    })
    const page = (...basis: ReadonlyArray<LogPosition.LogPosition>) =>
      driver.readCorrelation({ correlationId, after: first!.position, basis, limit: 10 })
    const known = LogPosition.ofEvent(first!)
    equal((yield* page(known)).events.map(({ id }) => id), [second!.id], "the event after it")
    equal((yield* page()).events.map(({ id }) => id), [second!.id], "without a basis")
    const error = yield* Effect.flip(page(known, LogPosition.make(second!.position, yield* lostId)))
    equal(reasonOf(error), "LogDiverged", "a log with another event")
  }),

  test("reads after a position only if the log has the event there", function*() {
    const store = yield* EventStore
    const { driver } = store[internals]
    const stream = unique("Cart")
    const { events: [first, second] } = yield* append(stream, [1, 2])
    const lost = yield* lostId
    const after = (position: LogPosition.LogPosition) =>
      Stream.runCollect(Stream.take(store.subscribeEncoded({ after: position, where: { streamPrefix: stream } }), 1))
    equal(versionsOf(yield* after(LogPosition.ofEvent(first!))), [2], "the event after it")
    for (const position of [second!.position, Position.make(second!.position + 1_000_000n)]) {
      const error = yield* Effect.flip(after(LogPosition.make(position, lost)))
      equal(reasonOf(error), "LogDiverged", `an event that is not at ${position}`)
    }
    const error = yield* Effect.flip(after({ position: second!.position, eventId: "no id" }))
    equal(reasonOf(error), "InvalidRequest", "an id that no event can have")
    const page = yield* driver.readAll({ after: first!.position, afterEventId: first!.id, limit: 1000 })
    equal(yield* driver.eventIds([page.head]), [page.headEventId], "the event at the high-water mark")
    const countSince = first!.position
    const counted = yield* driver.readAll({ after: first!.position, countSince, limit: 1000 })
    equal(counted.headCount, { since: countSince, events: counted.events.length }, "the events up to the mark")
    isAtLeast(Number(counted.assigned ?? 0n), Number(counted.head), "the last position assigned")
    const before = (events: number) =>
      driver.readAll({
        after: second!.position,
        afterEventId: second!.id,
        afterCount: { since: Position.make(first!.position - 1n), events },
        limit: 1
      })
    equal((yield* before(2)).head, counted.head, "the events before a position")
    const fewer = yield* Effect.flip(before(3))
    equal(reasonOf(fewer), "LogDiverged", "an event before a position that was lost")
    includes(fewer.message, "1 of the events", "its message")
    equal(
      yield* driver.eventIds([second!.position, Position.start, first!.position]),
      [second!.id, undefined, first!.id],
      "the ids by position"
    )
  })
]
