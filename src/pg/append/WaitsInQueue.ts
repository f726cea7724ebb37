/**
 * The waits of group commit for locks of other transactions: of the appends that wait for one lock, one asks the server, and the others wait in the
 * queue. Internal: group commit alone uses it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type { EventStoreError } from "../../core/errors.ts"
import { fromAppendError } from "../PgErrors.ts"
import * as Timer from "../timer.ts"
import type { AppendQueue } from "./AppendQueue.ts"
import type { AppendSweep } from "./AppendSweep.ts"
import { isOfStream, type Reported } from "./LockReports.ts"
import type { LockTimeoutErrors } from "./LockTimeoutError.ts"
import type { LockWaits } from "./LockWaits.ts"
import * as PendingAppend from "./PendingAppend.ts"
import { type AppendRow, attempted, type PgAppend } from "./PgAppend.ts"

type Pending = PendingAppend.Pending

/** For how many milliseconds an append asks for a lock before another one asks too, each after twice the time. */
const patience = 1_000

/** What those that wait need. */
interface Dependencies {
  readonly queue: AppendQueue<Pending>
  readonly reported: Reported
  readonly sweep: AppendSweep
  readonly statements: Statements
  readonly fork: (effect: Effect.Effect<void>) => void
  /** Called after appends went back to the queue. */
  readonly wentBack: () => void
  readonly end: (pending: Pending, isFollowed: boolean) => void
  readonly isClosed: () => boolean
  readonly now: () => number
}

interface Statements extends Pick<PgAppend, "single"> {
  readonly waits: Pick<LockWaits, "attempt">
  readonly lockTimeoutErrors: Pick<LockTimeoutErrors, "ofAppend" | "isHeld">
}

/** The result of an append that has waited for its locks; a failure of its own if it was interrupted. */
type WaitExit = Exit.Exit<Exit.Exit<AppendRow, EventStoreError>>

/**
 * Returns a function that makes an append wait for a lock.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (dependencies: Dependencies): (pending: Pending, lock: string) => void => {
  const { end, fork, isClosed, now, queue, reported, statements, sweep, wentBack } = dependencies
  /** How many ask for a lock. */
  const asking = new Map<string, number>()
  const wait = (pending: Pending, ended: (exit: WaitExit) => Effect.Effect<void>) =>
    fork(PendingAppend.withParentSpan(pending.span, Effect.onExit(sendWaiting(statements, pending), ended)))
  const ask = (pending: Pending, lock: string, pause = patience): void => {
    asking.set(lock, (asking.get(lock) ?? 0) + 1)
    // Those behind it are appends to the same stream.
    if (isOfStream(pending)) queue.freeNames(pending)
    let timer: Timer.Timer
    const askAlso = (): void => {
      const next = isClosed() ? undefined : queue.takeAwaiting(lock)
      if (next !== undefined) ask(next, lock, pause * 2)
      else timer = Timer.start(pause, askAlso)
    }
    // It may have got this lock, and wait for another one or for a server that does not respond.
    timer = Timer.start(pause, askAlso)
    wait(pending, (exit) =>
      Effect.sync(() => {
        Timer.stop(timer)
        const others = asking.get(lock)! - 1
        if (others > 0) asking.set(lock, others)
        else asking.delete(lock)
        if (Exit.isSuccess(exit) && Exit.isSuccess(exit.value)) {
          reported.gotLocks(pending)
          queue.lockFreed(lock)
        } else {
          // Otherwise each of those behind it would be sent, and look for the holder of the lock, after the one before it.
          sweep.now()
          reported.timedOut(pending, now())
          const next = isClosed() || others > 0 ? undefined : queue.takeAwaiting(lock)
          if (next !== undefined) ask(next, lock)
        }
        wentBack()
        end(pending, Exit.isFailure(exit) || PendingAppend.mayBeFollowed(exit.value))
      }))
  }
  return (pending, lock) => {
    reported.add(pending, lock, now())
    if (!asking.has(lock)) return ask(pending, lock)
    queue.await(pending, lock)
    if (pending.isInterrupted && queue.remove(pending)) reported.remove(pending)
    wentBack()
  }
}

/** Waits for the locks of an append, and returns its result. When the statements are abandoned, its outcome is unknown. */
const sendWaiting = (
  statements: Statements,
  pending: Pending
): Effect.Effect<Exit.Exit<AppendRow, EventStoreError>> =>
  waitForLocks(statements, pending).pipe(
    Effect.exit,
    Effect.tap((exit) =>
      Effect.sync(() => {
        if (!pending.isInterrupted) PendingAppend.finish(pending, exit)
      })
    ),
    Effect.ensuring(PendingAppend.abandon([pending]))
  )

/** Appends, and waits for its locks until the lock timeout. It stops when the caller is interrupted. */
const waitForLocks = (
  { lockTimeoutErrors, single, waits }: Statements,
  pending: Pending
): Effect.Effect<AppendRow, EventStoreError> => {
  const { lock, request, waitsSince } = pending
  return waits.attempt(
    (wait) =>
      pending.isInterrupted
        ? Effect.interrupt
        : Effect.map(single(request, wait), (row) => attempted(row, request)),
    {
      request,
      // Not since its arrival: until the server has reported a lock, it has waited for no lock.
      since: waitsSince,
      lock,
      isHeld: Effect.suspend(() => pending.isInterrupted ? Effect.succeed(false) : lockTimeoutErrors.isHeld(request))
    }
  ).pipe(
    Effect.mapError((error) => fromAppendError(error, request.stream)),
    Effect.flatMap(Result.match({
      onFailure: (waited) => Effect.flatMap(lockTimeoutErrors.ofAppend(request, waited), Effect.fail),
      onSuccess: Effect.succeed
    }))
  )
}
