/**
 * Events that were stored without a tag that their set declares today, so that a read by this tag does not find them.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { type EventStoreError, EventsUntagged, storeError, StoreUnavailable } from "../core/errors.ts"
import type * as Event from "../event/Event.ts"
import * as EventTags from "../event/EventTags.ts"
import type { EventStoreDriver, EventType, EventTypes } from "./EventStoreDriver.ts"

/**
 * Which events a reader selects by which tags.
 *
 * @since 0.1.0
 * @category models
 */
export interface Selection {
  readonly events: Event.Any
  /** The stored types that it reads. */
  readonly types: ReadonlyArray<string>
  /** The names of the tags by which it selects. */
  readonly tagNames: ReadonlyArray<string>
}

/**
 * Returns the types of which the log has events without a tag of a selection, although each event written today has it. A tag whose field may be
 * missing, or is a list, is not compared.
 *
 * @since 0.1.0
 * @category accessors
 */
export const find = (
  { events, tagNames, types }: Selection,
  counted: ReadonlyArray<EventType>
): ReadonlyArray<EventsUntagged> =>
  tagNames.flatMap((tag) =>
    types.flatMap((type) => {
      const untagged = untaggedOf(counted, type, tag)
      return untagged > 0 && EventTags.isAlwaysTagged(events, type, tag)
        ? [new EventsUntagged({ type, tag, events: untagged })]
        : []
    })
  )

const untaggedOf = (counted: ReadonlyArray<EventType>, type: string, tag: string): number => {
  let untagged = 0
  for (const one of counted) {
    if (one.type !== type) continue
    untagged += one.events - (Object.hasOwn(one.tagged, tag) ? one.tagged[tag]! : 0)
  }
  return untagged
}

/** How long a count is used. A process of an earlier release may append events without the tag meanwhile. */
const maxAge = 10_000

interface Count {
  readonly at: number
  readonly types: ReadonlyArray<EventType>
}

const counts = new WeakMap<EventStoreDriver, Count>()

/**
 * Fails with `EventsUntagged` if the log has events that a selection does not find because they were stored without the tag. It counts the log at the
 * first call, and again every 10 s.
 *
 * @since 0.1.0
 * @category combinators
 */
export const reject = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  selections: ReadonlyArray<Selection>
): Effect.fn.Return<void, EventStoreError> {
  if (selections.every(({ tagNames }) => tagNames.length === 0)) return
  const types = yield* typesOf(driver)
  for (const selection of selections) {
    const [first] = find(selection, types)
    if (first !== undefined) return yield* Effect.fail(storeError(first))
  }
})

const typesOf = Effect.fnUntraced(function*(
  driver: EventStoreDriver
): Effect.fn.Return<ReadonlyArray<EventType>, EventStoreError> {
  const now = yield* Clock.currentTimeMillis
  const before = counts.get(driver)
  // Counting locks the counts until the transaction ends.
  if (before !== undefined && (Math.abs(now - before.at) < maxAge || (yield* driver.inTransaction))) return before.types
  const { types } = yield* before === undefined ? countAll(driver) : driver.eventTypes
  counts.set(driver, { at: now, types })
  return types
})

/** Counts up to the high-water mark of now: a large log in several calls, the first time. */
const countAll = Effect.fnUntraced(function*(driver: EventStoreDriver): Effect.fn.Return<EventTypes, EventStoreError> {
  const head = yield* driver.head
  return yield* driver.eventTypes.pipe(
    Effect.repeat({ until: ({ position }) => position >= head, schedule: Schedule.spaced("10 millis") }),
    Effect.timeoutOrElse({ duration: "30 seconds", orElse: () => Effect.fail(notCounted) })
  )
})

const notCounted: EventStoreError = storeError(
  new StoreUnavailable({
    message: "The tags of the events in the log were not counted within 30 s, which a decision needs once; try again",
    cause: undefined
  })
)
