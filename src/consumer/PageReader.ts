/**
 * Reads the events of a partition page by page. After a full page it reads the next one in advance, while the caller applies the page.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { EventStoreError } from "../core/errors.ts"
import * as LogPosition from "../core/LogPosition.ts"
import type * as Position from "../core/Position.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver, LogFilter, PageOfEvents } from "../eventStore/EventStoreDriver.ts"
import { withinLog } from "../eventStore/LogIdentity.ts"

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
  /** Whether the page has as many events as it may have, so that more may follow at once. */
  readonly isFull: boolean
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
  /** The maximum number of events in a page that follows one that was not full. */
  readonly batchSize: number
  /** The maximum number of events in any page. */
  readonly maxBatchSize: number
}

/**
 * Returns a reader.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ batchSize, driver, filter, maxBatchSize }: PageOptions): PageReader => {
  const counts = countsOf()
  let ahead: Fiber.Fiber<Page, EventStoreError> | undefined

  const fetch = Effect.fnUntraced(function*(
    { count, eventId, position }: LogPosition.LogPosition,
    limit: number
  ): Effect.fn.Return<Page, EventStoreError> {
    const page = yield* driver.readAll({
      after: position,
      afterEventId: eventId,
      afterCount: count,
      countSince: counts.since(count),
      limit,
      ...filter
    })
    counts.read(page)
    yield* withinLog(driver, position, page.events, page.head)
    return { ...page, isFull: page.events.length >= limit }
  })

  return {
    read: Effect.fnUntraced(function*(after) {
      const page = yield* ahead === undefined ? fetch(after, batchSize) : Fiber.join(ahead)
      const last = page.events.at(-1)
      ahead = page.isFull && last !== undefined
        ? yield* Effect.forkChild(fetch(LogPosition.ofEvent(last), nextLimit(page.events, batchSize, maxBatchSize)))
        : undefined
      return page
    }),
    discard: Effect.suspend(() => {
      if (ahead === undefined) return Effect.void
      const fiber = ahead
      ahead = undefined
      return Fiber.interrupt(fiber)
    })
  }
}

interface Mark {
  readonly position: Position.Position
  /** The last position that had been assigned by then. Events above it were committed after all up to `position`. */
  readonly assigned: Position.Position
}

/**
 * Chooses where to begin to count the events before a checkpoint. A lost event has a position below one that survives only if it was committed
 * later. So all events up to a high-water mark are there if an event is that was assigned its position after the mark; only those between both are
 * to be counted.
 */
const countsOf = () => {
  /** A mark that an event read since then confirms, and the latest one, which a later event will confirm. */
  let confirmed: Position.Position | undefined
  let latest: Mark | undefined
  return {
    since: (count: LogPosition.EventCount | undefined): Position.Position | undefined =>
      confirmed ?? count?.since ?? latest?.position,
    read: ({ assigned, head, headCount }: PageOfEvents): void => {
      if (assigned === undefined) return
      // Too far back to be counted.
      if (headCount === undefined) confirmed = undefined
      if (latest === undefined) latest = { position: head, assigned }
      else if (head > latest.assigned) {
        confirmed = latest.position
        latest = { position: head, assigned }
      }
    }
  }
}

/** A page grows up to this size of its payloads as JSON, in characters: two pages are in memory at once. */
const maxPageCharacters = 4 * 1024 * 1024

/**
 * Returns the maximum number of events in the page after a full one: twice as many, as long as the page stays small. The payloads of a few
 * events tell how large it will be.
 *
 * @since 0.1.0
 * @category accessors
 */
export const nextLimit = (events: ReadonlyArray<EncodedEvent>, min: number, max: number): number => {
  if (max <= min) return min
  const step = Math.ceil(events.length / 8)
  const sample = events.filter((_, index) => index % step === 0)
  const characters = sample.reduce((sum, { data }) => sum + JSON.stringify(data).length, 0) / sample.length
  return Math.max(min, Math.min(2 * events.length, max, Math.floor(maxPageCharacters / characters)))
}
