/**
 * The health of the log: whether its readers get to the last committed event, and which transaction holds them back.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { EventStoreError } from "../core/errors.ts"
import type * as Position from "../core/Position.ts"
import type { EventStoreDriver, EventTypes, InFlightAppend, LockHolder } from "../eventStore/driver/EventStoreDriver.ts"
import * as LockHolders from "../eventStore/driver/LockHolders.ts"
import * as HealthStatus from "./HealthStatus.ts"

/**
 * The health of the log.
 *
 * @since 0.1.0
 * @category models
 */
export interface LogHealth extends HealthStatus.Assessment {
  /** The high-water mark, above which no reader gets. */
  readonly head: Position.Position
  /** The position of the last committed event. */
  readonly last: Position.Position
  /**
   * The committed events above the high-water mark, up to `maxCount`, whether there are more, and the age of the first of them. No reader gets them now. A
   * lock at an early position counts events that readers have passed before.
   */
  readonly lag: { readonly events: number; readonly isMore: boolean; readonly seconds: number }
  /**
   * The position up to which the types of events are counted. A check of a large log that was never checked counts for a fifth of its timeout, and the
   * next one continues. `ConsumerHealth.unknownTypes` does not cover later events.
   */
  readonly typesCountedTo: Position.Position
  /**
   * The transactions that hold back the high-water mark: first those that hold a lock, the lowest mark first, then those that wait for one. An append
   * appears here for the milliseconds that it takes.
   */
  readonly inFlight: ReadonlyArray<InFlightAppend>
  /** The transactions that hold locks of the store's tables, rows or names for a second or more, or for which others wait: those first. */
  readonly lockHolders: ReadonlyArray<LockHolder>
}

/**
 * The end of the log at a time by the clock of its store.
 *
 * @since 0.1.0
 * @category models
 */
export interface LogEnd extends LockHolders.Observed, Pick<LogHealth, "head" | "last"> {}

/**
 * Reads the end of the log.
 *
 * @since 0.1.0
 * @category constructors
 */
export const read = Effect.fnUntraced(function*(log: EventStoreDriver): Effect.fn.Return<LogEnd, EventStoreError> {
  // The mark first: what is committed in between has not waited.
  const head = yield* log.head
  const last = yield* log.last
  return { head, last, ...yield* LockHolders.observe(log) }
})

/** The limits by which locks are judged, in seconds. */
interface Limits {
  readonly maxWait: number
  readonly stallTimeout: number
}

interface Problem {
  readonly seconds: number
  readonly reason: string
}

/**
 * Returns the health of the log at its end. Events above the high-water mark wait, also if a consumer has passed them because its own process has
 * appended them: no other reader gets them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  end: LogEnd,
  counted: Pick<EventTypes, "position">,
  limits: Limits & { readonly maxCount: number }
): Effect.fn.Return<LogHealth, EventStoreError> {
  const { at, head, inFlight, last, lockHolders } = end
  const lag = yield* log.lag({ after: head, to: last, limit: limits.maxCount })
  const seconds = Option.match(lag.since, {
    onNone: () => 0,
    onSome: (since) => HealthStatus.secondsBetween(since, at)
  })
  const ofAppends = problemsOfAppends(end, { events: lag.events, seconds }, limits)
  const problems = [
    ...ofAppends,
    ...problemsOfLocks(end, limits).filter(({ holder }) =>
      ofAppends.every(({ reason }) => !reason.includes(`${LockHolders.nameOf(holder)} `))
    )
  ]
  return {
    head,
    last,
    typesCountedTo: counted.position,
    lag: { events: lag.events, isMore: lag.events >= limits.maxCount, seconds },
    inFlight,
    lockHolders,
    status: problems.length === 0
      ? "green"
      : problems.some((problem) => problem.seconds > limits.stallTimeout)
      ? "red"
      : "yellow",
    reasons: problems.map(({ reason }) => reason)
  }
})

/** Events that no reader gets, and appends that wait for the in-flight low-water mark of another transaction. */
const problemsOfAppends = (
  end: LogEnd,
  { events, seconds }: { readonly events: number; readonly seconds: number },
  { maxWait }: Limits
): ReadonlyArray<Problem> => {
  const { at, head, inFlight } = end
  const holders = inFlight.filter(({ waitingSince }) => waitingSince === undefined)
  const waiting = inFlight.flatMap(({ lowWaterMark, waitingSince }) =>
    waitingSince === undefined ? [] : [{ lowWaterMark, seconds: HealthStatus.secondsBetween(waitingSince, at) }]
  )
  const longest = waiting.toSorted((a, b) => b.seconds - a.seconds)[0]
  return [
    {
      seconds,
      reason: `no reader gets past position ${head}, while ${HealthStatus.eventsWait(events)}, the oldest for `
        + `${HealthStatus.seconds(seconds)}: ${LockHolders.describeAppend(end)}`
    },
    ...(longest === undefined ? [] : [{
      seconds: longest.seconds,
      reason:
        `${waiting.length === 1 ? "1 append waits" : `${waiting.length} appends wait`} for a lock, the longest for `
        + `${HealthStatus.seconds(longest.seconds)}: ${
          LockHolders.describeAppend(end, holders.find(({ lowWaterMark }) => lowWaterMark === longest.lowWaterMark))
        }`
    }])
  ].filter((problem) => problem.seconds > maxWait)
}

/** The maximum number of lock holders that the reasons name. */
const maxHolders = 3

/** Transactions that have held a lock for long, and others wait for it. Waits have short deadlines, so the age of the transaction counts. */
const problemsOfLocks = (end: LogEnd, { maxWait }: Limits) =>
  end.lockHolders.filter(({ waiting }) => waiting > 0).slice(0, maxHolders).map((holder) => ({
    holder,
    seconds: secondsHeld(end, holder),
    reason: `${
      holder.waiting === 1 ? "1 session waits" : `${holder.waiting} sessions wait`
    } for a lock of another transaction: ${LockHolders.describe(end, holder)}`
  })).filter(({ seconds }) => seconds > maxWait)

const secondsHeld = ({ at }: LogEnd, { since, waitingSince }: LockHolder): number => {
  const from = since ?? waitingSince
  return from === undefined ? 0 : HealthStatus.secondsBetween(from, at)
}

/**
 * Returns sentences about the transactions that may stop a consumer, although no session waits for them at the moment: those that hold a lock of the
 * store, and are idle.
 *
 * @since 0.1.0
 * @category accessors
 */
export const idleHolders = (end: LogEnd, { maxWait }: Limits): ReadonlyArray<string> =>
  end.lockHolders.filter((holder) =>
    holder.waiting === 0 && (holder.pid === undefined || holder.state?.startsWith("idle in transaction") === true) &&
    secondsHeld(end, holder) > maxWait
  ).slice(0, maxHolders).map((holder) => LockHolders.describe(end, holder))
