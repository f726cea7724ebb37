/**
 * What a process knows of the tags of the events in a log. The log is counted beside the decisions that need the counts.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { type EventStoreError, storeError, StoreUnavailable } from "../core/errors.ts"
import type * as Position from "../core/Position.ts"
import { withoutSpans } from "../core/telemetry/background.ts"
import * as OutageLog from "../core/telemetry/OutageLog.ts"
import type * as Event from "../event/Event.ts"
import type { EventStoreDriver, EventType, EventTypes } from "./driver/EventStoreDriver.ts"
import * as PastTags from "./PastTags.ts"

/**
 * The events in the log, by type, schema version and tag, and those whose tags differ from the tags that a set gives them today.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagCheck {
  readonly at: number
  readonly types: ReadonlyArray<EventType>
  readonly past: ReadonlyArray<PastTags.Difference>
}

interface Count {
  readonly at: number
  readonly counted: EventTypes
  /** The types of the visible events after those counted: while an append is in flight, a read by query finds them, too. */
  readonly above: ReadonlyArray<EventType>
}

/** From this age on, a check is renewed in the background. A process of an earlier release may append events without the tag meanwhile. */
const freshFor = 5_000

/** From this age on, a check is not used. */
const maxAge = 30_000

/** The pause after a check that failed. */
const pause = 2_000

/** The maximum time of a check. */
const maxTime = Duration.seconds(25)

/** How long a transaction waits for a check on another connection. A count in the transaction locks the counts until it ends. */
const maxWait = Duration.seconds(2)

/** How long another session may lock the counts before the events are counted without them. */
const maxLocked = 2_000

interface Checks {
  count: Count | undefined
  counting: Fiber.Fiber<Count, EventStoreError> | undefined
  failedAt: number
  readonly latest: WeakMap<Event.Any, TagCheck>
  readonly running: WeakMap<Event.Any, Fiber.Fiber<TagCheck, EventStoreError>>
  readonly outages: OutageLog.OutageLog
}

const ofDrivers = new WeakMap<EventStoreDriver, Checks>()

const checksOf = (driver: EventStoreDriver): Checks => {
  const known = ofDrivers.get(driver)
  if (known !== undefined) return known
  const made: Checks = {
    count: undefined,
    counting: undefined,
    failedAt: -Infinity,
    latest: new WeakMap(),
    running: new WeakMap(),
    outages: OutageLog.make("The count of the tags in the log")
  }
  ofDrivers.set(driver, made)
  return made
}

/**
 * Returns the latest check of a log for a set of events. The first call waits for it. A check older than 5 s is renewed in the background, one at a time;
 * one older than 30 s is not used, and the call waits for its successor. A check in the background that fails is logged.
 *
 * @since 0.1.0
 * @category accessors
 */
export const latest = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  events: Event.Any
): Effect.fn.Return<TagCheck, EventStoreError> {
  const checks = checksOf(driver)
  const now = yield* Clock.currentTimeMillis
  const before = checks.latest.get(events)
  const age = before === undefined ? Infinity : Math.abs(now - before.at)
  if (before !== undefined && age < freshFor) return before
  const isInTransaction = driver.inTransaction(yield* Effect.context<never>())
  const outside = isInTransaction ? driver.outsideTransaction : <A, E, R>(self: Effect.Effect<A, E, R>) => self
  // Nothing can run beside the transaction.
  if (outside === undefined) return yield* compare(driver, events, yield* countAll(driver))
  if (before !== undefined && age < maxAge) {
    if (Math.abs(now - checks.failedAt) >= pause) yield* outside(withoutSpans(start(driver, events)))
    return before
  }
  const fiber = yield* outside(start(driver, events))
  if (!isInTransaction) return yield* Fiber.join(fiber)
  // If transactions that wait for it have all connections, each counts by itself.
  const check = yield* Effect.timeoutOption(Fiber.join(fiber), maxWait)
  return Option.isSome(check) ? check.value : yield* compare(driver, events, yield* countAll(driver))
})

/** Returns the check that runs, or starts one, which outlives the caller. */
const start = (
  driver: EventStoreDriver,
  events: Event.Any
): Effect.Effect<Fiber.Fiber<TagCheck, EventStoreError>> =>
  Effect.suspend(() => {
    const checks = checksOf(driver)
    const { latest, outages, running } = checks
    const known = running.get(events)
    if (known !== undefined) return Effect.succeed(known)
    const check = Effect.flatMap(countOnce(driver), (count) => compare(driver, events, count)).pipe(
      Effect.timeoutOrElse({ duration: maxTime, orElse: () => Effect.fail(notCounted) }),
      Effect.tap(() => outages.succeeded("count")),
      Effect.tapCause((cause) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          checks.failedAt = now
          // Otherwise the decision that waits for it fails with the cause.
          return latest.has(events)
            ? outages.failed({ source: "count", kind: "count", message: OutageLog.withReason(failure, cause), cause })
            : Effect.void
        })
      ),
      Effect.ensuring(Effect.sync(() => running.delete(events)))
    )
    return Effect.tap(Effect.forkDetach(check), (fiber) =>
      Effect.sync(() => {
        if (fiber.pollUnsafe() === undefined) running.set(events, fiber)
      }))
  })

const failure = "The tags of the events in the log cannot be counted. Decisions use the last count until it is 30 s old"

const compare = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  events: Event.Any,
  { above, at, counted }: Count
): Effect.fn.Return<TagCheck, EventStoreError> {
  const past = yield* PastTags.compare(driver, events, counted, above)
  const check = { at, types: [...counted.types, ...above], past }
  checksOf(driver).latest.set(events, check)
  return check
})

/** Returns a count that is not old, or the one that runs, or starts one, for all sets of events that wait for it. */
const countOnce = Effect.fnUntraced(function*(driver: EventStoreDriver): Effect.fn.Return<Count, EventStoreError> {
  const checks = checksOf(driver)
  const now = yield* Clock.currentTimeMillis
  if (checks.count !== undefined && Math.abs(now - checks.count.at) < freshFor) return checks.count
  if (checks.counting !== undefined) return yield* Fiber.join(checks.counting)
  const ended = Effect.sync(() => {
    checks.counting = undefined
  })
  const fiber = yield* Effect.forkDetach(Effect.ensuring(countAll(driver), ended))
  if (fiber.pollUnsafe() === undefined) checks.counting = fiber
  return yield* Fiber.join(fiber)
})

/** Counts up to the high-water mark of now, a large log in several calls, and then the visible events above. */
const countAll = Effect.fnUntraced(function*(driver: EventStoreDriver): Effect.fn.Return<Count, EventStoreError> {
  const at = yield* Clock.currentTimeMillis
  let head: Position.Position | undefined
  let progress: { readonly position: Position.Position; readonly at: number } | undefined
  const counted = yield* driver.eventTypes.pipe(
    // Another session may have locked the counts: for a moment, or for as long as its transaction stays open.
    Effect.repeat({
      until: (counted) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          if (counted.position >= (head ??= counted.head)) return true
          if (progress?.position !== counted.position) progress = { position: counted.position, at: now }
          return now - progress.at >= maxLocked
        }),
      schedule: Schedule.spaced("10 millis")
    }),
    Effect.timeoutOrElse({ duration: maxTime, orElse: () => Effect.fail(notCounted) })
  )
  const count = { at, counted, above: yield* driver.visibleEventTypes(counted.position) }
  checksOf(driver).count = count
  return count
})

const notCounted: EventStoreError = storeError(
  new StoreUnavailable({
    message: "The tags of the events in the log were not counted within 25 s, which a decision needs; try again",
    cause: undefined
  })
)
