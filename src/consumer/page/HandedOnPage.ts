/**
 * The pages that a consumer takes from what its own process has appended, instead of reading them again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import * as LogPosition from "../../core/LogPosition.ts"
import * as Position from "../../core/Position.ts"
import * as EventFilter from "../../event/EventFilter.ts"
import { requireEvents } from "../../eventStore/LogIdentity.ts"
import type { Page, PageOptions } from "./PageReader.ts"

/** How many positions a consumer takes until it reads again. A read counts the events since the last one that confirmed the count. */
const maxUnread = 1_000n

/** How many events a page has at most. For more of them, a read takes less than the check of each. */
const maxEvents = 100

/**
 * Takes pages from what this process has appended.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandedOnPages {
  /** Says that a read has reached a position: every event up to there was read, and no other can appear there. */
  readonly hasRead: (position: Position.Position) => void
  /** Returns whether `page` returns a page after a position. */
  readonly hasNext: (after: LogPosition.LogPosition) => boolean
  /** Returns the page after a position; undefined if the page must be read. */
  readonly page: (
    after: LogPosition.LogPosition,
    limit: number
  ) => Effect.Effect<Page | undefined, EventStoreError>
}

/**
 * Returns the handed-on pages of one partition.
 *
 * **Details**
 *
 * The reader has seen every event up to `after`, and no other can appear there. If this process has filled each of the positions after it, there is nothing
 * of other processes between them. So the page is complete, also while an append in flight holds the high-water mark back. At the first position that this
 * process has not filled, the page ends.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  { driver, filter, stopsAtUnknown }: Pick<PageOptions, "driver" | "filter" | "stopsAtUnknown">
): HandedOnPages => {
  const { appended } = driver
  const matches = EventFilter.matcher(filter)
  let read: Position.Position | undefined

  /** Without an id, or before the first read, it is not known whether the log is the one that the checkpoint is of. */
  const mayTake = ({ eventId, position }: LogPosition.LogPosition): boolean =>
    // The types that newer code appends are counted up to the end of each page that is read.
    stopsAtUnknown === undefined
    // The server divides the events of such partitions, perhaps by another hash.
    && filter.partition === undefined
    && read !== undefined && position >= read && position - read < maxUnread
    && (eventId !== undefined || position === Position.start)

  return {
    hasRead: (position) => {
      read = position
    },
    hasNext: (after) => mayTake(after) && appended?.has(Position.make(after.position + 1n)) === true,
    page: (after, limit) =>
      appended === undefined || !mayTake(after)
        ? Effect.undefined
        : Effect.map(appended.after(after.position, Math.min(limit, maxEvents)), (events) => {
          const last = events.at(-1)
          if (last === undefined) return undefined
          const count = after.count && { ...after.count, events: after.count.events + events.length }
          return {
            events: events.filter(matches),
            head: last.position,
            headEventId: last.id,
            headCount: count,
            reached: LogPosition.make(last.position, last.id, count),
            isLast: true,
            isRelevant: () => true,
            // Also the events between: the log may have been set back, and have other events there by now.
            verify: Effect.tapError(
              requireEvents(driver, [after, ...events.map(LogPosition.ofEvent)]),
              () => Effect.sync(appended.clear)
            )
          }
        })
  }
}
