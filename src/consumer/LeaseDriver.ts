/**
 * The contract of a back end for the leases of consumers: which worker owns which partitions, and for how long. `ConsumerWorker` renews the
 * leases; a write under an older epoch is rejected.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { EventStoreError } from "../core/errors.ts"
import type { EventCount } from "../core/LogPosition.ts"
import type { Position } from "../core/Position.ts"

/**
 * A worker's heartbeat: it renews the worker's leases and claims its share of the partitions.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClaimRequest {
  readonly consumer: string
  /** The generation to work on; the active one by default. */
  readonly generation?: string | undefined
  readonly owner: string
  /** The number of partitions of the generation. It cannot change. */
  readonly partitions: number
  /** What they are divided by: `stream`, `document` or `tag:<name>`. It cannot change. */
  readonly partitionedBy: string
  /** What the worker's code reads, as `ConsumerReads.format` returns it. Partitions that have other reads are not claimed. */
  readonly reads: string
  readonly lease: Duration.Duration
  /** Renews the leases without claiming more. The worker does not count in `assignmentSize`. */
  readonly renewOnly?: boolean | undefined
}

/**
 * A partition that a worker owns.
 *
 * @since 0.1.0
 * @category models
 */
export interface Assignment {
  readonly partition: number
  /** Grows with every change of owner. */
  readonly epoch: bigint
  /** The checkpoint. */
  readonly position: Position
  /** The id of the event at the checkpoint; undefined at 0. */
  readonly eventId?: string | undefined
  /** How many events the log has just before the checkpoint, if it is known. */
  readonly count?: EventCount | undefined
  /** Whether a request to retry or skip a parked key of the partition waits. */
  readonly requested: boolean
}

/**
 * The result of a claim.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claim {
  readonly generation: string
  /** The number of partitions per worker when all workers share them evenly. */
  readonly assignmentSize: number
  /** In how many milliseconds the next lease of another worker, or a hold, ends unless it is renewed. */
  readonly nextLeaseEndsIn: number | undefined
  /**
   * Whether a worker with other reads claims partitions, if partitions have other reads than the worker; undefined if none has.
   */
  readonly otherReadsAlive?: boolean | undefined
  readonly assigned: ReadonlyArray<Assignment>
}

/**
 * A change of what is read for a partition, because the code of the next worker reads other events.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadsChange {
  readonly generation: string
  readonly partition: number
  /** The checkpoint up to which the log was searched for events that only one of both reads. */
  readonly position: Position
  readonly from: string
  readonly to: string
  /** Whether to take the partition from a worker whose lease lasts; otherwise nothing changes then. */
  readonly takesOver: boolean
}

/**
 * The leases of partitions.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeaseDriver {
  /** Sends a heartbeat, and returns the partitions that the worker owns. */
  readonly claim: (request: ClaimRequest) => Effect.Effect<Claim, EventStoreError>

  /**
   * Changes what is read for a partition. Its owner loses it, and no worker may claim it before the owner's lease ends. Returns false with
   * nothing changed when the checkpoint or the reads are others by now, or when the partition is leased and `takesOver` is false.
   */
  readonly changeReads: (change: ReadsChange) => Effect.Effect<boolean, EventStoreError>

  /** Releases a worker's partitions of a generation, or one of them. No write under their epochs succeeds any more. */
  readonly release: (generation: string, owner: string, partition?: number) => Effect.Effect<void, EventStoreError>
}
