/**
 * Transactions of the projection store in memory: all writes of a transaction happen at its end, or none of them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { type EventStoreError, storeError, StoreUnavailable } from "../../core/errors.ts"

interface Write {
  readonly run: () => void
  readonly holds: () => boolean
}

const Writes = Context.Reference<Array<Write> | undefined>("evsrc/eventStore/MemoryTransaction/Writes", {
  defaultValue: () => undefined
})

/**
 * Runs an effect in a transaction, or in the transaction around it. Fails when the condition `holds` of a write is no longer true at the end.
 *
 * @since 0.1.0
 * @category combinators
 */
export const transaction = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | EventStoreError, R> =>
  Effect.flatMap(Writes, (outer) => {
    if (outer !== undefined) return effect
    const writes: Array<Write> = []
    return Effect.flatMap(Effect.provideService(effect, Writes, writes), (result) =>
      Effect.suspend(() => {
        if (!writes.every(({ holds }) => holds())) {
          return Effect.fail(storeError(
            new StoreUnavailable({
              message: "Another transaction has written the same in the meantime; retry",
              cause: undefined
            })
          ))
        }
        for (const { run } of writes) run()
        return Effect.succeed(result)
      }))
  })

/**
 * Returns whether there is a transaction around the effect.
 *
 * @since 0.1.0
 * @category accessors
 */
export const isActive: Effect.Effect<boolean> = Effect.map(Writes, (writes) => writes !== undefined)

/**
 * Writes at the end of the transaction, or at once without one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const write = (run: (now: DateTime.Utc) => void, holds: () => boolean = () => true): Effect.Effect<void> =>
  Effect.flatMap(Writes, (writes) =>
    Effect.map(DateTime.now, (now) => {
      if (writes === undefined) run(now)
      else writes.push({ run: () => run(now), holds })
    }))
