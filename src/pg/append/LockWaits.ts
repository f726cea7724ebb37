/**
 * The waits of appends for locks of other transactions, bounded in time and in number: each wait in the database occupies a connection
 * of the pool, and leases, reads and queries need connections too.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import { ConnectionError, isSqlError, SqlError } from "effect/sql/SqlError"
import { EventStoreError } from "../../core/errors.ts"
import { isOfKey } from "../../core/lockWait.ts"
import { monotonicMillis } from "../../core/monotonic.ts"
import { sqlState } from "../../core/sqlState.ts"
import type { AppendRequest } from "../../eventStore/driver/EventStoreDriver.ts"
import { maxOccupations } from "../connections/ClientPool.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import { inWords } from "../PgDeadlines.ts"
import * as LockTurns from "./LockTurns.ts"

/**
 * How an attempt treats a lock that another transaction holds: it waits for so many milliseconds, or reports it at once.
 *
 * @since 0.1.0
 * @category models
 */
export type LockWait = number | "now"

/**
 * What an attempt returns: its result, or the name of the lock that another transaction holds; `undefined` if the server has not named it.
 *
 * @since 0.1.0
 * @category models
 */
export type Attempted<A> = Result.Result<A, string | undefined>

/**
 * Options of the attempts of an append.
 *
 * @since 0.1.0
 * @category options
 */
export interface AttemptOptions {
  readonly request: AppendRequest
  /** When the wait has begun, in milliseconds of the monotonic clock; by default now. */
  readonly since?: number | undefined
  /** Whether each attempt runs in `transaction`, which occupies a connection by itself. `false` by default. */
  readonly isTransaction?: boolean | undefined
  /** The lock that an attempt before has found to be held. */
  readonly lock?: string | undefined
  /** Returns whether another transaction holds a lock that the append needs. */
  readonly isHeld: Effect.Effect<boolean>
}

/**
 * Waits for locks.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockWaits {
  /**
   * Runs attempts until one succeeds, or until the lock timeout has passed: then it returns whether the last one has found a lock that another transaction
   * holds. An attempt returns the lock, or fails with the lock timeout of the server or a deadlock, if another transaction holds one.
   *
   * **Details**
   *
   * Of the appends that wait for one lock, one asks the server. While few locks are waited for, it waits in the database, where waiting is fair. For
   * further locks it asks at intervals, without a connection in between, by a statement that is shared by all who do so.
   */
  readonly attempt: <A, E, R>(
    attempt: (wait: LockWait) => Effect.Effect<Attempted<A>, E, R>,
    options: AttemptOptions
  ) => Effect.Effect<Result.Result<A, "held" | "was held">, E, R>
  /**
   * Returns the appends that wait for locks without a statement in the database, so that its catalogs do not show that they wait. Those that group commit
   * holds in its queue are not among them: of each lock, one is not there.
   */
  readonly waiting: () => ReadonlyArray<WaitingAppend>
  /**
   * Runs an append's transaction, which may wait for locks of its own. Such transactions, and those of projections' handlers, leave two connections of the
   * pool.
   */
  readonly transaction: <A, E, R>(transaction: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R>
}

/**
 * An append that waits for a lock without a statement in the database.
 *
 * @since 0.1.0
 * @category models
 */
export interface WaitingAppend {
  readonly request: AppendRequest
  /** Since when it waits, in milliseconds of the monotonic clock. */
  readonly since: number
}

/** The intervals between attempts, in milliseconds. */
const firstDelay = 1
const maxDelay = 50

/** So many try again at short intervals first, in case that the lock is held for a moment only. */
const fewPollers = 10

/** For each append that asks at intervals, by how many milliseconds the intervals of all of them are longer. */
const delayOfEach = 0.2

/**
 * How long an attempt waits in the database at least, in milliseconds. Otherwise thousands that have come one after the other would each ask for the
 * last millisecond of its time.
 */
const minWait = 50

/** How long an answer of the server counts as one that was given when the time was over, in milliseconds. */
const freshFor = 1_000

/** Why attempts have ended: the time is over, or the append needs another lock. */
type Ended = { readonly waited: "held" | "was held" } | { readonly next: string }

/** What attempts need. */
interface Limits {
  /** The permits for waits in the database. */
  readonly waits: Semaphore.Semaphore
  readonly occupations: Semaphore.Semaphore
  /** How long an attempt waits in the database at least, and at most, in milliseconds. */
  readonly shortest: number
  readonly longest: number
  /** The appends that wait without a statement in the database. */
  readonly waiting: Set<WaitingAppend>
}

interface Waiter extends Pick<AttemptOptions, "isHeld" | "isTransaction"> {
  readonly waitingAs: WaitingAppend
}

/** Returns a function that attempts while it has its turn. */
const attempter = ({ longest, occupations, shortest, waiting, waits }: Limits) => {
  let pollers = 0

  /** Waits until an attempt may find the lock free. Returns false if it is held when the time is over. */
  const pause = Effect.fnUntraced(
    function*(delay: number, left: Effect.Effect<number>, isHeld: Effect.Effect<boolean>) {
      while (true) {
        const rest = yield* left
        if (rest <= 0) return false
        pollers++
        yield* Effect.ensuring(
          Effect.sleep(Math.min(delay + pollers * delayOfEach, rest)),
          Effect.sync(() => pollers--)
        )
        if (delay < maxDelay && pollers < fewPollers) return true
        if (!(yield* isHeld)) return true
      }
    }
  )

  // Until one succeeds or the time is over, or until one finds another lock, which it returns.
  return Effect.fnUntraced(function*<A, E, R>(
    attempt: (wait: LockWait) => Effect.Effect<Attempted<A>, E, R>,
    { isHeld, isTransaction = false, waitingAs }: Waiter,
    end: number,
    lock: string | undefined,
    turn: LockTurns.Turn | undefined
  ): Effect.fn.Return<Result.Result<A, Ended>, E, R> {
    const left = Effect.map(monotonicMillis, (now) => end - now)
    const inDatabase = (wait: number) => {
      const waited = waits.withPermitsIfAvailable(1)(Effect.suspend(() => {
        waiting.delete(waitingAs)
        return Effect.ensuring(
          attempt(Math.ceil(Math.min(Math.max(wait, shortest), longest))),
          Effect.sync(() => waiting.add(waitingAs))
        )
      }))
      return isTransaction ? waited : Effect.map(occupations.withPermitsIfAvailable(1)(waited), Option.flatten)
    }
    let reportedAt = yield* monotonicMillis
    for (let delay = firstDelay;; delay = Math.min(delay * 2, maxDelay)) {
      const rest = yield* left
      if (rest <= 0) {
        return Result.fail({ waited: (yield* monotonicMillis) - reportedAt > freshFor ? "was held" : "held" })
      }
      const waited = yield* inDatabase(rest)
      if (Option.isNone(waited) && !(yield* pause(delay, left, isHeld))) return Result.fail({ waited: "held" })
      const found = Option.isSome(waited) ? waited.value : yield* attempt("now")
      if (Result.isSuccess(found)) {
        turn?.found("free")
        return Result.succeed(found.success)
      }
      reportedAt = yield* monotonicMillis
      turn?.found("held")
      if (found.failure !== undefined && found.failure !== lock) return Result.fail({ next: found.failure })
    }
  })
}

/**
 * Makes the waits of a store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  { deadlines: { connectionTimeout, lockTimeout, statementTimeout }, occupations, size }: Pick<
    PgConnections,
    "deadlines" | "size" | "occupations"
  >
): LockWaits => {
  const maxTransactions = maxOccupations(size)
  const waits = Semaphore.makeUnsafe(Math.floor(maxTransactions / 2))
  const inTurn = LockTurns.make()
  const waiting = new Set<WaitingAppend>()
  const untilFree = attempter({
    waits,
    waiting,
    occupations,
    shortest: Math.min(minWait, Math.ceil(lockTimeout / 4)),
    // The statement must have ended before its own deadline: that would leave the outcome unknown.
    longest: statementTimeout / 2
  })

  return {
    waiting: () => Array.from(waiting),
    attempt: Effect.fnUntraced(function*<A, E, R>(
      unchecked: (wait: LockWait) => Effect.Effect<Attempted<A>, E, R>,
      options: AttemptOptions
    ): Effect.fn.Return<Result.Result<A, "held" | "was held">, E, R> {
      const attempt = (wait: LockWait) =>
        Effect.catchIf(
          Effect.suspend(() => unchecked(wait)),
          isLockConflict,
          () => Effect.succeed(Result.fail(undefined))
        )
      const since = options.since ?? (yield* monotonicMillis)
      const end = since + lockTimeout
      let { lock } = options
      if (lock === undefined) {
        const found = yield* attempt("now")
        if (Result.isSuccess(found)) return Result.succeed(found.success)
        lock = found.failure
      }
      const waitingAs: WaitingAppend = { request: options.request, since }
      const waiter = { ...options, waitingAs }
      const wait = Effect.gen(function*() {
        while (true) {
          const left = end - (yield* monotonicMillis)
          const found: Option.Option<Result.Result<A, Ended>> = lock === undefined
            ? Option.some(yield* untilFree(attempt, waiter, end, lock, undefined))
            : yield* inTurn(lock, Math.max(left, 0))((turn) => untilFree(attempt, waiter, end, lock, turn))
          if (Option.isNone(found)) return Result.fail<"held" | "was held">("was held")
          if (Result.isSuccess(found.value)) return Result.succeed(found.value.success)
          const ended = found.value.failure
          if ("waited" in ended) return Result.fail(ended.waited)
          lock = ended.next
        }
      })
      waiting.add(waitingAs)
      return yield* Effect.ensuring(wait, Effect.sync(() => waiting.delete(waitingAs)))
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
