/**
 * The part of the event store suite on closed and archived streams.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as StreamLifecycle from "../archive/StreamLifecycle.ts"
import * as CommandContext from "../command/CommandContext.ts"
import { EventStoreError, StreamClosed } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import * as Version from "../core/Version.ts"
import * as Event from "../event/Event.ts"
import { ofStoredTypes } from "../event/EventQuery.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { seat as seatFor, SeatEvent, seatsOf } from "./AppendConditionRaces.ts"
import { added, append, CartEvent, race, read, rejection, upTo, versionsOf } from "./EventStoreFixtures.ts"
import { type Case, equal, includes, isAbove, isAtLeast, test, unique } from "./Suite.ts"

const summary = added(0, "summary")
const seat = (show: string) => seatFor(show, "ann")
const close = (stream: string, options?: Parameters<EventStore["Service"]["close"]>[3]) =>
  StreamLifecycle.close(CartEvent, stream, summary, options)
const tagOf = (stream: string) =>
  Effect.map(StreamLifecycle.status(stream), ({ _tag, version }) => `${_tag} ${version}`)
const isClosed = (exit: Exit.Exit<unknown, unknown>): boolean => {
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  return error instanceof EventStoreError && error.reason._tag === "StreamClosed"
}

/**
 * The cases on closing and archiving.
 *
 * @since 0.1.0
 * @category constructors
 */
export const closing: ReadonlyArray<Case<EventStore>> = [
  test("records the metadata of the closing with the last event", function*() {
    const closedIn = Effect.fnUntraced(function*(options?: Parameters<typeof close>[1]) {
      const stream = unique("Cart")
      yield* append(stream, [1])
      yield* close(stream, options)
      const [, event] = yield* Stream.runCollect((yield* EventStore).readStreamEncoded(stream))
      return event!
    })
    const cause = yield* closedIn()
    equal(cause.metadata, { actor: "anonymous" }, "the default actor")
    const caused = CommandContext.provide(CommandContext.causedBy(cause, "the closer"))
    const around = { actor: "the closer", correlationId: cause.id, causationId: cause.id }
    equal((yield* caused(closedIn())).metadata, around, "as it is around")
    const commandId = unique("command")
    const { metadata } = yield* caused(closedIn({ metadata: { actor: "ann", commandId } }))
    equal(
      { ...metadata, payloadHash: undefined },
      { ...around, actor: "ann", commandId, payloadHash: undefined },
      "unless it is said otherwise"
    )
  }),

  test("rejects every append to a closed stream, and still reads it", function*() {
    const store = yield* EventStore
    const stream = unique("Cart")
    yield* append(stream, [1, 2])
    equal(yield* tagOf(stream), "open 2", "before")
    const receipt = yield* close(stream)
    equal(receipt.version, Version.make(3), "the receipt")
    equal(yield* tagOf(stream), "closed 3", "after")
    const show = unique("show")
    const { condition } = yield* store.readByQuery(ofStoredTypes([seatsOf(show)]))
    const expectedError = new StreamClosed({ stream, version: Version.make(3) })
    for (const archived of [false, true]) {
      if (archived) equal(yield* StreamLifecycle.archive(stream), 3, "events moved")
      for (const expected of ["any", "noStream", "streamExists", Version.make(3), Version.make(2)] as const) {
        equal(yield* rejection(append(stream, [1], expected)), expectedError, `one event, expecting ${expected}`)
        equal(yield* rejection(append(stream, [1, 2], expected)), expectedError, `two events, expecting ${expected}`)
        if (expected !== "noStream") {
          equal(yield* rejection(close(stream, { expected })), expectedError, "closing it again")
        }
      }
      equal(yield* rejection(append(stream, [1], "any", unique("command"))), expectedError, "under a command id")
      equal(yield* rejection(store.append(SeatEvent, stream, [seat(show)])), expectedError, "an event with tags")
      equal(
        yield* rejection(store.appendIf(condition, SeatEvent, stream, [seat(show)])),
        expectedError,
        "on a condition"
      )
      equal(
        yield* rejection(
          store[internals].driver.append({
            stream: receipt.stream,
            expected: "any",
            events: [{
              id: globalThis.crypto.randomUUID(),
              type: "ItemAdded",
              schemaVersion: 1,
              data: "{}",
              metadata: "{}"
            }],
            inTransaction: () => Effect.die("there is nothing to project")
          }).pipe(
            Effect.flatMap((result) =>
              result._tag === "Closed"
                ? Effect.fail(new StreamClosed({ stream, version: result.version }))
                : Effect.void
            )
          )
        ),
        expectedError,
        "with projections in its transaction"
      )
      equal((yield* read(stream)).map((e) => e.event), [added(1), added(2), summary], "the events")
    }
    equal(yield* tagOf(stream), "archived 3", "at last")
  }),

  test("rejects only the closed stream among concurrent appends", function*() {
    const [gone, moved] = [unique("Cart"), unique("Cart")]
    for (const stream of [gone, moved]) {
      yield* append(stream, [1])
      yield* close(stream)
    }
    yield* StreamLifecycle.archive(moved)
    const open = upTo(30).map(() => unique("Cart"))
    // The first append is written alone; the others wait for it and are written in one group commit.
    const exits = yield* race(
      open.flatMap((stream) => [append(stream, [1, 2]), append(gone, [1]), append(moved, [1, 2])])
    )
    for (const [i, exit] of exits.entries()) {
      equal([Exit.isSuccess(exit), isClosed(exit)], [i % 3 === 0, i % 3 !== 0], `append ${i}: success, closed`)
    }
    for (const stream of open) equal(versionsOf(yield* read(stream)), [1, 2], "an open stream")
    for (const stream of [gone, moved]) equal(versionsOf(yield* read(stream)), [1, 2], "a closed stream")
  }),

  test("appends the last event and closes the stream atomically", function*() {
    const stream = unique("Cart")
    for (const expected of ["any", "noStream", "streamExists", Version.make(0)] as const) {
      equal((yield* rejection(close(stream, { expected })))._tag, "InvalidRequest", `an empty stream, ${expected}`)
    }
    equal(yield* read(stream), [], "nothing is written")
    equal(yield* tagOf(stream), "open 0", "an empty stream stays open")
    const unknown = yield* rejection(StreamLifecycle.archive(stream))
    equal(unknown._tag, "InvalidRequest", "a stream without events is not archived")
    includes(unknown.message, "has no events", "the message")
    yield* append(stream, [1, 2])
    equal((yield* rejection(close(stream, { expected: Version.make(1) })))._tag, "ConcurrencyConflict", "a conflict")
    const open = yield* rejection(StreamLifecycle.archive(stream))
    equal(open._tag, "InvalidRequest", "an open stream is not archived")
    includes(open.message, "close it with StreamLifecycle.close", "the message")
    equal(yield* tagOf(stream), "open 2", "it stays open")
    yield* append(stream, [3])
    yield* close(stream, { expected: Version.make(3) })
    equal(yield* tagOf(stream), "closed 4", "closed")
    equal((yield* rejection(StreamLifecycle.status("")))._tag, "InvalidRequest", "no name of a stream")
  }),

  test("returns the receipt of an earlier command after closing and archiving", function*() {
    const [stream, other] = [unique("Cart"), unique("Cart")]
    const [first, last] = [unique("command"), unique("command")]
    const receipt = yield* append(stream, [1, 2], "any", first)
    const misused = yield* rejection(close(stream, { metadata: { commandId: first } }))
    equal(misused._tag, "CommandIdReused", "an append's id does not close")
    equal(yield* tagOf(stream), "open 2", "it stays open")
    const closed = yield* close(stream, { metadata: { commandId: last } })
    const store = yield* EventStore
    for (const archived of [false, true]) {
      if (archived) yield* StreamLifecycle.archive(stream)
      equal(yield* append(stream, [1, 2], "any", first), receipt, "the append again")
      equal(yield* append(stream, [1, 2], "noStream", first), receipt, "also when it expects no stream")
      equal((yield* rejection(append(stream, [1], "any", first)))._tag, "CommandIdReused", "with one event")
      equal(yield* close(stream, { metadata: { commandId: last } }), closed, "the closing again")
      equal(yield* store.receipt(first), Option.some(receipt), "its receipt")
      const again = yield* race([
        append(other, [1], "any", first),
        append(unique("Cart"), [1]),
        append(unique("Cart"), [1, 2], "any", last)
      ])
      equal(
        again.map((exit) =>
          Exit.isSuccess(exit) ? "ok" : Option.getOrUndefined(Exit.findErrorOption(exit)) instanceof EventStoreError
        ),
        [true, "ok", true],
        "on another stream"
      )
      equal(
        (yield* rejection(append(other, [1], "any", first)))._tag,
        "CommandIdReused",
        "the error of a reused command id"
      )
    }
    equal(yield* read(other), [], "nothing is written there")
  }),

  test("orders a concurrent append before the last event or rejects it", function*() {
    for (const round of upTo(10)) {
      const stream = unique("Cart")
      yield* append(stream, [1])
      const appends = upTo(12).map((n) => append(stream, n % 2 === 0 ? [n] : [n, n]))
      const exits = yield* race([...appends.slice(0, 6), close(stream), ...appends.slice(6), close(stream)])
      const closings = [exits[6]!, exits[13]!]
      equal(closings.filter(Exit.isSuccess).length, 1, `one closing, round ${round}`)
      const events = yield* read(stream)
      equal(versionsOf(events), upTo(events.length), "versions without a hole")
      equal(events[events.length - 1]!.event, summary, "the last event")
      const written = exits.flatMap((exit) => Exit.isSuccess(exit) ? exit.value.events : [])
      equal(
        written.map(({ position }) => position).toSorted((a, b) => a < b ? -1 : 1),
        events.slice(1).map(({ position }) => position),
        "what was acknowledged is there, and nothing else"
      )
      equal(exits.filter((exit) => !Exit.isSuccess(exit) && !isClosed(exit)), [], "the others are rejected as closed")
      equal(yield* tagOf(stream), `closed ${events.length}`, "the status")
    }
  }),

  test("reads archived events by stream, log, query and id", function*() {
    const store = yield* EventStore
    const start = yield* store[internals].driver.last
    const [a, b] = [unique("Cart"), unique("Cart")]
    const show = unique("show")
    const before = yield* store.readByQuery(ofStoredTypes([seatsOf(show)]))
    yield* append(b, [1])
    const command = unique("command")
    yield* append(a, upTo(5), "any", command)
    yield* append(b, [2])
    yield* store.append(SeatEvent, a, [seat(show), seat(show)])
    yield* append(b, [3])
    yield* close(a)
    const last = yield* store[internals].driver.last
    const snapshot = Effect.gen(function*() {
      const log = yield* Stream.runCollect(store.readAllEncoded({ after: start, pageSize: 2 }))
      return {
        log: log.filter((e) => e.stream === a || e.stream === b),
        typed: (yield* Stream.runCollect(store.readAll(SeatEvent, { after: start }))).filter((e) => e.stream === a),
        tagged: yield* Stream.runCollect(
          store.readAllEncoded({ after: start, where: { tags: [Event.tag("show", show)] } })
        ),
        forward: yield* Stream.runCollect(store.readStreamEncoded(a, { pageSize: 3 })),
        backward: yield* Stream.runCollect(store.readStreamEncoded(a, { direction: "backward", pageSize: 3 })),
        part: yield* Stream.runCollect(store.readStreamEncoded(a, { from: Version.make(3), limit: 2 })),
        query: (yield* store.readByQuery(ofStoredTypes([seatsOf(show)]))).events,
        mixed: (yield* store.readByQuery(ofStoredTypes([seatsOf(show), { types: ["SeatTaken"] }]))).events.filter((e) =>
          e.stream === a
        ),
        receipt: yield* store.receipt(command),
        lag: (yield* store[internals].driver.lag({
          after: start,
          to: last,
          limit: 100,
          types: ["SeatTaken"],
          streamPrefix: a
        }))
          .events
      }
    })
    const read1 = yield* snapshot
    equal(read1.log.length, 11, "events")
    equal(read1.forward.length, 8, "of the stream")
    equal(read1.query.length, 2, "matches")
    equal(yield* StreamLifecycle.archive(a), 8, "moved")
    equal(yield* StreamLifecycle.archive(a), 0, "moved again")
    equal(yield* snapshot, read1, "all reads")
    isAtLeast<bigint>(yield* store.head, last, "the head does not go back")
    isAtLeast<bigint>(yield* store[internals].driver.last, last, "the last position does not go back")
    equal(
      (yield* rejection(store.appendIf(before.condition, SeatEvent, b, [seat(show)])))._tag,
      "AppendConditionFailed",
      "a condition that an archived event breaks"
    )
    const { condition } = yield* store.readByQuery(ofStoredTypes([seatsOf(show)]))
    yield* store.appendIf(condition, SeatEvent, b, [seat(show)])
    equal(
      versionsOf(yield* read(b).pipe(Effect.catch(() => Stream.runCollect(store.readStreamEncoded(b))))),
      upTo(4),
      "the versions of the other stream"
    )
  }),

  test("lists closed streams in the order of closing", function*() {
    const start = yield* Effect.flatMap(EventStore, ({ [internals]: { driver } }) => driver.last)
    const streams = upTo(5).map(() => unique("Cart"))
    yield* Effect.forEach(streams, (stream) => append(stream, [1]), { discard: true })
    const order = streams.toReversed()
    yield* Effect.forEach(order, (stream) => close(stream), { discard: true })
    yield* StreamLifecycle.archive(order[2]!)
    const mine = (yield* Stream.runCollect(StreamLifecycle.closed)).filter(({ position }) => position > start).filter((
      { stream }
    ) => streams.includes(stream))
    equal(
      mine.map(({ stream }) => stream),
      order.map((stream) => mine.find((one) => one.stream === stream)!.stream),
      "all"
    )
    equal(
      mine.map(({ archivedAt }) => archivedAt !== undefined),
      [false, false, true, false, false],
      "the archived one"
    )
    const { driver } = (yield* EventStore)[internals]
    const [third] = yield* driver.closedStreams({ after: mine[1]!.position, limit: 1 })
    equal(third, mine[2]!, "a page")
    equal<ReadonlyArray<number>>(mine.map(({ version }) => version), streams.map(() => 2), "their last versions")
    for (const { position } of mine) isAbove<bigint>(position, Position.start, "their last position")
  })
]
