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
import type { FormerPartitions } from "./FormerPartitions.ts"
import type { InProcessStore } from "./InProcessStore.ts"
import type { Parked } from "./parking/ParkingDriver.ts"
import type { RepartitionObstacle } from "./RepartitionObstacle.ts"

/**
 * What a worker has in hand in one of its partitions.
 *
 * @since 0.1.0
 * @category models
 */
export interface HeldInHand {
  readonly partition: number
  /** The event whose handler runs; undefined while handlers wait for a connection for their transaction. */
  readonly event: { readonly position: Position; readonly type: string } | undefined
  /** For how long, in milliseconds. */
  readonly millis: number
}

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
  /** The number of partitions in the consumer's definition: that of a new generation. An existing one changes to it by `repartition`. */
  readonly partitions: number
  /** What they are divided by: `stream`, `document` or `tag:<name>`. It cannot change. */
  readonly partitionedBy: string
  /** What the worker's code reads, as `ConsumerReads.format` returns it. Partitions that have other reads are not claimed. */
  readonly reads: string
  readonly lease: Duration.Duration
  /** What the worker has in hand, for `Progress.inHand`. */
  readonly inHand?: ReadonlyArray<HeldInHand> | undefined
  /** Renews the leases without claiming more. The worker does not count in `assignmentSize`. */
  readonly renewOnly?: boolean | undefined
  /**
   * Like `renewOnly`, for a worker that stops and waits for its last handlers. The number of partitions does not change meanwhile, so that other
   * workers work on those that it has given back.
   */
  readonly stops?: boolean | undefined
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
  /** The partitions before, while one of them is ahead of the checkpoint. */
  readonly former?: ReadonlyArray<FormerPartitions> | undefined
  /** Whether a request to retry or skip a parked key of the partition waits. */
  readonly requested: boolean
  /** The former owner of a partition that this claim has added, if it had not given the partition back when its lease ended. */
  readonly takenFrom?: string | undefined
}

/**
 * The result of a claim.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claim {
  readonly generation: string
  /** The number of partitions of the generation. The worker works on these, whatever the consumer's definition says. */
  readonly partitions: number
  /**
   * The change for which no partition is assigned at the moment; undefined if there is none.
   *
   * - `drain`: the worker is to give its partitions back, because another version is to continue, the number of partitions is to change, code that
   *   reads more takes them over, or an operator resets the checkpoints
   * - `repartition`: no partition is leased, and no worker has a definition with their number: the worker may call `repartition`
   * - `continued`: another version, `continuedBy`, has continued
   */
  readonly change?: "drain" | "repartition" | "continued" | undefined
  readonly continuedBy?: string | undefined
  /** The number of partitions per worker when all workers share them evenly. */
  readonly assignmentSize: number
  /** In how many milliseconds the next lease of another worker, or a hold, ends unless it is renewed. */
  readonly nextLeaseEndsIn: number | undefined
  /**
   * The number of milliseconds until the first lease, hold or heartbeat of another worker ends that `InProcessStore.keepLeases` does not renew; undefined if
   * there is none. Only an `InProcessStore` returns it.
   */
  readonly nextEndIn?: number | undefined
  /**
   * Whether a worker with other reads claims partitions, if partitions have other reads than the worker; undefined if none has.
   */
  readonly otherReadsAlive?: boolean | undefined
  /** Whether other workers are to give partitions back to code with the worker's reads. */
  readonly isTakingOver?: boolean | undefined
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
  readonly epoch: bigint
  /** The checkpoint up to which the log was searched for events that only one of both reads. */
  readonly position: Position
  readonly from: string
  readonly to: string
  /** Whether to take the partition from a worker whose lease lasts; otherwise nothing changes then. */
  readonly takesOver: boolean
  /**
   * Whether a worker that owns the partition first saves what it has handled, and gives the partition back. Until then the change is `draining`. `false` by
   * default: then its batch is handled again, unless it is rolled back.
   */
  readonly drains?: boolean | undefined
  /** The parked keys behind which such events wait. */
  readonly waiting: ReadonlyArray<Pick<Parked, "key" | "position" | "isFreeing">>
}

/**
 * The result of a `ReadsChange`.
 *
 * - `changed`: the reads are changed
 * - `draining`: a worker owns the partition, and is to give it back; ask again
 * - `unchanged`: nothing was written, because the epoch, the checkpoint or the reads have changed, or the partition is leased and `takesOver` is false
 * - `freed`: nothing was written, because one of `waiting` is free, or is parked at another event
 *
 * @since 0.1.0
 * @category models
 */
export type ReadsChanged = "changed" | "draining" | "unchanged" | "freed"

/**
 * A change of the number of partitions of a generation.
 *
 * @since 0.1.0
 * @category models
 */
export interface Repartition {
  readonly consumer: string
  readonly generation: string
  readonly from: number
  readonly to: number
  /** What the worker's code reads. All partitions must have these reads. */
  readonly reads: string
}

/**
 * A consumer that is to continue where another version of it stands.
 *
 * @since 0.1.0
 * @category models
 */
export interface Continuation
  extends Pick<ClaimRequest, "consumer" | "owner" | "partitions" | "partitionedBy" | "reads" | "lease">
{
  /** The id of the other version. */
  readonly from: string
}

/**
 * The result of a continuation.
 *
 * - `continued`: the consumer has its checkpoints, by this request or before
 * - `draining`: a partition of the other version is leased, and its workers give them back; ask again
 * - `unstarted`: the other version has never run
 * - `elsewhere`: a third version has continued from there
 * - `parked`: keys are parked, but the partitions are divided by something else
 * - `hash`: the server has another hash function, so it cannot tell to which partition a key belongs
 * - `former`: there are many `FormerPartitions` that a partition or a parked key of the other version is behind
 *
 * @since 0.1.0
 * @category models
 */
export type Continued = "continued" | "draining" | "unstarted" | "elsewhere" | "parked" | "hash" | "former"

/**
 * A process that works on a generation, is ready to, or waits until its workers have given back the partitions.
 *
 * @since 0.1.0
 * @category models
 */
export interface LiveWorker {
  readonly owner: string
  /** What its code reads, as `ConsumerReads.format` returns it; undefined while it stops, and for a reset. */
  readonly reads: string | undefined
  /** The number of partitions in its definition; 0 for a reset. */
  readonly partitions: number
  /** The consumer, another version, that waits to continue from the generation; undefined for a worker of the generation. */
  readonly successor: string | undefined
  /** Whether it waits to reset the checkpoints. */
  readonly resets: boolean
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
   * Changes what is read for a partition, and adds what was read before to `DeliveryState.earlierReads`. Its owner loses it, and no worker may claim
   * it before the owner's lease ends.
   */
  readonly changeReads: (change: ReadsChange) => Effect.Effect<ReadsChanged, EventStoreError>

  /**
   * Divides the keys of a generation by another number of partitions. Each starts at the lowest checkpoint, with the former partitions, so that no event
   * is processed again. Parked keys move to their new partitions, and the delivery log begins again. Returns false, and changes nothing, when the
   * generation does not have `from` partitions any more, a partition is leased, or there is an obstacle.
   */
  readonly repartition: (change: Repartition) => Effect.Effect<boolean, EventStoreError>

  /**
   * Lets a consumer without checkpoints continue from those of another version. Each partition starts at the lowest, with the former partitions, so that
   * no event is processed again. Copies of the parked keys belong to them. From then on no partition of the other version can be claimed.
   */
  readonly continueVersion: (continuation: Continuation) => Effect.Effect<Continued, EventStoreError>

  /**
   * Asks the workers of a generation to give back their partitions, and to claim none for so long. Returns whether no partition is leased. `release`
   * withdraws the request.
   */
  readonly drain: (
    generation: string,
    owner: string,
    duration: Duration.Duration
  ) => Effect.Effect<boolean, EventStoreError>

  /** Returns why the number of partitions of a generation cannot change now; undefined if it can. */
  readonly repartitionObstacle: (generation: string) => Effect.Effect<RepartitionObstacle | undefined, EventStoreError>

  /** Returns the workers of a generation that claim partitions, and the processes that wait for these, in the order of their owners. */
  readonly workers: (generation: string) => Effect.Effect<ReadonlyArray<LiveWorker>, EventStoreError>

  /** Releases a worker's partitions of a generation, or one of them. No write under their epochs succeeds any more. */
  readonly release: (generation: string, owner: string, partition?: number) => Effect.Effect<void, EventStoreError>

  /**
   * Present if only this process can change the store. Then calls wake its workers; without it, workers send heartbeats, and poll for changes by other
   * processes.
   */
  readonly inProcess?: InProcessStore | undefined
}
