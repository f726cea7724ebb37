/**
 * Wakes the workers of this process when a request for their consumer was queued. Workers of other processes find the request in the store.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { ConsumerDriver } from "../CheckpointDriver.ts"

const listeners = new WeakMap<ConsumerDriver, Map<string, Set<Effect.Effect<void>>>>()

/**
 * Runs an effect whenever a caller wakes the consumer through the same store. Returns an effect that stops listening.
 *
 * @since 0.1.0
 * @category combinators
 */
export const listen = (
  store: ConsumerDriver,
  consumer: string,
  woken: Effect.Effect<void>
): Effect.Effect<Effect.Effect<void>> =>
  Effect.sync(() => {
    const ofStore = listeners.get(store) ?? new Map<string, Set<Effect.Effect<void>>>()
    listeners.set(store, ofStore)
    const ofConsumer = ofStore.get(consumer) ?? new Set()
    ofStore.set(consumer, ofConsumer.add(woken))
    return Effect.sync(() => {
      ofConsumer.delete(woken)
      if (ofConsumer.size === 0 && ofStore.get(consumer) === ofConsumer) ofStore.delete(consumer)
    })
  })

/**
 * Wakes the workers of a consumer.
 *
 * @since 0.1.0
 * @category combinators
 */
export const wake = (store: ConsumerDriver, consumer: string): Effect.Effect<void> =>
  Effect.suspend(() => Effect.forEach(listeners.get(store)?.get(consumer) ?? [], (woken) => woken, { discard: true }))
