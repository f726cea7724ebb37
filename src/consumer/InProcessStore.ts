/**
 * What the driver of a store adds that only this process can change. Its calls wake the workers that they concern, so a worker without events to process
 * needs no heartbeats.
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
   * Calls a function after each call by which the next claim of a worker of the consumer may return something else, and when keys are freed or requests for
   * them change, except the claims and releases of this owner. Returns an effect that stops it.
   */
  readonly listen: (consumer: string, owner: string, woken: () => void) => Effect.Effect<Effect.Effect<void>>

  /** Renews the leases of a worker, and its share of the partitions, until `stopKeeping`, as if it sent heartbeats all the time. */
  readonly keepLeases: (kept: KeptLeases) => Effect.Effect<void>

  /** Lets the leases of a worker end one lease from now, and wakes the other workers, because they have to look when that is. */
  readonly stopKeeping: (kept: Pick<KeptLeases, "generation" | "owner">) => Effect.Effect<void>
}
