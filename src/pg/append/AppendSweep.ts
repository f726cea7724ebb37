/**
 * Fails the appends that have waited too long to be sent. Internal: group commit alone uses it.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { EventStoreError } from "../../core/errors.ts"
import { monotonicMillisUnsafe } from "../../core/monotonic.ts"
import type { PgDeadlines } from "../PgDeadlines.ts"
import * as Timer from "../timer.ts"
import type { AppendQueue } from "./AppendQueue.ts"
import type { Reported, WaitingPending } from "./LockReports.ts"
import type { LockTimeoutErrors, Waited } from "./LockTimeoutError.ts"

/** How long the next sweep waits at least, in milliseconds: each goes through all that wait. */
const minInterval = 10

/** What a sweep needs. */
interface Dependencies<P extends WaitingPending> {
  readonly queue: AppendQueue<P>
  readonly reported: Reported
  readonly deadlines: Pick<PgDeadlines, "connectionTimeout" | "lockTimeout">
  readonly lockTimeoutErrors: Pick<LockTimeoutErrors, "ofAppends">
  readonly clock: Clock.Clock
  readonly fork: (effect: Effect.Effect<void>) => void
  /** Gives a caller its error. */
  readonly fail: (pending: P, exit: Exit.Exit<never, EventStoreError>) => void
  /** Called when appends were removed: others may have waited behind them. */
  readonly removed: () => void
}

/**
 * The sweep of a queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendSweep {
  /** Looks at once, unless it has just looked. */
  readonly now: () => void
  /** Looks at intervals while appends wait. */
  readonly start: () => void
  readonly stop: () => void
}

/**
 * Makes the sweep of a queue. It has one timer, which runs only while appends wait.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <P extends WaitingPending>(dependencies: Dependencies<P>): AppendSweep => {
  const { clock, deadlines: { connectionTimeout, lockTimeout }, queue, removed, reported } = dependencies
  const interval = Math.min(Math.max(Math.min(connectionTimeout, lockTimeout) / 8, minInterval), 1_000)
  const failAll = failer(dependencies)
  let timer: Timer.Timer
  let last = -Infinity
  const sweep = (millis: number): void => {
    last = millis
    const locks = new Map<P, string>()
    const overdue = queue.removeIf((pending) => {
      const waited = millis - pending.since
      if (waited < lockTimeout && waited < connectionTimeout) return false
      const lock = reported.lockOf(pending, millis)
      if (lock !== undefined) locks.set(pending, lock)
      return waited >= (lock === undefined ? connectionTimeout : lockTimeout)
    })
    for (const [lock, pendings] of Map.groupBy(overdue, (pending) => locks.get(pending))) {
      for (const pending of pendings) reported.timedOut(pending, millis)
      // Appends that wait for one lock have the same holder, so one question to the server is enough.
      failAll(pendings, lock === undefined ? "not sent" : "was held")
    }
    if (overdue.length > 0) removed()
  }
  const start = (): void => {
    timer ??= queue.isEmpty() ? undefined : Timer.start(interval, () => {
      timer = undefined
      sweep(monotonicMillisUnsafe(clock))
      start()
    })
  }
  return {
    now: () => {
      const millis = monotonicMillisUnsafe(clock)
      if (millis - last >= minInterval) sweep(millis)
    },
    start,
    stop: () => Timer.stop(timer)
  }
}

/** Returns a function that fails appends. */
const failer =
  <P extends WaitingPending>({ fail, fork, lockTimeoutErrors }: Dependencies<P>) =>
  (pendings: ReadonlyArray<P>, waited: Waited): void => {
    const [first, ...others] = pendings.map(({ request }) => request)
    if (first === undefined) return
    fork(Effect.map(lockTimeoutErrors.ofAppends([first, ...others], waited), (errors) => {
      for (const [index, pending] of pendings.entries()) fail(pending, Exit.fail(errors[index]!))
    }))
  }
