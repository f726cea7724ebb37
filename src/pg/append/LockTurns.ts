/**
 * The turns of those that wait for one lock of another transaction: one asks the server, and the others wait for it without a statement.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"

/** How many may have their turn at a time after one has got the lock. */
const maxParallel = 4

/**
 * The turn of an effect.
 *
 * @since 0.1.0
 * @category models
 */
export interface Turn {
  /** Tells that the lock was free, so that others need not wait for this one; or that it is held. */
  readonly found: (state: "free" | "held") => void
}

class Turns implements Turn {
  readonly #waiting = new Set<Deferred.Deferred<void>>()
  #running = 0
  #max = 1

  get isUnused(): boolean {
    return this.#running === 0 && this.#waiting.size === 0
  }

  readonly found = (state: "free" | "held"): void => {
    this.#max = state === "free" ? maxParallel : 1
    this.#next()
  }

  /** Waits for a turn for so many milliseconds at most, and returns whether it has come. */
  take(millis: number): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      if (this.#running < this.#max) {
        this.#running++
        return Effect.succeed(true)
      }
      const waiter = Deferred.makeUnsafe<void>()
      this.#waiting.add(waiter)
      return Effect.onExit(
        Effect.map(Effect.timeoutOption(Deferred.await(waiter), millis), Option.isSome),
        (exit) =>
          Effect.sync(() => {
            // The turn may have come when the time was over.
            if (!this.#waiting.delete(waiter) && !(Exit.isSuccess(exit) && exit.value)) this.end()
          })
      )
    })
  }

  end(): void {
    this.#running--
    this.#next()
  }

  #next(): void {
    for (const waiter of this.#waiting) {
      if (this.#running >= this.#max) return
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
        return restore(turns.take(millis)).pipe(
          Effect.flatMap((isTaken) =>
            isTaken
              ? Effect.ensuring(Effect.asSome(restore(effect(turns))), Effect.sync(() => turns.end()))
              : Effect.succeedNone
          ),
          Effect.ensuring(Effect.sync(() => {
            if (turns.isUnused && all.get(lock) === turns) all.delete(lock)
          }))
        )
      })
    )
}
