/**
 * What all kinds of time travel have in common: waiting until a moment can be told, and leaving out what came after it.
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
import * as JsonDifference from "../core/JsonDiff.ts"
import * as Position from "../core/Position.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver } from "../eventStore/EventStoreDriver.ts"
import { Limits } from "../eventStore/Limits.ts"
import { defaultPageSize, queryPages } from "../eventStore/LogReader.ts"

/** How long appends that are under way are waited for, which may have drawn positions before the one that is asked for. */
const timeoutDuration = "5 seconds"

/**
 * Between which moments to compare. `from` need not be the earlier one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Between<out M extends AsOf.AsOf> {
  readonly from: M
  readonly to: M
}

/**
 * Where something stood.
 *
 * - `position`, `recordedAt`: of the last event in it; 0 and none before the first
 *
 * @since 0.1.0
 * @category models
 */
export interface AsOfPoint {
  readonly position: Position.Position
  readonly recordedAt: Option.Option<DateTime.Utc>
}

/**
 * Two moments of one thing, and what lies between them.
 *
 * - `changes`: what makes `from` into `to`, as a patch (RFC 6902) of the encoded values
 * - `events`: those after the earlier and up to the later moment, in order, read when the Stream is run
 *
 * @since 0.1.0
 * @category models
 */
export interface Difference<out At, out Event> {
  readonly from: At
  readonly to: At
  readonly changes: ReadonlyArray<JsonDifference.Change>
  readonly events: Stream.Stream<RecordedEvent<Event>, EventStoreError>
}

/**
 * Where something stood after its last event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const pointOf = (last: EncodedEvent | undefined): AsOfPoint => ({
  position: last?.position ?? Position.start,
  recordedAt: Option.map(Option.fromUndefinedOr(last), ({ recordedAt }) => recordedAt)
})

/**
 * Waits until nothing can appear any more at or below a position. Fails if the log has no such position yet, and where appends are under way
 * for more than 5 seconds. Within a transaction of the caller, what that sees is all there is.
 *
 * @since 0.1.0
 * @category waiting
 */
export const reached = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  asOf: AsOf.AsOf
): Effect.fn.Return<void, AsOfNotReached | EventStoreError> {
  if (asOf._tag !== "Position" || (yield* driver.head) >= asOf.position) return
  const last = yield* driver.last
  if (last < asOf.position) return yield* new AsOfNotReached({ asOf, reached: AsOf.position(last) })
  if (yield* driver.inTransaction) return
  yield* Effect.timeoutOrElse(driver.changed(Position.make(asOf.position - 1n)), {
    duration: timeoutDuration,
    orElse: () => Effect.flatMap(driver.head, (head) => new AsOfNotReached({ asOf, reached: AsOf.position(head) }))
  })
})

/**
 * Tells of events that are given to it in the order of the log or of a stream whether they had happened by a moment. What came before an event
 * in its stream is never left out: from the first event of a stream that is later than an instant on, none of that stream is in, whatever a
 * clock that went back has made of the others.
 *
 * @since 0.1.0
 * @category filters
 */
export const had = (asOf: AsOf.AsOf): (event: EncodedEvent) => boolean => {
  const ended = new Set<string>()
  return (event) => {
    if (ended.has(event.stream)) return false
    if (AsOf.includes(asOf, event)) return true
    if (asOf._tag === "Instant") ended.add(event.stream)
    return false
  }
}

/**
 * Those of the events that had happened by a moment; they come in the order of the log or of a stream.
 *
 * @since 0.1.0
 * @category filters
 */
export const until = (asOf: AsOf.AsOf) => <E>(events: Stream.Stream<EncodedEvent, E>): Stream.Stream<EncodedEvent, E> =>
  Stream.suspend(() =>
    // Positions and versions grow, so nothing behind the first later one is in; the times of different streams need not.
    asOf._tag === "Instant" ? Stream.filter(events, had(asOf)) : Stream.takeWhile(events, had(asOf))
  )

/**
 * The matches of a query that had happened by a moment, in the order of the log. For a position it reads up to there, for an instant all.
 *
 * @since 0.1.0
 * @category reading
 */
export const matches = (
  driver: EventStoreDriver,
  query: EventQuery.EventQuery,
  asOf: AsOf.OfLog
): Stream.Stream<EncodedEvent, AsOfNotReached | EventStoreError> =>
  Stream.unwrap(Effect.gen(function*() {
    const problem = EventQuery.validate(query)
    if (problem !== undefined) return yield* invalidRequest(problem)
    const { pageSize } = yield* Limits
    yield* reached(driver, asOf)
    const pages = queryPages(driver, query, "visible", Position.start, Math.min(defaultPageSize, pageSize))
    return until(asOf)(Stream.flatMap(pages, ({ events }) => Stream.fromIterable(events)))
  }))

/**
 * What differs between two encoded values; none counts as `null`.
 *
 * @since 0.1.0
 * @category comparing
 */
export const changes = (
  from: Option.Option<Schema.Json>,
  to: Option.Option<Schema.Json>
): ReadonlyArray<JsonDifference.Change> => JsonDifference.between(Option.getOrNull(from), Option.getOrNull(to))
