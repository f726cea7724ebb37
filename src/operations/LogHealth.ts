/**
 * The health of the log: whether its readers get to the last committed event, and which transaction holds them back.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
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
   * The committed events above the high-water mark, up to `maxCount`, whether there are more, and for how long the first of them has been held back: at most
   * as long as the oldest transaction in flight has run. No reader gets them now. A lock at an early position counts events that readers have passed before.
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
  /** Whether the status is yellow at most. */
  readonly isMinor?: boolean | undefined
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
  const { head, inFlight, last, lockHolders } = end
  const lag = yield* log.lag({ after: head, to: last, limit: limits.maxCount })
  const seconds = secondsHeldBack(end, lag.since)
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
      : problems.some(({ isMinor = false, seconds }) => !isMinor && seconds > limits.stallTimeout)
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

/**
 * Returns for how long events have been held back: no longer than the oldest of them is there, and than the oldest transaction in flight has run. A lock at an
 * early position holds back events that readers have passed long ago.
 */
const secondsHeldBack = ({ at, inFlight }: LogEnd, since: Option.Option<DateTime.Utc>): number => {
  if (Option.isNone(since)) return 0
  const holders = inFlight.filter(({ waitingSince }) => waitingSince === undefined)
  const ages = holders.map((holder) =>
    holder.since === undefined ? Infinity : HealthStatus.secondsBetween(holder.since, at)
  )
  // Without a holder, it has just ended.
  return Math.min(HealthStatus.secondsBetween(since.value, at), Math.max(0, ...ages))
}

/** The maximum number of lock holders that the reasons name. */
const maxHolders = 3

/**
 * Transactions that have held a lock for long, and others wait for it; or that keep out appends, whether or not this process sees that others wait: the appends
 * of a program with few connections wait without a session. Waits have short deadlines, so the age of the transaction counts.
 */
const problemsOfLocks = (end: LogEnd, { maxWait }: Limits): ReadonlyArray<Problem & { readonly holder: LockHolder }> =>
  end.lockHolders.filter((holder) => waitersOf(holder) !== undefined || holder.keepsOutAppends === true)
    .toSorted((one, other) => Number(waitersOf(one) === undefined) - Number(waitersOf(other) === undefined))
    .map((holder) => {
      const waiters = waitersOf(holder)
      return {
        holder,
        seconds: secondsHeld(end, holder),
        isMinor: waiters === undefined,
        reason: `${waiters === undefined ? "appends cannot get" : `${waiters} for`} a lock of another transaction: ${
          LockHolders.describe(end, holder)
        }`
      }
    }).filter(({ seconds }) => seconds > maxWait).slice(0, maxHolders)

/** Returns a phrase for those that are known to wait for a lock; `undefined` if there are none. */
const waitersOf = ({ waiting, waitingAppends = 0 }: LockHolder): string | undefined => {
  const sessions = waiting === 1 ? "1 session" : `${waiting} sessions`
  const appends = waitingAppends === 1 ? "1 append" : `${waitingAppends} appends`
  if (waiting === 0 && waitingAppends === 0) return undefined
  const waiters = waitingAppends === 0 ? sessions : waiting === 0 ? appends : `${sessions} and ${appends}`
  return `${waiters} ${waiting + waitingAppends === 1 ? "waits" : "wait"}`
}

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
