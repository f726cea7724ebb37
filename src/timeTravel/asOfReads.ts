/**
 * What all as-of reads share: waiting until the log has reached a point in time, and leaving out later events.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as AsOf from "../core/AsOf.ts"
import { AsOfNotReached, type EventStoreError, invalidRequest } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as JsonDiff from "../core/json/JsonDiff.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import { streamUpToDate } from "../eventStore/EventEncryption.ts"
import type { EventStore } from "../eventStore/EventStore.ts"
import { Limits } from "../eventStore/Limits.ts"
import { requireEvents, withEventId } from "../eventStore/LogIdentity.ts"
import { defaultPageSize, queryPages } from "../eventStore/LogReader.ts"

/** How long a read waits for appends in flight, which may still commit at lower positions. */
const maxWait = "5 seconds"

/**
 * The two points in time to compare. `from` need not be the earlier one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Between<out M extends AsOf.AsOf> {
  readonly from: M
  readonly to: M
}

/**
 * The last event that a state or document includes.
 *
 * @since 0.1.0
 * @category models
 */
export interface AsOfPoint {
  /** The position of the last event; 0 before the first. */
  readonly position: Position.Position
  /** The recorded time of the last event; none before the first. */
  readonly recordedAt: Option.Option<DateTime.Utc>
}

/**
 * The difference between two points in time.
 *
 * @since 0.1.0
 * @category models
 */
export interface Difference<out At, out Event> {
  readonly from: At
  readonly to: At
  /** The JSON patch (RFC 6902) that turns the encoded `from` into the encoded `to`. */
  readonly changes: ReadonlyArray<JsonDiff.Change>
  /** The events after the earlier point, up to the later one, in order. They are read when the Stream runs. */
  readonly events: Stream.Stream<RecordedEvent<Event>, EventStoreError>
}

/**
 * Returns the point of a state or document whose last event is given.
 *
 * @since 0.1.0
 * @category constructors
 */
export const pointOf = (last: EncodedEvent | undefined): AsOfPoint => ({
  position: last?.position ?? Position.start,
  recordedAt: Option.map(Option.fromUndefinedOr(last), ({ recordedAt }) => recordedAt)
})

/**
 * Waits until the high-water mark reaches a position, so that no further event can appear at or below it. Fails with `LogDiverged` if the
 * position names an event that the log does not have there. Fails with `AsOfNotReached` if the
 * log has no such position yet, or if appends in flight hold the mark back for more than 5 seconds. Within a transaction it does not wait:
 * the events that the transaction sees are final for it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const awaitReached = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  asOf: AsOf.AsOf
): Effect.fn.Return<void, AsOfNotReached | EventStoreError> {
  if (asOf._tag !== "Position") return
  yield* requireLog(driver, asOf)
  const isInTransaction = driver.inTransaction(yield* Effect.context<never>())
  const reached = Effect.gen(function*() {
    while ((yield* driver.head) < asOf.position) {
      const last = yield* driver.last
      if (last < asOf.position) return yield* new AsOfNotReached({ asOf, reached: AsOf.position(last) })
      if (isInTransaction) return
      // It also ends when the mark stays below: the log may have been set back.
      yield* driver.changed(Position.make(asOf.position - 1n))
    }
  })
  yield* Effect.timeoutOrElse(reached, {
    duration: maxWait,
    orElse: () => Effect.flatMap(driver.head, (head) => new AsOfNotReached({ asOf, reached: AsOf.position(head) }))
  })
})

/**
 * Returns the position of the last event for `now`, with the id of that event, and any other point in time as it is. Reads of several states as of
 * the result agree with each other.
 *
 * @since 0.1.0
 * @category accessors
 */
export const pinned = <A extends AsOf.AsOf>(
  driver: EventStoreDriver,
  asOf: A
): Effect.Effect<A | ReturnType<typeof AsOf.position>, EventStoreError> =>
  asOf._tag === "Now"
    ? Effect.map(withEventId(driver, driver.last), AsOf.position)
    : Effect.succeed(asOf)

/**
 * Fails with `LogDiverged` if the point in time names an event that the log does not have. After a read, it shows that the log was not set back meanwhile.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireLog = (driver: EventStoreDriver, asOf: AsOf.AsOf): Effect.Effect<void, EventStoreError> =>
  asOf._tag === "Position" ? requireEvents(driver, [LogPosition.make(asOf.position, asOf.eventId)]) : Effect.void

/**
 * Ends a Stream of events with the same check.
 *
 * @since 0.1.0
 * @category combinators
 */
export const ofLog =
  (driver: EventStoreDriver, asOf: AsOf.AsOf) =>
  <A, E>(events: Stream.Stream<A, E>): Stream.Stream<A, E | EventStoreError> =>
    Stream.concat(events, Stream.fromEffectDrain(requireLog(driver, asOf)))

/**
 * Returns the version of a stream as of a point in time; 0 before its first event.
 *
 * @since 0.1.0
 * @category accessors
 */
export const versionAsOf = (
  store: EventStore["Service"],
  stream: StreamId,
  asOf: AsOf.OfLog
): Effect.Effect<Version.Version, EventStoreError> =>
  Effect.map(
    Stream.runLast(ofLog(store[internals].driver, asOf)(takeAsOf(asOf)(store.readStreamEncoded(stream)))),
    (last) => Option.match(last, { onNone: () => Version.make(0), onSome: ({ version }) => version })
  )

/**
 * Returns a predicate that tells whether an event is included as of a point in time. It expects events in the order of the log or of a
 * stream. Each stream is cut at its first event after an instant: later events stay out even if a clock that went back gave them earlier
 * times, so the included events of a stream have no holes.
 *
 * @since 0.1.0
 * @category guards
 */
export const includedAsOf = (asOf: AsOf.AsOf): (event: EncodedEvent) => boolean => {
  const ended = new Set<string>()
  return (event) => {
    if (ended.has(event.stream)) return false
    if (AsOf.includes(asOf, event)) return true
    if (asOf._tag === "Instant") ended.add(event.stream)
    return false
  }
}

/**
 * Returns the events that are included as of a point in time. It expects them in the order of the log or of a stream.
 *
 * @since 0.1.0
 * @category combinators
 */
export const takeAsOf =
  (asOf: AsOf.AsOf) => <E>(events: Stream.Stream<EncodedEvent, E>): Stream.Stream<EncodedEvent, E> =>
    Stream.suspend(() =>
      // Positions and versions only grow, so reading can stop at the first excluded event; recorded times of different streams need not.
      asOf._tag === "Instant" ? Stream.filter(events, includedAsOf(asOf)) : Stream.takeWhile(events, includedAsOf(asOf))
    )

/**
 * Returns the events that match a query as of a point in time, in the order of the log. For a position it stops reading there; for an instant
 * it reads all matches.
 *
 * @since 0.1.0
 * @category accessors
 */
export const matchesAsOf = (
  { [internals]: { driver, keys } }: EventStore["Service"],
  query: EventQuery.EventQuery,
  asOf: AsOf.OfLog
): Stream.Stream<EncodedEvent, AsOfNotReached | EventStoreError> =>
  Stream.unwrap(Effect.gen(function*() {
    const problem = EventQuery.validate(query)
    if (problem !== undefined) return yield* invalidRequest(problem)
    const { pageSize } = yield* Limits
    yield* awaitReached(driver, asOf)
    const pages = queryPages(driver, query, "visible", LogPosition.start, Math.min(defaultPageSize, pageSize))
    const events = Stream.flatMap(pages, ({ events }) => Stream.fromIterable(events))
    return ofLog(driver, asOf)(streamUpToDate(keys, takeAsOf(asOf)(events)))
  }))

/**
 * Returns the JSON patch between two encoded values; none counts as `null`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const changes = (
  from: Option.Option<Schema.Json>,
  to: Option.Option<Schema.Json>
): ReadonlyArray<JsonDiff.Change> => JsonDiff.between(Option.getOrNull(from), Option.getOrNull(to))
