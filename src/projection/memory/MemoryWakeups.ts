/**
 * Wakes the workers of a store in memory when their next claim may return something else, and renews the leases of waiting workers.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as GenerationId from "../../consumer/GenerationId.ts"
import type { InProcessStore } from "../../consumer/InProcessStore.ts"
import * as MemoryState from "./MemoryState.ts"

/**
 * Makes what the workers of the store use.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (state: MemoryState.MemoryState): InProcessStore => ({
  listen: (consumer, owner, woken) =>
    Effect.sync(() => {
      const listeners = state.listeners.get(consumer) ?? new Map<string, () => void>()
      state.listeners.set(consumer, listeners.set(owner, woken))
      return Effect.sync(() => {
        listeners.delete(owner)
        if (listeners.size === 0 && state.listeners.get(consumer) === listeners) state.listeners.delete(consumer)
      })
    }),
  keepLeases: ({ generation, lease, owner }) =>
    Effect.sync(() => {
      MemoryState.generationOf(state, generation).kept.set(owner, Duration.toMillis(lease))
    }),
  stopKeeping: ({ generation, owner }) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const found = MemoryState.generationOf(state, generation)
      renewKept(found, now)
      if (found.kept.delete(owner)) wake(state, generation, owner)
    })
})

/**
 * Wakes the workers of the consumer of a generation, except the owner `except`.
 *
 * @since 0.1.0
 * @category writing
 */
export const wake = (state: MemoryState.MemoryState, generation: string, except?: string): void => {
  for (const [owner, woken] of state.listeners.get(GenerationId.parse(generation).consumer) ?? []) {
    if (owner !== except) woken()
  }
}

/**
 * Renews the leases of the waiting workers, then runs an operation on the leases of a generation. If the operation changes what workers can claim, wakes them,
 * except the owner that runs it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const change = <A, E>(
  state: MemoryState.MemoryState,
  generation: string,
  operation: (now: number) => Effect.Effect<A, E>,
  owner?: string
): Effect.Effect<A, E> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const { consumer } = GenerationId.parse(generation)
    const found = MemoryState.generationOf(state, generation)
    renewKept(found, now)
    const isHeard = Array.from(state.listeners.get(consumer)?.keys() ?? []).some((one) => one !== owner)
    if (!isHeard) return operation(now)
    const before = claimable(found)
    return Effect.ensuring(
      operation(now),
      Effect.sync(() => {
        if (claimable(found) !== before) wake(state, generation, owner)
      })
    )
  })

/**
 * Renews the leases of the waiting workers. Call it before any code reads the times of leases.
 *
 * @since 0.1.0
 * @category writing
 */
export const renewKept = ({ kept, partitions, workers }: MemoryState.GenerationState, now: number): void => {
  for (const [owner, lease] of kept) {
    const worker = workers.get(owner)
    if (worker !== undefined) workers.set(owner, { ...worker, until: now + lease })
    for (const partition of partitions) {
      if (partition.owner !== owner) continue
      partition.leasedUntil = DateTime.makeUnsafe(now + lease)
      partition.heartbeatAt = DateTime.makeUnsafe(now)
    }
  }
}

/** Returns a text that changes with what workers can claim. The ends of leases and of memberships are not part of it. */
const claimable = ({ partitions, workers }: MemoryState.GenerationState): string =>
  JSON.stringify([
    Array.from(
      workers,
      ([owner, { partitions, reads, resets, successor }]) => [owner, partitions, reads, resets, successor]
    ),
    partitions.map((
      { continuedBy, epoch, owner, partitions, reads, takenBy }
    ) => [String(epoch), owner, reads, takenBy, continuedBy, partitions])
  ])
