/**
 * Reading a driver page by page, as Streams.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { type EventStoreError, invalidRequest, storeError, StoreMisconfigured } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import type * as EventCodec from "../event/EventCodec.ts"
import type { EventFilter } from "../event/EventFilter.ts"
import type { EventQuery } from "../event/EventQuery.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver, LogPage, StreamPage } from "./EventStoreDriver.ts"
import * as Limits from "./Limits.ts"

/**
 * Events fetched at a time unless somebody says otherwise.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultPageSize = 500

/**
 * @since 0.1.0
 * @category options
 */
export interface ReadLogOptions {
  /** Only events after this position; all by default. */
  readonly after?: Position.Position | undefined
  /** Events fetched at a time; 500 by default. */
  readonly pageSize?: number | undefined
  /** Only events with these tags, or of these streams. */
  readonly where?: EventFilter | undefined
}

/**
 * Decodes page by page. The events before one that cannot be decoded are still delivered; then the Stream fails. A recorded event that means
 * nothing today is passed over.
 *
 * @since 0.1.0
 * @category reading
 */
export const decode = <E extends Event.Tagged>(
  codec: EventCodec.EventCodec<E>,
  recorded: Stream.Stream<EncodedEvent, EventStoreError>
): Stream.Stream<RecordedEvent<E>, EventStoreError> =>
  Stream.transformPull(recorded, (pull) =>
    Effect.sync(() => {
      let failed: EventStoreError | undefined
      const decodePage = (page: ReadonlyArray<EncodedEvent>) => {
        const decoded: Array<RecordedEvent<E>> = []
        for (const event of page) {
          const result = codec.decode(event)
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
 * The pages of one stream as one Stream, of `total` events at most.
 *
 * @since 0.1.0
 * @category reading
 */
export const streamPages = (
  driver: EventStoreDriver,
  first: StreamPage,
  total: number
): Stream.Stream<EncodedEvent, EventStoreError> =>
  Stream.paginate(
    { page: first, left: total },
    ({ page, left }) =>
      Effect.map(driver.readStream({ ...page, limit: Math.min(page.limit, left) }), (events) => {
        const last = events[events.length - 1]
        const remaining = left - events.length
        const next = last === undefined ? 0 : last.version + (page.direction === "forward" ? 1 : -1)
        const done = events.length < page.limit || remaining <= 0 || next < 1
        return [
          events,
          done ? Option.none() : Option.some({ page: { ...page, from: Version.make(next) }, left: remaining })
        ] as const
      })
  )

/**
 * A page of what a query selects.
 *
 * - `reached`: the position up to which there is nothing else any more
 *
 * @since 0.1.0
 * @category models
 */
export interface Matches {
  readonly events: ReadonlyArray<EncodedEvent>
  readonly reached: Position.Position
}

/**
 * The matches of a query in pages, in position order and without gaps. With `final` only events that nothing can come before any more; with
 * `visible` all that can be seen.
 *
 * @since 0.1.0
 * @category reading
 */
export const queryPages = (
  driver: EventStoreDriver,
  query: EventQuery,
  extent: "final" | "visible",
  start: Position.Position,
  pageSize: number
): Stream.Stream<Matches, EventStoreError> =>
  Stream.paginate(
    { after: start, limit: pageSize },
    Effect.fnUntraced(function*({ after, limit }) {
      const page = yield* driver.readByQuery({ query, after, limit })
      const full = page.events.length >= limit
      // Beyond the head, events may yet appear between those that are seen: before the next page is read too, which would miss them.
      const events = full || extent === "final"
        ? page.events.filter(({ position }) => position <= page.head)
        : page.events
      const last = events[events.length - 1]?.position ?? after
      const beyond = events.length < page.events.length
      const done = !full || (extent === "final" && beyond)
      return [
        [{ events, reached: done && extent === "final" ? Position.max(last, page.head) : last }],
        // One statement sees all that is there: a page that holds everything beyond the head has no gaps.
        done ? Option.none() : Option.some({ after: last, limit: events.length === 0 ? limit * 2 : limit })
      ] as const
    })
  )

/**
 * Fails when a position lies beyond every event there is: it is of another log, or of this one before an older backup of it was restored. To
 * wait there would skip whatever is appended until it is reached.
 *
 * @since 0.1.0
 * @category checks
 */
export const withinLog = (
  driver: EventStoreDriver,
  after: Position.Position,
  events: ReadonlyArray<EncodedEvent>,
  head: Position.Position
): Effect.Effect<void, EventStoreError> =>
  // The head may step back for a moment, to before an append in flight; the last event does not.
  events.length > 0 || head >= after ?
    Effect.void :
    Effect.flatMap(driver.last, (last) =>
      last >= after ? Effect.void : Effect.fail(storeError(
        new StoreMisconfigured({
          message: `Position ${after} lies beyond the end of the log, which is ${last}. Was an older backup restored?`,
          cause: undefined
        })
      )))

/**
 * The pages of the log as one Stream, up to the high-water mark or following it.
 *
 * @since 0.1.0
 * @category reading
 */
export const logPages = (
  driver: EventStoreDriver,
  limits: Limits.Limits,
  options: ReadLogOptions & { readonly types?: ReadonlyArray<string> | undefined },
  follow: boolean
): Stream.Stream<EncodedEvent, EventStoreError> =>
  Stream.suspend(() => {
    const limit = options.pageSize ?? Math.min(defaultPageSize, limits.pageSize)
    const rejection = Limits.checkPageSize(limits, limit)
    if (rejection !== undefined) return Stream.fail(rejection)
    const read = (page: LogPage) =>
      Effect.map(
        Effect.tap(driver.readAll(page), ({ events, head }) => withinLog(driver, page.after, events, head)),
        ({ events, head }) => ({
          events,
          full: events.length >= limit,
          reached: events.length >= limit ? events[events.length - 1]!.position : Position.max(page.after, head)
        })
      )
    const pageAt = (after: Position.Position): LogPage => ({ after, limit, types: options.types, ...options.where })
    const start = options.after ?? Position.start
    if (!Position.isPosition(start)) {
      return Stream.fail(invalidRequest(`one reads after a position from 0 to 2^63 - 1, not after ${String(start)}`))
    }
    return Stream.paginate(
      { after: start, wait: false },
      Effect.fnUntraced(function*({ after, wait }) {
        if (wait) yield* driver.changed(after)
        const { events, full, reached } = yield* read(pageAt(after))
        return [events, full || follow ? Option.some({ after: reached, wait: !full }) : Option.none()] as const
      })
    )
  })
