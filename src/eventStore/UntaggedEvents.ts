/**
 * Events that a read by a tag does not find, because they were stored without the tag that their set gives them today, or with another value of it.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { type EventStoreError, EventsUntagged, storeError, StoreUnavailable } from "../core/errors.ts"
import type * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import { upcastersOf } from "../event/EventAnnotations.ts"
import * as EventTags from "../event/EventTags.ts"
import type { EventStoreDriver, EventType, EventTypes } from "./driver/EventStoreDriver.ts"
import * as PastTags from "./PastTags.ts"

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
  /** The names of the events of the set that it handles. */
  readonly handles: ReadonlyArray<string>
  /** The names of the tags by which it selects. */
  readonly tagNames: ReadonlyArray<string>
}

/**
 * Returns the types of which the log has events that a selection does not find by its tags. Events of the current schema version are counted: those
 * without a tag that each event written today has. A tag whose field may be missing, or is a list, is not compared. Of events of earlier schema
 * versions and of legacy types, `past` has compared the tags.
 *
 * @since 0.1.0
 * @category accessors
 */
export const find = (
  { events, handles, tagNames, types }: Selection,
  counted: ReadonlyArray<EventType>,
  past: ReadonlyArray<PastTags.Difference>
): ReadonlyArray<EventsUntagged> =>
  tagNames.flatMap((tag) =>
    types.flatMap((type) => {
      const current = handles.includes(type) && EventTags.isAlwaysTagged(events, type, tag)
        ? untaggedOf(counted, type, tag, (upcastersOf(events)[type]?.past.length ?? 0) + 1)
        : 0
      const differences = past.filter((one) =>
        one.type === type && one.tag === tag && one.parts.some((part) => handles.includes(part))
      )
      const untagged = differences.reduce((sum, one) => sum + one.events, current)
      return untagged > 0 ? [new EventsUntagged({ type, tag, events: untagged })] : []
    })
  )

/** Counts the events of a type without a tag, from a schema version on. Those of newer versions count, too. */
const untaggedOf = (counted: ReadonlyArray<EventType>, type: string, tag: string, from: number): number => {
  let untagged = 0
  for (const one of counted) {
    if (one.type !== type) continue
    for (const { events, schemaVersion, tagged } of one.versions) {
      if (schemaVersion >= from) untagged += events - (tagged.get(tag) ?? 0)
    }
  }
  return untagged
}

/** How long a count is used. A process of an earlier release may append events without the tag meanwhile. */
const maxAge = 10_000

interface Count {
  readonly at: number
  readonly counted: EventTypes
  /** The types of the visible events after those counted: while an append is in flight, a read by query finds them, too. */
  readonly above: ReadonlyArray<EventType>
}

const counts = new WeakMap<EventStoreDriver, Count>()

/**
 * Fails with `EventsUntagged` if the log has events that a selection does not find by its tags. It counts the log at the first call, and again every
 * 10 s, with the visible events above the high-water mark. In a transaction of the caller it counts on another connection, and uses a count for up to 20 s.
 *
 * @since 0.1.0
 * @category combinators
 */
export const reject = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  selections: ReadonlyArray<Selection>
): Effect.fn.Return<void, EventStoreError> {
  if (selections.every(({ tagNames }) => tagNames.length === 0)) return
  const { above, counted } = yield* countsOf(driver)
  const types = [...counted.types, ...above]
  for (const selection of selections) {
    if (selection.tagNames.length === 0) continue
    const past = yield* PastTags.compare(driver, selection.events, counted, above)
    const [first] = find(selection, types, past)
    if (first !== undefined) return yield* Effect.fail(storeError(first))
  }
})

const countsOf = Effect.fnUntraced(function*(driver: EventStoreDriver): Effect.fn.Return<Count, EventStoreError> {
  const now = yield* Clock.currentTimeMillis
  const before = counts.get(driver)
  const age = before === undefined ? Infinity : Math.abs(now - before.at)
  if (before !== undefined && age < maxAge) return before
  const { outsideTransaction } = driver
  if (!driver.inTransaction(yield* Effect.context<never>())) return yield* Fiber.join(yield* countOnce(driver))
  if (outsideTransaction === undefined) return yield* countAll(driver)
  const fiber = yield* outsideTransaction(countOnce(driver))
  if (before !== undefined && age < 2 * maxAge) return before
  // If transactions that wait for it have all connections, each counts by itself.
  const count = yield* Effect.timeoutOption(Fiber.join(fiber), maxWait)
  return Option.isSome(count) ? count.value : yield* countAll(driver)
})

/** How long a transaction waits for a count on another connection. A count in the transaction locks the counts until it ends. */
const maxWait = Duration.seconds(2)

const counting = new WeakMap<EventStoreDriver, Fiber.Fiber<Count, EventStoreError>>()

/** Returns the count that runs, or starts one, which outlives the caller. */
const countOnce = (driver: EventStoreDriver): Effect.Effect<Fiber.Fiber<Count, EventStoreError>> =>
  Effect.suspend(() => {
    const running = counting.get(driver)
    if (running !== undefined) return Effect.succeed(running)
    const count = Effect.ensuring(countAll(driver), Effect.sync(() => counting.delete(driver)))
    return Effect.tap(Effect.forkDetach(count), (fiber) =>
      Effect.sync(() => {
        if (fiber.pollUnsafe() === undefined) counting.set(driver, fiber)
      }))
  })

/** Counts up to the high-water mark of now, a large log in several calls, and then the visible events above. */
const countAll = Effect.fnUntraced(function*(driver: EventStoreDriver): Effect.fn.Return<Count, EventStoreError> {
  const at = yield* Clock.currentTimeMillis
  let head: Position.Position | undefined
  const counted = yield* driver.eventTypes.pipe(
    // Another process may be counting at the moment.
    Effect.repeat({
      until: (counted) => counted.position >= (head ??= counted.head),
      schedule: Schedule.spaced("10 millis")
    }),
    Effect.timeoutOrElse({ duration: "30 seconds", orElse: () => Effect.fail(notCounted) })
  )
  const count = { at, counted, above: yield* driver.visibleEventTypes(counted.position) }
  counts.set(driver, count)
  return count
})

const notCounted: EventStoreError = storeError(
  new StoreUnavailable({
    message: "The tags of the events in the log were not counted within 30 s, which a decision needs; try again",
    cause: undefined
  })
)
