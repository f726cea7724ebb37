/**
 * The health of the log: whether its readers get to the last committed event, and which transaction holds them back.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { EventStoreError } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import type { EventStoreDriver, InFlightAppend } from "../eventStore/EventStoreDriver.ts"
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
   * The committed events that no reader gets, up to `maxCount`, whether there are more, and how long the first of them has waited. They are above the
   * high-water mark, and above every checkpoint of the report: a lock at an early position takes back no event that was read before.
   */
  readonly lag: { readonly events: number; readonly isMore: boolean; readonly seconds: number }
  /**
   * The transactions that hold back the high-water mark: first those that hold a lock, the lowest mark first, then those that wait for one. An append
   * appears here for the milliseconds that it takes.
   */
  readonly inFlight: ReadonlyArray<InFlightAppend>
}

/**
 * The end of the log at a time by the clock of its store.
 *
 * @since 0.1.0
 * @category models
 */
export interface LogEnd extends Pick<LogHealth, "head" | "last" | "inFlight"> {
  readonly at: DateTime.Utc
}

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
  const { appends, readAt } = yield* log.inFlight
  return { head, last, inFlight: appends, at: readAt }
})

/**
 * Returns the health of the log at its end. `reached` is the highest position that a reader has reached.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  { at, head, inFlight: appends, last }: LogEnd,
  reached: Position.Position,
  limits: { readonly maxCount: number; readonly maxWait: number; readonly stallTimeout: number }
): Effect.fn.Return<LogHealth, EventStoreError> {
  const lag = yield* log.lag({ after: Position.max(head, reached), to: last, limit: limits.maxCount })
  const secondsSince = (time: DateTime.Utc) => HealthStatus.secondsBetween(time, at)
  const seconds = Option.match(lag.since, { onNone: () => 0, onSome: secondsSince })
  const holders = appends.filter(({ waitingSince }) => waitingSince === undefined)
  const waiting = appends.flatMap(({ lowWaterMark, waitingSince }) =>
    waitingSince === undefined ? [] : [{ lowWaterMark, seconds: secondsSince(waitingSince) }]
  )
  const longest = waiting.toSorted((a, b) => b.seconds - a.seconds)[0]
  const problems = [
    {
      seconds,
      reason: `no reader gets past position ${head}, while ${HealthStatus.eventsWait(lag.events)}, the oldest for `
        + `${HealthStatus.seconds(seconds)}: ${describe(holders[0], secondsSince)}`
    },
    ...(longest === undefined ? [] : [{
      seconds: longest.seconds,
      reason:
        `${waiting.length === 1 ? "1 append waits" : `${waiting.length} appends wait`} for a lock, the longest for `
        + `${HealthStatus.seconds(longest.seconds)}: ${
          describe(holders.find(({ lowWaterMark }) => lowWaterMark === longest.lowWaterMark), secondsSince)
        }`
    }])
  ].filter((problem) => problem.seconds > limits.maxWait)
  return {
    head,
    last,
    lag: { events: lag.events, isMore: lag.events >= limits.maxCount, seconds },
    inFlight: appends,
    status: problems.length === 0
      ? "green"
      : problems.some((problem) => problem.seconds > limits.stallTimeout)
      ? "red"
      : "yellow",
    reasons: problems.map(({ reason }) => reason)
  }
})

/** Names a transaction, and says how to end it. */
const describe = (
  holder: InFlightAppend | undefined,
  secondsSince: (time: DateTime.Utc) => number
): string => {
  if (holder === undefined) return "the transaction that held the lock has just ended"
  const { application, pid, prepared, role, since, state } = holder
  const age = since === undefined ? "" : `, its transaction began ${HealthStatus.seconds(secondsSince(since))} ago`
  if (pid === undefined) {
    return `the prepared transaction "${prepared ?? "unknown"}" holds the in-flight low-water mark of an append${age}; `
      + `end it with COMMIT PREPARED or ROLLBACK PREPARED`
  }
  const details = [
    ...(role === undefined ? [] : [`role "${role}"`]),
    ...(application === undefined || application === "" ? [] : [`application "${application}"`]),
    ...(state === undefined ? [] : [state])
  ]
  return `the session ${pid} (${details.join(", ")}) holds the in-flight low-water mark of an append${age}; `
    + `end it with SELECT pg_terminate_backend(${pid})`
}
