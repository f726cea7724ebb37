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
import type { LockTimeoutErrors, Queued } from "./LockTimeoutError.ts"
import { closedError } from "./PendingAppend.ts"

/** How long the next sweep waits at least, in milliseconds: each goes through all that wait. */
const minInterval = 10

/** What a sweep needs. */
interface Dependencies<P extends WaitingPending> {
  readonly queue: AppendQueue<P>
  readonly reported: Reported
  readonly deadlines: Pick<PgDeadlines, "connectionTimeout" | "lockTimeout">
  readonly lockTimeoutErrors: Pick<LockTimeoutErrors, "ofQueued">
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
    const waits = new Map<P, Queued["wait"]>()
    const overdue = queue.removeIf((pending) => {
      const waited = millis - pending.since
      if (waited < lockTimeout && waited < connectionTimeout) return false
      const wait = reported.waitOf(pending, millis)
      waits.set(pending, wait)
      // It may wait behind one append after the other.
      return wait === undefined
        ? waited >= connectionTimeout
        : millis - wait.since >= lockTimeout || waited >= connectionTimeout + lockTimeout
    })
    for (const pending of overdue) reported.timedOut(pending, millis)
    failAll(overdue.map((pending) => [pending, waits.get(pending)]))
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

/** Returns a function that fails appends, each with the lock for which it has waited. None is left without a result when the store is closed. */
const failer =
  <P extends WaitingPending>({ fail, fork, lockTimeoutErrors }: Dependencies<P>) =>
  (pendings: ReadonlyArray<readonly [P, Queued["wait"]]>): void => {
    if (pendings.length === 0) return
    const failing = Effect.map(
      lockTimeoutErrors.ofQueued(pendings.map(([{ request }, wait]) => ({ request, wait }))),
      (errors) => {
        for (const [index, [pending]] of pendings.entries()) fail(pending, Exit.fail(errors[index]!))
      }
    )
    fork(Effect.ensuring(
      failing,
      Effect.sync(() => {
        for (const [pending] of pendings) fail(pending, Exit.fail(closedError))
      })
    ))
  }
