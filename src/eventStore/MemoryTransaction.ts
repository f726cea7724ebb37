/**
 * Transactions of the projection store in memory: what is written within one is done at its end, all of it at once, or not at all.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { type EventStoreError, storeError, StoreUnavailable } from "../core/errors.ts"

interface Write {
  readonly run: () => void
  readonly holds: () => boolean
}

const Writes = Context.Reference<Array<Write> | undefined>("evsrc/eventStore/MemoryTransaction/Writes", {
  defaultValue: () => undefined
})

/**
 * Runs an effect in one transaction; within another it is part of that. Fails when something that was written no longer `holds` at its end.
 *
 * @since 0.1.0
 * @category transactions
 */
export const transaction = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | EventStoreError, R> =>
  Effect.flatMap(Writes, (outer) => {
    if (outer !== undefined) return effect
    const writes: Array<Write> = []
    return Effect.flatMap(Effect.provideService(effect, Writes, writes), (answer) =>
      Effect.suspend(() => {
        if (!writes.every(({ holds }) => holds())) {
          return Effect.fail(storeError(
            new StoreUnavailable({ message: "Another has written the same in the meantime", cause: undefined })
          ))
        }
        for (const { run } of writes) run()
        return Effect.succeed(answer)
      }))
  })

/**
 * Writes: at the end of the transaction, or at once where there is none.
 *
 * @since 0.1.0
 * @category writing
 */
export const write = (run: (now: DateTime.Utc) => void, holds: () => boolean = () => true): Effect.Effect<void> =>
  Effect.flatMap(Writes, (writes) =>
    Effect.map(DateTime.now, (now) => {
      if (writes === undefined) run(now)
      else writes.push({ run: () => run(now), holds })
    }))
