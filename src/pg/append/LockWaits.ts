/**
 * The waits of appends for locks of other transactions, bounded in time and in number: each wait in the database occupies a connection
 * of the pool, and leases, reads and queries need connections too.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import { ConnectionError, isSqlError, SqlError } from "effect/sql/SqlError"
import { EventStoreError } from "../../core/errors.ts"
import { isOfKey } from "../../core/lockWait.ts"
import { monotonicMillis } from "../../core/monotonic.ts"
import { sqlState } from "../../core/sqlState.ts"
import { maxOccupations } from "../connections/ClientPool.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import { inWords } from "../PgDeadlines.ts"

/**
 * How an attempt treats a lock that another transaction holds: it waits for so many milliseconds, or reports it at once.
 *
 * @since 0.1.0
 * @category models
 */
export type LockWait = number | "now"

/**
 * Waits for locks.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockWaits {
  /**
   * Runs attempts until one succeeds, or until the lock timeout has passed: then it returns none. An attempt returns none, or fails with
   * the lock timeout of the server or a deadlock, if another transaction holds a lock. While few appends wait, an attempt waits in the database, where
   * waiting is fair. Further ones try again at intervals, without a connection in between.
   */
  readonly attempt: <A, E, R>(
    attempt: (wait: LockWait) => Effect.Effect<Option.Option<A>, E, R>,
    /** When the wait has begun, in milliseconds of the monotonic clock; by default now. */
    since?: number,
    /** Whether each attempt runs in `transaction`, which occupies a connection by itself. `false` by default. */
    isTransaction?: boolean
  ) => Effect.Effect<Option.Option<A>, E, R>
  /**
   * Runs an append's transaction, which may wait for locks of its own. Such transactions, and those of projections' handlers, leave two connections of the
   * pool.
   */
  readonly transaction: <A, E, R>(transaction: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R>
}

/** The intervals between attempts, in milliseconds. */
const firstDelay = 1
const maxDelay = 50

/**
 * Makes the waits of a store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  { deadlines: { connectionTimeout, lockTimeout }, occupations, size }: Pick<
    PgConnections,
    "deadlines" | "size" | "occupations"
  >
): LockWaits => {
  const maxTransactions = maxOccupations(size)
  const waits = Semaphore.makeUnsafe(Math.floor(maxTransactions / 2))

  return {
    attempt: Effect.fnUntraced(function*(unchecked, since, isTransaction = false) {
      const attempt = (wait: LockWait) =>
        Effect.catchIf(Effect.suspend(() => unchecked(wait)), isLockConflict, () => Effect.succeedNone)
      const start = since ?? (yield* monotonicMillis)
      for (let delay = firstDelay;; delay = Math.min(delay * 2, maxDelay)) {
        const left = start + lockTimeout - (yield* monotonicMillis)
        if (left <= 0) return Option.none()
        const inDatabase = Effect.map(waits.withPermitsIfAvailable(1)(attempt(Math.ceil(left))), Option.flatten)
        const waited = yield* (isTransaction
          ? inDatabase
          : Effect.map(occupations.withPermitsIfAvailable(1)(inDatabase), Option.flatten))
        if (Option.isSome(waited)) return waited
        const found = yield* attempt("now")
        if (Option.isSome(found)) return found
        yield* Effect.sleep(Math.min(delay, left))
      }
    }),
    transaction: (transaction) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(
          restore(Effect.timeoutOrElse(occupations.take(1), {
            duration: connectionTimeout,
            orElse: () => Effect.fail(noTransaction(maxTransactions, connectionTimeout))
          })),
          () => Effect.ensuring(restore(transaction), occupations.release(1))
        )
      )
  }
}

/**
 * Returns whether an error is the server's `lock_not_available`, also within the error of a projection's statement.
 *
 * @since 0.1.0
 * @category guards
 */
export const isLockTimeout = (error: unknown): boolean => hasState(error, lockTimeouts)

/**
 * Returns whether another transaction was in the way of one that has written nothing: by `lock_not_available`, or by a deadlock that the server
 * ended.
 *
 * @since 0.1.0
 * @category guards
 */
export const isLockConflict = (error: unknown): boolean => hasState(error, lockConflicts)

const lockTimeouts = /^55P03$/
const lockConflicts = /^(55P03|40P01)$/

const hasState = (error: unknown, states: RegExp): boolean =>
  isSqlError(error)
    ? states.test(sqlState(error) ?? "")
    : error instanceof EventStoreError && error.reason._tag === "StoreUnavailable" &&
      (isOfKey(error) || hasState(error.reason.cause, states))

const noTransaction = (count: number, timeout: number): SqlError => {
  const message =
    `${count} appends with inline projections and handlers of projections are running, as many as the client's pool allows, and none ended within ${
      inWords(timeout)
    } (connectionTimeout); nothing was sent`
  return new SqlError({ reason: new ConnectionError({ cause: new Error(message), message, operation: "connect" }) })
}
