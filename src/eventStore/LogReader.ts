/**
 * Reads a driver page by page, as Streams.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { EventStoreError, invalidRequest, LogDiverged, storeError } from "../core/errors.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import type * as EventCodec from "../event/EventCodec.ts"
import type { EventFilter } from "../event/EventFilter.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import type { AppendCondition, EventStoreDriver, LogPage, PageOfEvents, StreamPage } from "./driver/EventStoreDriver.ts"
import { awaitReached } from "./HighWaterMark.ts"
import * as Limits from "./Limits.ts"
import { ofOneLog, withinLog } from "./LogIdentity.ts"

/**
 * How many events the first page has unless an option says otherwise. Later pages have twice as many.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultPageSize = 500

/**
 * Options of a read of one stream.
 *
 * @since 0.1.0
 * @category options
 */
export interface ReadStreamOptions {
  /** The first version to read, inclusive. By default 1 when reading forward, the last version when reading backward. */
  readonly from?: Version.Version | undefined
  /** Whether to read from older to newer events or the other way round; `"forward"` by default. */
  readonly direction?: "forward" | "backward" | undefined
  /** How many events to read; all by default. */
  readonly limit?: number | undefined
  /** How many events to fetch at a time. By default 500, and 1,000 after the first page. */
  readonly pageSize?: number | undefined
}

/**
 * Options of a read of the whole log.
 *
 * @since 0.1.0
 * @category options
 */
export interface ReadLogOptions<out Tag extends string = never> {
  /**
   * Only events after this position; all by default. With the id of the event there, such as `LogPosition.ofEvent` returns, a log that does not
   * have that event fails the read with `LogDiverged`. Store the id beside a position.
   */
  readonly after?: Position.Position | LogPosition.LogPosition | undefined
  /** How many events to fetch at a time. By default 500, and 1,000 after the first page. */
  readonly pageSize?: number | undefined
  /** Only events that have these tags, or belong to these streams. */
  readonly where?: EventFilter<Tag> | undefined
}

/**
 * Options of a read of the whole log that does not decode.
 *
 * @since 0.1.0
 * @category options
 */
export interface ReadEncodedOptions extends ReadLogOptions<string> {
  /** Only events of these stored types; `Event.storedTypes` returns those of a set. All by default. */
  readonly types?: ReadonlyArray<string> | undefined
}

/**
 * Decodes a Stream page by page. The events before one that cannot be decoded are still delivered; then the Stream fails. It leaves out an
 * event that decodes to nothing, such as one of a retired type.
 *
 * @since 0.1.0
 * @category combinators
 */
export const decode = <E extends Event.Tagged>(
  codec: EventCodec.EventCodec<E>,
  encoded: Stream.Stream<EncodedEvent, EventStoreError>,
  /** The tags by which the events were selected. */
  tags?: ReadonlyArray<string>
): Stream.Stream<RecordedEvent<E>, EventStoreError> =>
  Stream.transformPull(encoded, (pull) =>
    Effect.sync(() => {
      let failed: EventStoreError | undefined
      const decodePage = (page: ReadonlyArray<EncodedEvent>) => {
        const decoded: Array<RecordedEvent<E>> = []
        for (const event of page) {
          const result = codec.decode(event, tags)
          if (Result.isFailure(result)) {
            failed = storeError(result.failure)
            break
          }
          decoded.push(...result.success)
        }
        return Arr.isReadonlyArrayNonEmpty(decoded) ? Effect.succeed(decoded) : next
      }
      const next: Pull.Pull<Arr.NonEmptyReadonlyArray<RecordedEvent<E>>, EventStoreError> = Effect.suspend(() =>
        failed === undefined ? Effect.flatMap(pull, decodePage) : Effect.fail(failed)
      )
      return next
    }))

/**
 * Reads one stream, in pages. Fails with an `InvalidRequest` when an option is not valid, and with `LogDiverged` when the log was set back between two
 * pages.
 *
 * @since 0.1.0
 * @category constructors
 */
export const readStream = (
  driver: EventStoreDriver,
  limits: Limits.Limits,
  stream: string,
  options: ReadStreamOptions
): Stream.Stream<EncodedEvent, EventStoreError> =>
  Stream.suspend(() => {
    const first = firstPage(limits, stream, options)
    return first instanceof EventStoreError ?
      Stream.fail(first) :
      Stream.paginate(first, (page) =>
        Effect.map(
          readPage(driver, page),
          (events) => [events, Option.fromUndefinedOr(nextPage(page, events))] as const
        ))
  })

/**
 * Reads one stream in pages, like `readStream`, until `visit` returns `"end"` or an error. It takes fewer steps than a Stream, for the short streams of
 * commands.
 *
 * @since 0.1.0
 * @category combinators
 */
export const forEachPage = (
  driver: EventStoreDriver,
  limits: Limits.Limits,
  stream: string,
  options: ReadStreamOptions,
  visit: (events: ReadonlyArray<EncodedEvent>) => "continue" | "end" | EventStoreError
): Effect.Effect<void, EventStoreError> => {
  const readFrom = (page: PageOfStream): Effect.Effect<void, EventStoreError> =>
    Effect.flatMap(readPage(driver, page), (events) => {
      const outcome = visit(events)
      if (outcome instanceof EventStoreError) return Effect.fail(outcome)
      const next = outcome === "end" ? undefined : nextPage(page, events)
      return next === undefined ? Effect.void : readFrom(next)
    })
  return Effect.suspend(() => {
    const first = firstPage(limits, stream, options)
    return first instanceof EventStoreError ? Effect.fail(first) : readFrom(first)
  })
}

/** A page of a read of one stream. */
interface PageOfStream extends StreamPage {
  /** How many events a later page has at most. */
  readonly later: number
  /** How many events the read still wants, from this page on. */
  readonly left: number
  /** The last event of the page before. The page begins with it, which shows that both are of one log. */
  readonly before?: EncodedEvent
}

const readPage = (
  driver: EventStoreDriver,
  page: PageOfStream
): Effect.Effect<ReadonlyArray<EncodedEvent>, EventStoreError> => {
  const { before } = page
  if (before === undefined) return driver.readStream(page)
  return Effect.flatMap(
    driver.readStream({ ...page, from: before.version, limit: page.limit + 1 }),
    ([first, ...events]) => {
      if (first?.id === before.id) return Effect.succeed(events)
      const { id: eventId, position, stream, version } = before
      return Effect.fail(storeError(new LogDiverged({ eventId, position, stream, version })))
    }
  )
}

/** Returns the first page of a read, or an `InvalidRequest` when an option is not valid. */
const firstPage = (
  limits: Limits.Limits,
  stream: string,
  options: ReadStreamOptions
): PageOfStream | EventStoreError => {
  const { direction = "forward", from, limit = Infinity } = options
  const name = Limits.checkStream(stream)
  if (name instanceof EventStoreError) return name
  const pageSize = options.pageSize ?? Math.min(defaultPageSize, limits.pageSize)
  const rejection = Limits.checkPageSize(limits, pageSize)
  if (rejection !== undefined) return rejection
  if (limit !== Infinity && !Version.isVersion(limit)) {
    return invalidRequest(`the limit of a read must be a whole number from 0, not ${String(limit)}`)
  }
  if (from !== undefined && !Version.isVersion(from)) {
    return invalidRequest(`a stream is read from a version, a whole number from 0, not from ${String(from)}`)
  }
  const first = from ?? Version.make(direction === "forward" ? 1 : Number.MAX_SAFE_INTEGER)
  return {
    stream: name,
    direction,
    from: first,
    limit: Math.min(pageSize, limit),
    later: laterPageSize(limits, options),
    left: limit
  }
}

const laterPageSize = (limits: Limits.Limits, options: { readonly pageSize?: number | undefined }): number =>
  options.pageSize ?? Math.min(2 * defaultPageSize, limits.pageSize)

/** Returns the page after one with these events, if the read goes on. */
const nextPage = (page: PageOfStream, events: ReadonlyArray<EncodedEvent>): PageOfStream | undefined => {
  const last = events[events.length - 1]
  const left = page.left - events.length
  const next = (last?.version ?? 0) + (page.direction === "forward" ? 1 : -1)
  return last === undefined || events.length < page.limit || left <= 0 || next < 1
    ? undefined
    : { ...page, from: Version.make(next), limit: Math.min(page.later, left), left, before: last, continues: true }
}

/**
 * The events that match a query, and the condition under which no other event has matched it since.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueryResult {
  readonly events: ReadonlyArray<EncodedEvent>
  /** Pass it to `EventStore.appendIf`. */
  readonly condition: AppendCondition
}

/** Returns whether more matches may follow a page at once. */
const isPartial = ({ events, head, reached }: PageOfEvents, limit: number): boolean =>
  events.length >= limit || reached.position < head

/** How many of the last matches an append condition names, besides all above the high-water mark. */
const maxBasis = 16

/**
 * Reads all events that match a query, as of one moment: that of the last page. If the log was set back between two pages, it begins again; with
 * `earlierBasis` it fails with `LogDiverged`, as when the log does not have an event of it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const readByQuery = Effect.fn("EventStore.readByQuery")(function*(
  driver: EventStoreDriver,
  limits: Limits.Limits,
  query: EventQuery.EventQuery,
  after: Position.Position,
  earlierBasis?: ReadonlyArray<LogPosition.LogPosition>
): Effect.fn.Return<QueryResult, EventStoreError> {
  const wrong = EventQuery.isEventQuery(query)
    ? EventQuery.validate(query)
    : "a query must be made by EventQuery.make, which adds the stored types of past versions, or by EventQuery.ofStoredTypes"
  if (wrong !== undefined) return yield* invalidRequest(wrong)
  const read = readMatches(driver, limits, query, after, earlierBasis)
  return yield* (earlierBasis === undefined || earlierBasis.length === 0 ? ofOneLog(read) : read)
})

const readMatches = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  limits: Limits.Limits,
  query: EventQuery.EventQuery,
  after: Position.Position,
  earlierBasis: ReadonlyArray<LogPosition.LogPosition> = []
): Effect.fn.Return<QueryResult, EventStoreError> {
  let limit = limits.pageSize
  let page = yield* driver.readByQuery({ query, after, limit, basis: earlierBasis })
  const events: Array<EncodedEvent> = []
  let reached = LogPosition.make(after, undefined)
  // The mark may be lower than it was at an earlier read, up to which all is known.
  let final = Position.max(page.head, after)
  while (isPartial(page, limit)) {
    // Above the mark, events may still appear between those of a page. They are read again, with the next page, in one statement.
    const settled = page.events.filter(({ position }) => position <= final)
    events.push(...settled)
    const last = settled.at(-1)
    const next = page.reached.position <= final
      ? page.reached
      : last === undefined
      ? reached
      : LogPosition.ofEvent(last)
    if (next.position === reached.position) limit *= 2
    reached = next
    page = yield* driver.readByQuery({ query, after: reached.position, limit, basis: [...earlierBasis, reached] })
    final = Position.max(page.head, final)
  }
  events.push(...page.events)
  const seen = events.flatMap(({ position }) => position > final ? [position] : [])
  const basis = [
    LogPosition.make(page.head, page.headEventId),
    ...events.slice(-maxBasis).map(LogPosition.ofEvent),
    ...events.slice(0, -maxBasis).filter(({ position }) => position > final).map(LogPosition.ofEvent)
  ]
  return { events, condition: { query, after: final, seen, basis } }
})

/**
 * A page of the events that match a query.
 *
 * @since 0.1.0
 * @category models
 */
export interface Matches {
  readonly events: ReadonlyArray<EncodedEvent>
  /** The position up to which no further event can match. */
  readonly reached: Position.Position
  /** The id of the event there, as far as the page tells it. */
  readonly reachedEventId: string | undefined
}

/**
 * Reads the matches of a query in pages, in position order and without gaps. The extent `"final"` stops at the high-water mark; `"visible"`
 * also includes the visible events above it. Fails with `LogDiverged` when the log was set back between two pages, or since the start.
 *
 * @since 0.1.0
 * @category constructors
 */
export const queryPages = (
  driver: Pick<EventStoreDriver, "readByQuery">,
  query: EventQuery.EventQuery,
  extent: "final" | "visible",
  start: LogPosition.LogPosition,
  pageSize: number
): Stream.Stream<Matches, EventStoreError> =>
  Stream.paginate(
    { after: start, limit: pageSize },
    Effect.fnUntraced(function*({ after, limit }) {
      const page = yield* driver.readByQuery({ query, after: after.position, limit, basis: [after] })
      const partial = isPartial(page, limit)
      // Above the high-water mark events may still appear between those of this page, and the next page would miss them.
      const events = partial || extent === "final"
        ? page.events.filter(({ position }) => position <= page.head)
        : page.events
      const lastEvent = events[events.length - 1]
      const beyond = events.length < page.events.length
      const done = !partial || (extent === "final" && beyond)
      const last = lastEvent === undefined ? after : LogPosition.ofEvent(lastEvent)
      const reached = done
        ? extent === "final" && page.head >= last.position ? LogPosition.make(page.head, page.headEventId) : last
        : page.reached.position <= page.head
        ? page.reached
        : last
      return [
        [{ events, reached: reached.position, reachedEventId: reached.eventId }],
        // One statement reads one snapshot: a page with everything above the high-water mark has no gaps.
        done
          ? Option.none()
          : Option.some({ after: reached, limit: reached.position === after.position ? limit * 2 : limit })
      ] as const
    })
  )

/**
 * Reads the whole log in pages, up to the high-water mark, or with `followed` also every event that is committed afterwards.
 *
 * @since 0.1.0
 * @category constructors
 */
export const logPages = (
  driver: EventStoreDriver,
  limits: Limits.Limits,
  options: ReadEncodedOptions,
  /** Reads the pages of a caller that follows the log. */
  followed?: EventStoreDriver["readAll"]
): Stream.Stream<EncodedEvent, EventStoreError> =>
  Stream.suspend(() => {
    const limit = options.pageSize ?? Math.min(defaultPageSize, limits.pageSize)
    const rejection = Limits.checkPageSize(limits, limit)
    if (rejection !== undefined) return Stream.fail(rejection)
    const read = (page: LogPage) =>
      Effect.tap((followed ?? driver.readAll)(page), ({ events, head }) => withinLog(driver, page.after, events, head))
    const pageAt = ({ eventId, position }: LogPosition.LogPosition, limit: number): LogPage => ({
      after: position,
      afterEventId: eventId,
      limit,
      types: options.types,
      ...options.where
    })
    const start = LogPosition.from(options.after ?? Position.start)
    if (!Position.isPosition(start.position)) {
      return Stream.fail(
        invalidRequest(`the log is read after a position from 0 to 2^63 - 1, not after ${String(start.position)}`)
      )
    }
    const wrongId = Limits.checkEventIds([start.eventId])
    if (wrongId !== undefined) return Stream.fail(wrongId)
    return Stream.paginate(
      { after: start, end: LogPosition.make(Position.start, undefined), limit, wait: false },
      Effect.fnUntraced(function*({ after, end, limit, wait }) {
        if (wait && followed !== undefined) yield* driver.changed(after.position, { mayEndEarly: true })
        // What the mark had reached is final, although an append in flight may have moved the mark back since.
        else if (wait) yield* awaitReached(driver, end, "A read of the log")
        const { events, head, headEventId, reached } = yield* read(pageAt(after, limit))
        const next = head > end.position ? LogPosition.make(head, headEventId) : end
        return [
          events,
          followed === undefined && reached.position >= next.position
            ? Option.none()
            : Option.some({
              after: reached,
              end: next,
              limit: laterPageSize(limits, options),
              wait: reached.position >= head
            })
        ] as const
      })
    )
  })
