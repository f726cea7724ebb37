/**
 * The machine of a worker: its calls are slow or get lost, it freezes, and it dies.
 */
import { Context, Effect } from "effect"
import { EventStoreError, StoreUnavailable } from "evsrc"
import type { Dice } from "./Dice.ts"

export interface Machine {
  /** Ends the machine: no call from it returns any more. */
  readonly kill: () => void
  /** Freezes the machine until a time, in milliseconds; then its calls continue. */
  readonly freeze: (until: number) => void
  /** Calls a database from the machine: request and response are slow, and either may be lost. */
  readonly call: <A, E, R>(operation: Effect.Effect<A, E, R>) => Effect.Effect<A, E | EventStoreError, R>
}

/** Whether a call is part of another one, a transaction, which is lost as a whole or not at all. */
const Within = Context.Reference("simulation/Within", { defaultValue: () => false })

/** Returns a machine. While `isFaulty`, its calls are slow or get lost. */
export const make = (dice: Dice, isFaulty: () => boolean): Machine => {
  let dead = false
  let frozenUntil = 0

  const travel = Effect.gen(function*() {
    if (isFaulty()) yield* Effect.sleep(dice.chance(0.05) ? dice.from(10, 100) : dice.below(3))
    const rest = frozenUntil - (yield* Effect.clockWith((clock) => clock.currentTimeMillis))
    if (rest > 0) yield* Effect.sleep(rest)
    if (dead) return yield* Effect.never
  })
  const loses = () => isFaulty() && dice.chance(0.02)

  return {
    kill: () => {
      dead = true
    },
    freeze: (until) => {
      frozenUntil = until
    },
    call: (operation) =>
      Effect.gen(function*() {
        if (yield* Within) return yield* operation
        yield* travel
        if (loses()) return yield* lost
        const exit = yield* Effect.exit(Effect.provideService(operation, Within, true))
        yield* travel
        if (loses()) return yield* lost
        return yield* exit
      })
  }
}

const lost = Effect.fail(
  new EventStoreError({ reason: new StoreUnavailable({ message: "the connection is lost", cause: undefined }) })
)
