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
import type { EventStoreDriver, LogFilter } from "../eventStore/EventStoreDriver.ts"
import { withinLog } from "../eventStore/LogReader.ts"

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
  let ahead: Fiber.Fiber<Page, EventStoreError> | undefined

  const fetch = Effect.fnUntraced(function*(
    { eventId, position }: LogPosition.LogPosition,
    limit: number
  ): Effect.fn.Return<Page, EventStoreError> {
    const page = yield* driver.readAll({ after: position, afterEventId: eventId, limit, ...filter })
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
