/**
 * The texts that name a transaction that holds a lock, and say how to end it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import type { EventStoreDriver, InFlightAppend, LockHolder } from "./EventStoreDriver.ts"

/**
 * The transactions that hold locks, and the time at which they did.
 *
 * @since 0.1.0
 * @category models
 */
export interface Observed {
  /** The time by the clock of the store. */
  readonly at: DateTime.Utc
  readonly inFlight: ReadonlyArray<InFlightAppend>
  readonly lockHolders: ReadonlyArray<LockHolder>
}

type Holder = Pick<InFlightAppend, "pid" | "role" | "application" | "prepared" | "state" | "since">

/**
 * Reads which transactions hold locks.
 *
 * @since 0.1.0
 * @category constructors
 */
export const observe = Effect.fnUntraced(
  function*(log: EventStoreDriver): Effect.fn.Return<Observed, EventStoreError> {
    const lockHolders = yield* log.lockHolders
    const { appends: inFlight, readAt: at } = yield* log.inFlight
    return { at, inFlight, lockHolders }
  }
)

/**
 * Returns the name of a transaction: that of its session, if it has one.
 *
 * @since 0.1.0
 * @category accessors
 */
export const nameOf = ({ pid, prepared }: Pick<Holder, "pid" | "prepared">): string =>
  pid === undefined ? `the prepared transaction "${prepared ?? "unknown"}"` : `the session ${pid}`

/** Names a transaction and what it holds, and says how to end it. */
const inWords = (holder: Holder, querySince: DateTime.Utc | undefined, holds: string, at: DateTime.Utc): string => {
  const { application, pid, role, since, state } = holder
  const ago = (time: DateTime.Utc) =>
    `${Math.round(Math.max(0, DateTime.toEpochMillis(at) - DateTime.toEpochMillis(time)) / 1000)} s ago`
  const age = since === undefined ?
    "" :
    `, its transaction began ${ago(since)}${
      querySince === undefined ? "" : ` and its last statement ${ago(querySince)}`
    }`
  const details = [
    ...(role === undefined ? [] : [`role "${role}"`]),
    ...(application === undefined || application === "" ? [] : [`application "${application}"`]),
    ...(state === undefined ? [] : [state])
  ]
  return `${nameOf(holder)}${pid === undefined ? "" : ` (${details.join(", ")})`} holds ${holds}${age}; end it with ${
    pid === undefined ? "COMMIT PREPARED or ROLLBACK PREPARED" : `SELECT pg_terminate_backend(${pid})`
  }`
}

/**
 * Returns a sentence about a transaction that holds back readers. By default it is the one that holds the lowest mark.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describeAppend = (
  { at, inFlight, lockHolders }: Observed,
  holder: InFlightAppend | undefined = inFlight.find(({ waitingSince }) => waitingSince === undefined)
): string =>
  holder === undefined
    ? "the transaction that held the lock has just ended"
    : inWords(
      holder,
      lockHolders.find(({ pid }) => pid !== undefined && pid === holder.pid)?.querySince,
      "the in-flight low-water mark of an append",
      at
    )

/**
 * Returns a sentence about a transaction that holds locks.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describe = ({ at }: Pick<Observed, "at">, holder: LockHolder): string =>
  inWords(holder, holder.querySince, holder.locks.join(" and "), at)
