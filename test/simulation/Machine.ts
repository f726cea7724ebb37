/**
 * A machine that a process runs on: it is slow, loses answers, stands still, and dies.
 */
import { Context, Effect } from "effect"
import { EventStoreError, StoreUnavailable } from "evsrc"
import type { Dice } from "./Dice.ts"

export interface Machine {
  /** Nothing that runs here gets another answer, or does anything any more. */
  readonly kill: () => void
  /** It stands still up to a moment, in milliseconds, and then goes on as if nothing had been. */
  readonly freeze: (until: number) => void
  /** Calls a database from here: the call and the answer take their time, either may be lost. */
  readonly call: <A, E, R>(operation: Effect.Effect<A, E, R>) => Effect.Effect<A, E | EventStoreError, R>
}

/** Whether a call is part of one that is under way already, which is lost or not as a whole: a transaction. */
const Within = Context.Reference("simulation/Within", { defaultValue: () => false })

/** `faulty`: whether there are any faults at the moment, beside death. */
export const make = (dice: Dice, faulty: () => boolean): Machine => {
  let dead = false
  let stillUntil = 0

  const way = Effect.gen(function*() {
    if (faulty()) yield* Effect.sleep(dice.chance(0.05) ? dice.from(10, 100) : dice.below(3))
    const still = stillUntil - (yield* Effect.clockWith((clock) => clock.currentTimeMillis))
    if (still > 0) yield* Effect.sleep(still)
    if (dead) return yield* Effect.never
  })
  const loses = () => faulty() && dice.chance(0.02)

  return {
    kill: () => {
      dead = true
    },
    freeze: (until) => {
      stillUntil = until
    },
    call: (operation) =>
      Effect.gen(function*() {
        if (yield* Within) return yield* operation
        yield* way
        if (loses()) return yield* lost
        const exit = yield* Effect.exit(Effect.provideService(operation, Within, true))
        yield* way
        if (loses()) return yield* lost
        return yield* exit
      })
  }
}

const lost = Effect.fail(
  new EventStoreError({ reason: new StoreUnavailable({ message: "the connection is lost", cause: undefined }) })
)
