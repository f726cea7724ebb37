/**
 * The turns of those that wait for one lock of another transaction: one asks the server, and the others wait for it without a statement.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Timer from "../timer.ts"

/** How many may have their turn at a time after one has got the lock. */
const maxParallel = 4

/**
 * After how many milliseconds of a turn another one may begin: the effect may have got the lock, and wait for another lock, for a handler, or for a server that
 * does not respond.
 */
const patience = 1_000

/** A turn that runs. */
interface Run {
  isOverdue: boolean
  timer: Timer.Timer
}

/**
 * The turn of an effect.
 *
 * @since 0.1.0
 * @category models
 */
export interface Turn {
  /** Records whether the lock was free, so that others need not wait for this turn, or is held. */
  readonly found: (state: "free" | "held") => void
}

class Turns implements Turn {
  readonly #waiting = new Set<Deferred.Deferred<void>>()
  #running = 0
  /** How many of them have run for long. */
  #overdue = 0
  #max = 1

  get isUnused(): boolean {
    return this.#running === 0 && this.#waiting.size === 0
  }

  readonly found = (state: "free" | "held"): void => {
    this.#max = state === "free" ? maxParallel : 1
    this.#next()
  }

  /** Takes a turn, if there is one. */
  tryTake(): boolean {
    if (this.#isBusy()) return false
    this.#running++
    return true
  }

  /** Waits for a turn for so many milliseconds at most, and returns whether it has come. */
  take(millis: number): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      const waiter = Deferred.makeUnsafe<void>()
      this.#waiting.add(waiter)
      return Effect.onExit(
        Effect.map(Effect.timeoutOption(Deferred.await(waiter), millis), Option.isSome),
        (exit) =>
          Effect.sync(() => {
            // The turn may have come when the time was over.
            if (!this.#waiting.delete(waiter) && !(Exit.isSuccess(exit) && exit.value)) this.end(undefined)
          })
      )
    })
  }

  begin(): Run {
    const run: Run = { isOverdue: false, timer: undefined }
    run.timer = Timer.start(patience, () => {
      run.isOverdue = true
      this.#overdue++
      this.#next()
    })
    return run
  }

  end(run: Run | undefined): void {
    Timer.stop(run?.timer)
    if (run?.isOverdue === true) this.#overdue--
    this.#running--
    this.#next()
  }

  #isBusy(): boolean {
    return this.#running - this.#overdue >= this.#max
  }

  #next(): void {
    for (const waiter of this.#waiting) {
      if (this.#isBusy()) return
      this.#waiting.delete(waiter)
      this.#running++
      Deferred.doneUnsafe(waiter, Effect.void)
    }
  }
}

/**
 * Runs effects that need a lock one after the other, in the order in which they came. Returns none if the turn has not come in so many milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export type LockTurns = (
  lock: string,
  millis: number
) => <A, E, R>(effect: (turn: Turn) => Effect.Effect<A, E, R>) => Effect.Effect<Option.Option<A>, E, R>

/**
 * Makes the turns of all locks of a store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): LockTurns => {
  const all = new Map<string, Turns>()
  return (lock, millis) => (effect) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const turns = all.get(lock) ?? new Turns()
        all.set(lock, turns)
        // A turn that is free is taken where no interruption can lose it.
        const taken = turns.tryTake() ? Effect.succeed(true) : restore(turns.take(millis))
        return taken.pipe(
          Effect.flatMap((isTaken) => {
            if (!isTaken) return Effect.succeedNone
            const run = turns.begin()
            return Effect.ensuring(Effect.asSome(restore(effect(turns))), Effect.sync(() => turns.end(run)))
          }),
          Effect.ensuring(Effect.sync(() => {
            if (turns.isUnused && all.get(lock) === turns) all.delete(lock)
          }))
        )
      })
    )
}
