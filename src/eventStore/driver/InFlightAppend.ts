/**
 * The transactions that hold back the high-water mark, or hold locks of the store.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type { Position } from "../../core/Position.ts"

/**
 * A transaction that holds back the high-water mark, or waits for the lock of one that does.
 *
 * @since 0.1.0
 * @category models
 */
export interface InFlightAppend {
  /** The process id of its session; undefined for a prepared transaction. */
  readonly pid: number | undefined
  /** The role of its session. */
  readonly role: string | undefined
  /** The application name of its session. */
  readonly application: string | undefined
  /** The identifier of a prepared transaction. */
  readonly prepared: string | undefined
  /** What its session does, such as "idle in transaction"; undefined when this program's role may not see it. */
  readonly state: string | undefined
  /** When its transaction began; undefined when this program's role may not see it. */
  readonly since: DateTime.Utc | undefined
  /** The position above which no reader gets. */
  readonly lowWaterMark: Position
  /** Since when it waits for its lock; undefined when it holds the lock. */
  readonly waitingSince: DateTime.Utc | undefined
}

/**
 * A transaction that holds locks of the store, for which others wait or may wait: of tables, rows, streams, command ids, types or tags. One that holds
 * back the high-water mark is an `InFlightAppend` too.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockHolder
  extends Pick<InFlightAppend, "pid" | "role" | "application" | "prepared" | "state" | "since">
{
  /** When its current or last statement began; undefined when this program's role may not see it. */
  readonly querySince: DateTime.Utc | undefined
  /** A phrase for each lock that it holds. */
  readonly locks: ReadonlyArray<string>
  /** The number of sessions that wait for it. */
  readonly waiting: number
  /** The number of appends of this process that wait for it without a session, as far as they are counted. */
  readonly waitingAppends?: number | undefined
  /** Whether it holds a lock that each append to a stream, or under a command id, type or tag, needs. */
  readonly keepsOutAppends?: boolean | undefined
  /** Since when the first of them has waited. */
  readonly waitingSince: DateTime.Utc | undefined
}
