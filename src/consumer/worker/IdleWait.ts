/**
 * The wait of a worker between two claims. If only this process can change the store, a worker without events to process waits until a call wakes it, and the
 * store renews its leases meanwhile. Otherwise it sends heartbeats.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { internals } from "../../core/internals.ts"
import { monotonicMillis } from "../../core/monotonic.ts"
import type { Claim } from "../LeaseDriver.ts"
import type { Running, Worker } from "./Worker.ts"
import * as WorkerState from "./WorkerState.ts"

/**
 * When a worker claims again.
 *
 * @since 0.1.0
 * @category models
 */
export interface NextClaim {
  /** In how many milliseconds. */
  readonly dueIn: number
  /** Whether the time begins only when the worker has something to do. */
  readonly isIdle: boolean
}

/**
 * Keeps the leases of a worker that is idle after a claim, or stops it, and returns when the worker claims again.
 *
 * @since 0.1.0
 * @category constructors
 */
export const after = Effect.fnUntraced(function*(
  worker: Worker,
  claimed: Claim,
  dueIn: number
): Effect.fn.Return<NextClaim> {
  const { owner, settings: { lease }, store: { inProcess } } = worker
  const { generation, nextEndIn } = claimed
  if (inProcess === undefined) return { dueIn, isIdle: false }
  // A partition that begins to process events from now on opens it.
  worker.activity.closeUnsafe()
  const isIdle = hasNothingToDo(worker, claimed)
  if (!isIdle || worker.kept !== generation) yield* stopKeeping(worker)
  if (!isIdle) return { dueIn, isIdle }
  // Before the call, because an interruption may follow it at once.
  worker.kept = generation
  worker.leasedUntil = Infinity
  yield* inProcess.keepLeases({ generation, owner, lease })
  return { dueIn, isIdle: nextEndIn === undefined }
})

/**
 * Lets the leases of a worker end one lease from now, unless it renews them.
 *
 * @since 0.1.0
 * @category combinators
 */
export const stopKeeping = (worker: Worker): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { kept: generation, owner, settings: { lease }, store: { inProcess } } = worker
    if (generation === undefined || inProcess === undefined) return Effect.void
    worker.kept = undefined
    return Effect.flatMap(monotonicMillis, (now) => {
      worker.leasedUntil = now + Duration.toMillis(lease)
      return inProcess.stopKeeping({ generation, owner })
    })
  })

/**
 * Waits until the next claim is due, or the worker is woken.
 *
 * @since 0.1.0
 * @category combinators
 */
export const until = (worker: Worker, { dueIn, isIdle }: NextClaim): Effect.Effect<void> => {
  const { activity, events: { [internals]: { driver } }, state, wakeUp } = worker
  if (!isIdle) return Effect.asVoid(Effect.timeoutOption(wakeUp.await, dueIn))
  // The other workers advance only when the log grows.
  const begun = state._tag === "Standby" ? Effect.ignore(driver.changed(state.seen.head)) : activity.await
  return Effect.raceFirst(wakeUp.await, Effect.andThen(begun, Effect.sleep(dueIn)))
}

/**
 * Returns the function that runs the wait of a partition for events, and shows meanwhile that it is idle.
 *
 * @since 0.1.0
 * @category constructors
 */
export const during =
  ({ activity }: Worker, running: () => Running) => <E>(wait: Effect.Effect<void, E>): Effect.Effect<void, E> =>
    Effect.suspend(() => {
      const one = running()
      one.isIdle = true
      const ended = Effect.sync(() => {
        one.isIdle = false
        activity.openUnsafe()
      })
      return Effect.ensuring(wait, ended)
    })

/** Returns whether all partitions that the worker owns wait for events, and the worker has nothing to check at a certain time. */
const hasNothingToDo = (
  { logs, processor: { consumer }, running, state }: Worker,
  { assigned, assignmentSize, change, isTakingOver, otherReadsAlive, partitions }: Claim
): boolean => {
  if (logs.parked.hasMore() || logs.attempts.hasMore()) return false
  if (change === "continued") return state._tag === "Standby" && running.size === 0
  if (change !== undefined || isTakingOver === true || otherReadsAlive !== undefined) return false
  // Whether their number can change depends on what is parked.
  if (partitions !== consumer.partitions || running.size !== assigned.length || running.size > assignmentSize) {
    return false
  }
  if (state._tag === "Standby") return state.seen.position >= state.seen.head
  return state._tag === "Working" && !state.isHeldBack && !WorkerState.seemsHeldBack(state)
    && assigned.every(({ partition, requested }) => !requested && running.get(partition)?.isIdle === true)
}
