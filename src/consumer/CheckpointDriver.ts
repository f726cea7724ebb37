/**
 * What a back end implements for consumers of the log: leases, checkpoints and the delivery log. A consumer is named by its id
 * (`<name>@<version>`); what it writes belongs to one of its generations.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { EventStoreError } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"
import type * as PersonalFields from "../personalData/PersonalFields.ts"
import type { DeliverySegment } from "./DeliveryLog.ts"
import type { ParkingDriver } from "./ParkingDriver.ts"

/**
 * A document to write, or with `document` undefined to remove.
 *
 * - `document`: JSON text
 * - `indexed`: the entries to filter by
 * - `locate`: finds the personal data in the document, where it has any
 *
 * @since 0.1.0
 * @category models
 */
export interface EncodedDocument {
  readonly key: string
  readonly document: string | undefined
  readonly indexed: ReadonlyArray<string>
  readonly locateFields?: PersonalFields.FieldLocator | undefined
}

/**
 * A heartbeat of somebody who would work on a consumer: renews the leases that it has, and asks for its share of the partitions.
 *
 * - `target`: a build; the active generation when it is missing
 * - `partitions`: how many the target has; it cannot change
 * - `renewOnly`: renews what it has, takes no more, and does not count among those who share the partitions
 *
 * @since 0.1.0
 * @category models
 */
export interface ClaimRequest {
  readonly consumer: string
  readonly generation?: string | undefined
  readonly owner: string
  readonly partitions: number
  readonly lease: Duration.Duration
  readonly renewOnly?: boolean | undefined
}

/**
 * A partition as its owner holds it.
 *
 * - `epoch`: grows with every change of owner
 * - `position`: the checkpoint
 * - `requested`: somebody has asked to retry or skip what is parked in it
 *
 * @since 0.1.0
 * @category models
 */
export interface Assignment {
  readonly partition: number
  readonly epoch: bigint
  readonly position: Position
  readonly requested: boolean
}

/**
 * - `share`: how many partitions are each worker's, when all that give heartbeats share them evenly
 * - `nextLeaseEndsIn`: in how many milliseconds another's lease ends, unless it is renewed
 *
 * @since 0.1.0
 * @category models
 */
export interface Claim {
  readonly generation: string
  readonly assignmentSize: number
  readonly nextLeaseEndsIn: number | undefined
  readonly assigned: ReadonlyArray<Assignment>
}

/**
 * A move of a partition's checkpoint `from` one position `to` another, with what the events between have changed.
 *
 * - `reads`: the documents that the changes were made of, where other partitions may change them too; revision 0 for none
 * - `applied`: the events that were applied
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
  readonly reads?: ReadonlyArray<{ readonly key: string; readonly revision: bigint }> | undefined
  readonly changes: ReadonlyArray<EncodedDocument>
  readonly applied: ReadonlyArray<DeliverySegment>
}

/**
 * - `advanced`: all of it is written
 * - `lost`: nothing is, as the partition is another's by now, or its checkpoint not at `from`
 * - `changed`: nothing is, as one of `reads` is no longer as it was read
 *
 * @since 0.1.0
 * @category models
 */
export type Advanced = "advanced" | "lost" | "changed"

/**
 * How far a partition has come.
 *
 * - `applied`, `digest`: how many events were applied, and the exclusive or of their ids' digests
 * - `heldUntil`: until when a cut-over holds the partition, so that no worker may claim it
 * - `heartbeatAt`: the last heartbeat of an owner, `appliedAt`: when an event was last applied, `readAt`: when this was read. All by the clock
 *   of the store, which need not be that of this process
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly generation: string
  readonly partition: number
  readonly partitions: number
  readonly position: Position
  readonly applied: bigint
  readonly digest: bigint
  readonly epoch: bigint
  readonly owner: string | undefined
  readonly leasedUntil: DateTime.Utc | undefined
  readonly heldUntil: DateTime.Utc | undefined
  readonly heartbeatAt: DateTime.Utc
  readonly appliedAt: DateTime.Utc | undefined
  readonly readAt: DateTime.Utc
}

/**
 * What a partition has applied and what it has not, all of one moment.
 *
 * - `parked`: the streams that are parked, and from which position on
 * - `skipped`: the positions of the events that were left out
 * - `segments`: in order; none unless they were asked for
 *
 * @since 0.1.0
 * @category models
 */
export interface DeliveryState {
  readonly position: Position
  readonly applied: bigint
  readonly digest: bigint
  readonly parked: ReadonlyArray<{ readonly stream: string; readonly position: Position }>
  readonly skipped: ReadonlyArray<Position>
  readonly segments: ReadonlyArray<DeliverySegment>
}

/**
 * Who works on what, and how far it has come.
 *
 * @since 0.1.0
 * @category models
 */
export interface CheckpointDriver {
  readonly claim: (request: ClaimRequest) => Effect.Effect<Claim, EventStoreError>

  /** Gives up what an owner has of a target, all or one partition. Nothing can be written under its epochs any more. */
  readonly release: (generation: string, owner: string, partition?: number) => Effect.Effect<void, EventStoreError>

  /** All of it, or nothing; see `Advanced`. */
  readonly advance: (advance: Advance) => Effect.Effect<Advanced, EventStoreError>

  /** The partitions of a target, in order; none when it never ran. */
  readonly progress: (generation: string) => Effect.Effect<ReadonlyArray<Progress>, EventStoreError>

  /** The target of a consumer that is active. */
  readonly activeGeneration: (consumer: string) => Effect.Effect<string, EventStoreError>

  /** How far all partitions of a consumer's active generation have come; 0 when it never ran. */
  readonly checkpoint: (consumer: string) => Effect.Effect<Position, EventStoreError>

  /** What a partition has applied, in order. */
  readonly applied: (
    generation: string,
    partition: number
  ) => Effect.Effect<ReadonlyArray<DeliverySegment>, EventStoreError>

  /** What an audit compares with the log; with the segments, or without. Nothing when there is no such partition. */
  readonly deliveryState: (
    generation: string,
    partition: number,
    segments: boolean
  ) => Effect.Effect<Option.Option<DeliveryState>, EventStoreError>

  /** Adds to it what lies behind the checkpoint, within the transaction that applies it. */
  readonly recordLateDelivery: (
    generation: string,
    partition: number,
    events: ReadonlyArray<DeliverySegment>
  ) => Effect.Effect<void, EventStoreError>
}

/**
 * What a back end implements for consumers of the log, projections and subscriptions alike.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConsumerDriver extends CheckpointDriver, ParkingDriver {
  /** What a transaction of this driver is bound to; what shares it can share a transaction. */
  readonly transactions: unknown

  /** Runs an effect in one transaction, where there are any: all of its writes are there, or none. */
  readonly transaction: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | EventStoreError, R>
}
