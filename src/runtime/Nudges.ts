/**
 * Words between those of one process who work on a follower and those who ask something of it: others find the request in the store, if later.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { ProjectionStoreDriver } from "../store/ProjectionStoreDriver.ts"

const listeners = new WeakMap<ProjectionStoreDriver, Map<string, Set<Effect.Effect<void>>>>()

/**
 * Runs an effect whenever somebody nudges a follower through the same store. Answers how to end that.
 *
 * @since 0.1.0
 * @category nudging
 */
export const listen = (
  store: ProjectionStoreDriver,
  follower: string,
  nudged: Effect.Effect<void>
): Effect.Effect<Effect.Effect<void>> =>
  Effect.sync(() => {
    const ofStore = listeners.get(store) ?? new Map<string, Set<Effect.Effect<void>>>()
    listeners.set(store, ofStore)
    const ofFollower = ofStore.get(follower) ?? new Set()
    ofStore.set(follower, ofFollower.add(nudged))
    return Effect.sync(() => {
      ofFollower.delete(nudged)
      if (ofFollower.size === 0 && ofStore.get(follower) === ofFollower) ofStore.delete(follower)
    })
  })

/**
 * That something was asked of a follower.
 *
 * @since 0.1.0
 * @category nudging
 */
export const nudge = (store: ProjectionStoreDriver, follower: string): Effect.Effect<void> =>
  Effect.suspend(() => Effect.forEach(listeners.get(store)?.get(follower) ?? [], (nudged) => nudged, { discard: true }))
