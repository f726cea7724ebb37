/**
 * The contract of batch processors: what they get of a partition, and what they return to be committed.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import type { Position } from "../../core/Position.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type { Advance, Advanced, EncodedDocument } from "../CheckpointDriver.ts"
import type * as Consumer from "../Consumer.ts"
import type * as ConsumerKey from "../ConsumerKey.ts"
import type { FormerPartitions } from "../FormerPartitions.ts"
import type * as Retries from "../Retries.ts"
import type * as EventInHand from "../worker/EventInHand.ts"
import type * as PartitionLease from "../worker/PartitionLease.ts"
import type { Failure } from "./Failure.ts"

/**
 * Which deliveries of a batch were applied.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  /** The applied deliveries, in order. */
  readonly applied: ReadonlyArray<ConsumerKey.Delivery>
  /** The deliveries that failed. Later ones of the same keys were not tried; none at all, after an event of unknown key. */
  readonly failures: ReadonlyArray<Failure>
  /** The position of the first event that was not tried, because the worker stops or the batch has lasted for its maximum. */
  readonly untriedFrom?: Position | undefined
}

/**
 * The result of processing a batch, which the partition's processor commits.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchPlan extends Outcome {
  /** The documents to write. */
  readonly changes: ReadonlyArray<EncodedDocument>
  /** The revisions of the documents from which the changes were computed, where other partitions could write them too. */
  readonly reads: Advance["reads"] | undefined
}

/**
 * The result of a commit. Unless it is `advanced`, nothing of the plan was written.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommitResult {
  readonly advanced: Advanced
}

/**
 * Returns events without the personal data that was erased since they were read.
 *
 * @since 0.1.0
 * @category models
 */
export type UpToDate = (
  events: ReadonlyArray<EncodedEvent>
) => Effect.Effect<ReadonlyArray<EncodedEvent>, EventStoreError>

/**
 * A partition of a generation, and the epoch under which its worker owns it.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeasedPartition {
  readonly generation: string
  readonly partition: number
  /** The number of partitions of the generation; that of the consumer's definition by default. */
  readonly partitions?: number | undefined
  /** The partitions before, while one of them is ahead of the checkpoint, or of a parked key. */
  readonly former?: ReadonlyArray<FormerPartitions> | undefined
  readonly epoch: bigint
  /** Runs after each failed attempt that another follows, before the pause. */
  readonly onRetry?: ((attempt: Retries.FailedAttempt) => Effect.Effect<void>) | undefined
  /** How long the handler of an event may take to end when the worker stops. */
  readonly stopTimeout?: Duration.Duration | undefined
  /** Shows the event whose handler runs. */
  readonly inHand?: EventInHand.Tracker | undefined
  /** No handler begins unless the lease is held. By default it always is. */
  readonly lease?: PartitionLease.PartitionLease | undefined
  /** A transaction of handlers that has lasted longer commits what it has. By default it handles the whole batch. */
  readonly maxDuration?: Duration.Duration | undefined
  /** Returns events as they are to be used now, without what was erased since they were read. By default they are used as they were read. */
  readonly upToDate?: UpToDate | undefined
  /** Whether a failure that stops the consumer only ends the events of its key, as in a retry of parked keys. `false` by default. */
  readonly parksAll?: boolean | undefined
}

/**
 * Processes batches of events for one consumer.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchProcessor {
  readonly consumer: Consumer.Consumer
  /**
   * Whether larger batches cost less per event. They do for documents, which are written once per batch; a handler would repeat more events
   * after a failure.
   */
  readonly grows: boolean
  /** Returns the keys of an event; see `ConsumerKey.keysOf`. */
  readonly keysOf: (event: EncodedEvent) => ReadonlyArray<string> | undefined
  /**
   * Processes events in order, each under the given keys, and passes the plan to `commit`, which moves the checkpoint. Effects inside a
   * transaction commit together with it. Returns what `commit` returns.
   */
  readonly apply: <A extends CommitResult>(
    leased: LeasedPartition,
    events: ReadonlyArray<ConsumerKey.KeyedEvent>,
    commit: (plan: BatchPlan) => Effect.Effect<A, EventStoreError>
  ) => Effect.Effect<A, EventStoreError>
}
