/**
 * What a driver offers in addition if only this process can change the store, as a store in memory. Each call wakes the workers that it concerns, so a
 * worker without events to process needs no heartbeats.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"

/**
 * The leases of a worker in a generation.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeptLeases {
  readonly generation: string
  readonly owner: string
  /** How long the leases last after `stopKeeping`. */
  readonly lease: Duration.Duration
}

/**
 * A store that only this process can change.
 *
 * @since 0.1.0
 * @category models
 */
export interface InProcessStore {
  /**
   * Calls `woken` after each call that may change what the next claim of a worker of the consumer returns, and when keys are freed or requests for them
   * change. Claims and releases of this owner are excepted. Returns an effect that stops these calls.
   */
  readonly listen: (consumer: string, owner: string, woken: () => void) => Effect.Effect<Effect.Effect<void>>

  /** Renews the leases of a worker, and its share of the partitions, until `stopKeeping`, as if it sent heartbeats all the time. */
  readonly keepLeases: (kept: KeptLeases) => Effect.Effect<void>

  /** Lets the leases of a worker end one lease from now, and wakes the other workers, so that they claim when the leases end. */
  readonly stopKeeping: (kept: Pick<KeptLeases, "generation" | "owner">) => Effect.Effect<void>
}
