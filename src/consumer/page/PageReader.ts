/**
 * Reads the events of a partition page by page. Unless a page is the last one, it reads the next in advance, while the caller applies the page.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { EventStoreError } from "../../core/errors.ts"
import type * as LogPosition from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type { EventStoreDriver, EventType, LogFilter, PageOfEvents } from "../../eventStore/driver/EventStoreDriver.ts"
import { withinLog } from "../../eventStore/LogIdentity.ts"
import type { Consumer } from "../Consumer.ts"
import * as UnknownTypes from "../UnknownTypes.ts"
import * as HandedOnPage from "./HandedOnPage.ts"

/**
 * A page of events.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page {
  readonly events: ReadonlyArray<EncodedEvent>
  /** The high-water mark of the log at the time of the read, and the id of the event there. */
  readonly head: Position.Position
  readonly headEventId: string | undefined
  /** How many events there are just before the high-water mark, if it is known. */
  readonly headCount?: LogPosition.EventCount | undefined
  /** The position up to which the page has every event, and where the next page starts. */
  readonly reached: LogPosition.LogPosition
  /** Whether that is the high-water mark. Otherwise more events may follow at once, although the page may be empty. */
  readonly isLast: boolean
  /**
   * Fails with `LogDiverged` when the log does not have what a page rests on that was handed on instead of read. Nothing may be written before it has
   * succeeded.
   */
  readonly verify?: Effect.Effect<void, EventStoreError> | undefined
  /** Returns false for an event that was read only because of its type, and whose stream has another category. */
  readonly isRelevant: (event: EncodedEvent) => boolean
}

/**
 * Reads the pages of one partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface PageReader {
  /** Returns the page after a position. */
  readonly read: (after: LogPosition.LogPosition) => Effect.Effect<Page, EventStoreError>
  /** Discards the page that was read in advance. */
  readonly discard: Effect.Effect<void>
  /** Ends when there is probably a page after a position that the last page has reached. */
  readonly changed: (after: LogPosition.LogPosition) => Effect.Effect<void, EventStoreError>
}

/**
 * Options of a reader.
 *
 * @since 0.1.0
 * @category options
 */
export interface PageOptions {
  readonly driver: EventStoreDriver
  readonly filter: LogFilter
  /** The maximum number of events in a page that follows the last one, or one without events. */
  readonly batchSize: number
  /** The maximum number of events in any page. */
  readonly maxBatchSize: number
  /** The maximum number of events in the first page; `batchSize` by default. */
  readonly firstBatchSize?: number | undefined
  /** The consumer, if the reader also returns events of types that it does not know. */
  readonly stopsAtUnknown?: Consumer | undefined
}

/**
 * Returns a reader.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  { batchSize, driver, filter, firstBatchSize = batchSize, maxBatchSize, stopsAtUnknown }: PageOptions
): PageReader => {
  let size = firstBatchSize
  let marks: Marks = { confirmed: undefined, latest: undefined }
  const unknown = unknownTypesOf(driver, stopsAtUnknown)
  let ahead: Fiber.Fiber<Page, EventStoreError> | undefined

  const fetch = Effect.fnUntraced(function*(
    { count, eventId, position }: LogPosition.LogPosition,
    limit: number
  ): Effect.fn.Return<Page, EventStoreError> {
    while (true) {
      const known = unknown.known()
      const isRelevant = (event: EncodedEvent) => UnknownTypes.isRelevant(known, event)
      const page = yield* driver.readAll({
        after: position,
        afterEventId: eventId,
        afterCount: count,
        countSince: countSince(marks, { count, position }),
        limit,
        ...UnknownTypes.addTo(filter, known)
      })
      marks = marksAfter(marks, page)
      yield* withinLog(driver, position, page.events, page.head)
      const isLast = page.reached.position >= page.head
      // Otherwise the page lacks events of a type that has appeared.
      if (yield* unknown.hasAllUpTo(isLast ? page.head : page.reached.position)) return { ...page, isLast, isRelevant }
    }
  })

  const handOn = HandedOnPage.make({ driver, filter, stopsAtUnknown })

  return {
    read: Effect.fnUntraced(function*(after) {
      const handedOn = ahead === undefined ? yield* handOn.page(after, size) : undefined
      if (handedOn !== undefined) return handedOn
      const page = yield* ahead === undefined ? fetch(after, size) : Fiber.join(ahead)
      handOn.hasRead(page.reached.position)
      size = batchSize
      ahead = page.isLast
        ? undefined
        : yield* Effect.forkChild(fetch(page.reached, nextLimit(page.events, batchSize, maxBatchSize)))
      return page
    }),
    discard: Effect.suspend(() => {
      if (ahead === undefined) return Effect.void
      const fiber = ahead
      ahead = undefined
      return Fiber.interrupt(fiber)
    }),
    changed: (after) =>
      Effect.suspend(() => {
        const hasNext = () => handOn.hasNext(after)
        return hasNext() ? Effect.void : driver.changed(after.position, { mayEndEarly: true, hasNext })
      })
  }
}

/** Keeps the types that a consumer does not know. They are counted up to the end of each page, because newer code may begin to append at any time. */
const unknownTypesOf = (driver: EventStoreDriver, consumer: Consumer | undefined) => {
  let found: ReadonlyArray<EventType> = []
  return {
    known: () => found,
    /** Returns whether all types up to a high-water mark were known before. */
    hasAllUpTo: Effect.fnUntraced(function*(head: Position.Position): Effect.fn.Return<boolean, EventStoreError> {
      if (consumer === undefined) return true
      const before = new Set(found.map(nameOf))
      found = yield* UnknownTypes.stoppingUpTo(driver, consumer, head)
      // A log that was set back may have other types instead of as many that are gone.
      return found.every((one) => before.has(nameOf(one)))
    })
  }
}

const nameOf = ({ category, type }: EventType): string => JSON.stringify([category, type])

/** A high-water mark. */
interface Mark {
  readonly position: Position.Position
  /** The last position that had been assigned by then. Events above it were committed after all up to `position`. */
  readonly assigned: Position.Position
}

/**
 * The high-water marks that a reader has met since it started.
 *
 * @since 0.1.0
 * @category models
 */
export interface Marks {
  /** A mark that an event read since then confirms. */
  readonly confirmed: Position.Position | undefined
  /** The mark that a later event will confirm. */
  readonly latest: Mark | undefined
}

/** The number of positions before a checkpoint that are counted as long as no mark is confirmed. `read_all` counts at most twice as many. */
const unconfirmedPositions = 5000n

/**
 * Returns where to begin to count the events before the next checkpoint. A lost event has a position below one that survives only if it was
 * committed later. So all events up to a high-water mark are there if an event is that was assigned its position after the mark; only those
 * between both are to be counted.
 *
 * @since 0.1.0
 * @category accessors
 */
export const countSince = (
  { confirmed }: Marks,
  { count, position }: Pick<LogPosition.LogPosition, "count" | "position">
): Position.Position =>
  confirmed ?? count?.since
    ?? (position > unconfirmedPositions ? Position.make(position - unconfirmedPositions) : Position.start)

/**
 * Returns the marks after a page.
 *
 * @since 0.1.0
 * @category combinators
 */
export const marksAfter = (marks: Marks, { assigned, head, headCount }: PageOfEvents): Marks => {
  if (assigned === undefined) return marks
  // Without a count, the confirmed mark is too far back.
  const confirmed = headCount === undefined ? undefined : marks.confirmed
  if (marks.latest === undefined) return { confirmed, latest: { position: head, assigned } }
  return head > marks.latest.assigned
    ? { confirmed: marks.latest.position, latest: { position: head, assigned } }
    : { confirmed, latest: marks.latest }
}

/** A page grows up to this size of its payloads as JSON, in characters: two pages are in memory at once. */
const maxPageCharacters = 4 * 1024 * 1024

/**
 * Returns the maximum number of events in the page after one that is not the last: twice as many, as long as the page stays small. The payloads of a few
 * events tell how large it will be.
 *
 * @since 0.1.0
 * @category accessors
 */
export const nextLimit = (events: ReadonlyArray<EncodedEvent>, min: number, max: number): number => {
  if (max <= min || events.length === 0) return min
  const step = Math.ceil(events.length / 8)
  const sample = events.filter((_, index) => index % step === 0)
  const characters = sample.reduce((sum, { data }) => sum + JSON.stringify(data).length, 0) / sample.length
  return Math.max(min, Math.min(2 * events.length, max, Math.floor(maxPageCharacters / characters)))
}
