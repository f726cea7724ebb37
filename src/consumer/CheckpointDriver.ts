/**
 * The contract of a back end for consumers of the log: checkpoints and the delivery log. A consumer is named by its id
 * (`<name>@<version>`); what it writes belongs to one of its generations.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { EventStoreError } from "../core/errors.ts"
import type { EventCount, LogPosition } from "../core/LogPosition.ts"
import type { Position } from "../core/Position.ts"
import type * as PersonalFields from "../personalData/PersonalFields.ts"
import type { DeliverySegment } from "./DeliveryLog.ts"
import type { FormerPartitions } from "./FormerPartitions.ts"
import type { LeaseDriver } from "./LeaseDriver.ts"
import type { ParkingDriver } from "./parking/ParkingDriver.ts"

/**
 * A document to write or to remove.
 *
 * @since 0.1.0
 * @category models
 */
export interface EncodedDocument {
  readonly key: string
  /** JSON text; undefined removes the document. */
  readonly document: string | undefined
  /** The entries to filter by. */
  readonly indexed: ReadonlyArray<string>
  /** The stream that feeds the document, of a projection with several partitions by stream. */
  readonly stream?: string | undefined
  /** Finds the personal data in the document, if it has any. */
  readonly locateFields?: PersonalFields.FieldLocator | undefined
}

/**
 * A move of a partition's checkpoint, with the effects of the events in between.
 *
 * @since 0.1.0
 * @category models
 */
export interface Advance {
  readonly generation: string
  readonly partition: number
  readonly epoch: bigint
  readonly from: Position
  readonly to: Position
  /** The id of the event at `to`; undefined at 0. */
  readonly toEventId?: string | undefined
  /** How many events the log has just before `to`, whatever the consumer handles. */
  readonly toCount?: EventCount | undefined
  /** The documents from which the changes were computed, where other partitions could change them too; revision 0 for a missing one. */
  readonly reads?: ReadonlyArray<{ readonly key: string; readonly revision: bigint }> | undefined
  readonly changes: ReadonlyArray<EncodedDocument>
  /** The events that were applied. */
  readonly applied: ReadonlyArray<DeliverySegment>
  /** The `Progress.takenBy` for which the log has no event up to `to` that only that code reads. Only without `reads`. */
  readonly takenBy?: string | undefined
  /** Whether the log is in the schema of the store. Then it must have the event at `to`: it may have been set back since the event was read. */
  readonly isOfLog?: boolean | undefined
}

/**
 * The result of an `Advance`.
 *
 * - `advanced`: everything was written
 * - `lost`: nothing was written, because another worker owns the partition, the checkpoint is not at `from`, code with other reads than `takenBy`
 *   waits for the partition, or the log does not have the event at `to`
 * - `changed`: nothing was written, because one of `reads` has another revision by now
 *
 * @since 0.1.0
 * @category models
 */
export type Advanced = "advanced" | "lost" | "changed"

/**
 * What the owner of a partition had in hand at its last heartbeat.
 *
 * @since 0.1.0
 * @category models
 */
export interface InHand {
  /** The event whose handler ran; undefined while handlers waited for a connection for their transaction. */
  readonly event: { readonly position: Position; readonly type: string } | undefined
  readonly since: DateTime.Utc
}

/**
 * The progress of a partition. All times are by the clock of the store, which may differ from this process's clock.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly generation: string
  readonly partition: number
  readonly partitions: number
  /** What they are divided by: `stream`, `document` or `tag:<name>`. */
  readonly partitionedBy: string
  /** What the code reads that has processed the log up to the checkpoint, as `ConsumerReads.format` returns it. */
  readonly reads: string
  /** What other code reads that waits until the owner gives the partition back; see `ReadsChange.drains`. */
  readonly takenBy?: string | undefined
  readonly position: Position
  /** The id of the event at the checkpoint; undefined at 0. */
  readonly eventId: string | undefined
  /** How many events the log has just before the checkpoint, if it is known. */
  readonly count?: EventCount | undefined
  /** The number of deliveries so far, each of an event under one of its keys. */
  readonly applied: bigint
  /** The exclusive or of their digests. */
  readonly digest: bigint
  readonly epoch: bigint
  readonly owner: string | undefined
  readonly leasedUntil: DateTime.Utc | undefined
  /** Until when a cut-over holds the partition, so that no worker may claim it. */
  readonly heldUntil: DateTime.Utc | undefined
  /** The last heartbeat of an owner. */
  readonly heartbeatAt: DateTime.Utc
  /** The partition began after this position, or its checkpoint was reset to it; 0 if neither. */
  readonly deliveryFrom: Position
  /** The consumer, another version, that has continued from here. */
  readonly continuedBy?: string | undefined
  /** The partition began after this position, or its checkpoint was reset to a lower one; 0 if it began with the log. Earlier events are not for it. */
  readonly startsAfter: Position
  /** The partitions before their number changed. */
  readonly former?: ReadonlyArray<FormerPartitions> | undefined
  /** When the checkpoint last moved, or an event behind it was applied. */
  readonly advancedAt: DateTime.Utc | undefined
  /** What the owner had in hand at its last heartbeat, unless it is known to have ended. */
  readonly inHand?: InHand | undefined
  /** When this progress was read. */
  readonly readAt: DateTime.Utc
}

/**
 * What the code of a partition read until a change, and the checkpoint at the change. Code with these reads processed the events up to the checkpoint,
 * except for those that waited for a parked key.
 *
 * @since 0.1.0
 * @category models
 */
export interface EarlierReads {
  /** As `ConsumerReads.format` returns it. */
  readonly reads: string
  /** The checkpoint. */
  readonly position: Position
  /** The parked keys, each with the position from which on its events waited. */
  readonly parked: ReadonlyArray<{ readonly key: string; readonly position: Position }>
}

/**
 * What a partition has applied and what it has not, read at one point in time.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeliveryState {
  readonly position: Position
  /** The delivery log begins after this position: where the partition began, or its checkpoint was reset to; 0 if neither. */
  readonly deliveryFrom: Position
  /** What the code reads, as `ConsumerReads.format` returns it. */
  readonly reads: string
  /** What was read before each change since the last reset, in order. */
  readonly earlierReads: ReadonlyArray<EarlierReads>
  readonly applied: bigint
  readonly digest: bigint
  /** The parked keys, each with the position from which on its events wait. */
  readonly parked: ReadonlyArray<{ readonly key: string; readonly position: Position }>
  /** The partitions before their number changed. What they have processed is not in the delivery log. */
  readonly former?: ReadonlyArray<FormerPartitions> | undefined
  /** The keys that were parked then, each with the position from which on its events waited: these are in the delivery log. */
  readonly moved?: ReadonlyArray<{ readonly key: string; readonly position: Position }> | undefined
  /** The positions of the events that were skipped since the last reset, each with the key under which it was skipped. */
  readonly skipped: ReadonlyArray<{ readonly key: string; readonly position: Position }>
  /** The delivery log in order; empty unless the caller asked for it. */
  readonly segments: ReadonlyArray<DeliverySegment>
}

/**
 * A generation, and the position up to which it has processed the log.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationPosition {
  readonly generation: string
  readonly position: Position
  /**
   * Which of the events at the checkpoints, and of the given one, the log in the same database lacks, if there is one. Undefined without a given event, or
   * if the store does not know the log.
   */
  readonly lost?: LogPosition | "none" | undefined
}

/**
 * A move of all checkpoints of a generation to a position.
 *
 * @since 0.1.0
 * @category models
 */
export interface CheckpointReset {
  readonly consumer: string
  readonly generation: string
  readonly to: LogPosition
  /** The ids of events that are parked, and that the log does not have. */
  readonly lost: ReadonlyArray<string>
  /** What the code reads that continues there, as `ConsumerReads.format` returns it. */
  readonly reads: string
  /** Whether to take partitions from their owners, whose writes are rejected then; `false` by default. */
  readonly evenIfLeased?: boolean | undefined
}

/**
 * Checkpoints and the delivery log.
 *
 * @since 0.1.0
 * @category models
 */
export interface CheckpointDriver {
  /** Writes all of it or nothing; see `Advanced`. */
  readonly advance: (advance: Advance) => Effect.Effect<Advanced, EventStoreError>

  /** Begins a partition that has processed nothing after a position, if the owner still has the epoch. */
  readonly startAfter: (
    start: Pick<Advance, "generation" | "partition" | "epoch" | "to" | "toEventId">
  ) => Effect.Effect<void, EventStoreError>

  /**
   * Moves all checkpoints of a generation. The delivery log begins again there. Streams that are parked at a later event, or at one of the `lost`
   * events, are parked no more. Returns the checkpoints of before; undefined, with nothing changed, while a partition is leased, or when another version
   * has continued.
   */
  readonly resetCheckpoints: (
    reset: CheckpointReset
  ) => Effect.Effect<ReadonlyArray<LogPosition> | undefined, EventStoreError>

  /** Returns the progress of the partitions of a generation, in order; none when it has never run. */
  readonly progress: (generation: string) => Effect.Effect<ReadonlyArray<Progress>, EventStoreError>

  /** Returns the active generation of a consumer. */
  readonly activeGeneration: (consumer: string) => Effect.Effect<string, EventStoreError>

  /**
   * Returns a consumer's active generation, and the position up to which all of its partitions have processed the log; 0 when it has never run. It is
   * the lowest checkpoint, or the position before the event of unknown key at which a partition waits. `after` is an event that the caller waits for.
   */
  readonly checkpoint: (
    consumer: string,
    after?: LogPosition
  ) => Effect.Effect<GenerationPosition, EventStoreError>

  /** Returns the delivery log of a partition, in order. */
  readonly applied: (
    generation: string,
    partition: number
  ) => Effect.Effect<ReadonlyArray<DeliverySegment>, EventStoreError>

  /** Returns what an audit compares with the log, with or without segments; none when the partition does not exist. */
  readonly deliveryState: (
    generation: string,
    partition: number,
    segments: boolean
  ) => Effect.Effect<Option.Option<DeliveryState>, EventStoreError>

  /**
   * Adds events behind the checkpoint to the delivery log, within the transaction that applies them. Each segment has one event. Events up to
   * `deliveryFrom` are left out.
   */
  readonly recordLateDelivery: (
    generation: string,
    partition: number,
    events: ReadonlyArray<DeliverySegment>
  ) => Effect.Effect<void, EventStoreError>
}

/**
 * The notifications of progress between stores.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProgressNotifications {
  /** Notifies the other stores that a consumer has progressed, if one of them waits for it. It returns at once. */
  readonly progressed: (consumer: string) => Effect.Effect<void>
  /** Asks the other stores to notify this one when a consumer progresses. It returns at once. */
  readonly await: (consumer: string) => Effect.Effect<void>
  /** Returns whether notifications arrive. */
  readonly isListening: () => boolean
}

/**
 * The contract of a back end for projections and subscriptions.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConsumerDriver extends LeaseDriver, CheckpointDriver, ParkingDriver {
  /** Identifies what the transactions of this driver are bound to. Drivers with the same value can share a transaction. */
  readonly transactions: unknown

  /** The database schema of the tables; undefined without a database. */
  readonly schema?: string | undefined

  /**
   * Returns a position above which the caller's own transaction may have appended events that it has not committed; none if it has appended
   * nothing, or outside a transaction.
   */
  readonly uncommittedAbove: Effect.Effect<Option.Option<Position>, EventStoreError>

  /** Takes part in the notifications of progress between stores. Without it, or while it does not listen, a caller that waits polls. */
  readonly notifications?:
    | ((
      /** Runs when a consumer has progressed in another store; without a name any may have. */
      onProgress: (consumer: string | undefined) => Effect.Effect<void>
    ) => Effect.Effect<ProgressNotifications, never, Scope.Scope>)
    | undefined

  /** Returns whether statements run in a transaction of the caller, so that other processes do not see what they write yet. */
  readonly isInTransaction: Effect.Effect<boolean>

  /** Runs an effect in one transaction, so that all of its writes are committed or none. A store in memory has no rollback. */
  readonly transaction: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: TransactionOptions
  ) => Effect.Effect<A, E | EventStoreError, R>
}

/**
 * Options of a transaction.
 *
 * @since 0.1.0
 * @category options
 */
export interface TransactionOptions {
  /**
   * Whether handlers run in it, which may take their time. A driver with a pool of connections runs so few of these at a time that claims and health
   * always find a connection. `false` by default.
   */
  readonly runsHandlers?: boolean | undefined
}
