/**
 * A machine that a process runs on: it is slow, loses answers, stands still, and dies.
 */
import { Context, Effect } from "effect"
import { EventStoreError, StoreUnavailable } from "evsrc"
import type { Dice } from "./Dice.ts"

/** Whether a call is part of one that is under way already, which is lost or not as a whole: a transaction. */
const Within = Context.Reference("simulation/Within", { defaultValue: () => false })

export class Machine {
  readonly #dice: Dice
  readonly #faulty: () => boolean
  #dead = false
  #stillUntil = 0

  /** `faulty`: whether there are any faults at the moment, beside death. */
  constructor(dice: Dice, faulty: () => boolean) {
    this.#dice = dice
    this.#faulty = faulty
  }

  /** Nothing that runs here gets another answer, or does anything any more. */
  kill(): void {
    this.#dead = true
  }

  /** It stands still up to a moment, in milliseconds, and then goes on as if nothing had been. */
  freeze(until: number): void {
    this.#stillUntil = until
  }

  /** Calls a database from here: the call and the answer take their time, either may be lost. */
  call<A, E, R>(operation: Effect.Effect<A, E, R>): Effect.Effect<A, E | EventStoreError, R> {
    const self = this
    return Effect.gen(function*() {
      if (yield* Within) return yield* operation
      yield* self.#way
      if (self.#loses()) return yield* lost
      const exit = yield* Effect.exit(Effect.provideService(operation, Within, true))
      yield* self.#way
      if (self.#loses()) return yield* lost
      return yield* exit
    })
  }

  get #way(): Effect.Effect<void> {
    const self = this
    return Effect.gen(function*() {
      if (self.#faulty()) yield* Effect.sleep(self.#dice.chance(0.05) ? self.#dice.from(10, 100) : self.#dice.below(3))
      const still = self.#stillUntil - (yield* Effect.clockWith((clock) => clock.currentTimeMillis))
      if (still > 0) yield* Effect.sleep(still)
      if (self.#dead) return yield* Effect.never
    })
  }

  #loses(): boolean {
    return this.#faulty() && this.#dice.chance(0.02)
  }
}

const lost = Effect.fail(
  new EventStoreError({ reason: new StoreUnavailable({ message: "the connection is lost", cause: undefined }) })
)
