/**
 * What a back end implements for followers of the log, projections and subscriptions: who works on them, how far they have come, what they
 * have applied and set aside, and the documents of projections.
 *
 * A follower is named by its id (`<name>@<version>`). What it writes belongs to a target: the id itself, or a build of it that is made
 * beside. One target is active: it is read, and kept up to date.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { EncodedDocument } from "../domain/DocumentCodec.ts"
import type { EventStoreError } from "../domain/errors.ts"
import type { Position } from "../domain/Position.ts"
import type { StreamId } from "../domain/StreamId.ts"
import type { Version } from "../domain/Version.ts"
import type { Segment } from "./Applied.ts"

/**
 * A sign of life of somebody who would work on a follower: renews the leases that it has, and asks for its share of the partitions.
 *
 * - `target`: a build; the active target when it is missing
 * - `partitions`: how many the target has; it cannot change
 * - `standBack`: renews what it has, takes no more, and does not count among those who share the partitions
 *
 * @since 0.1.0
 * @category models
 */
export interface ClaimRequest {
  readonly follower: string
  readonly target?: string | undefined
  readonly owner: string
  readonly partitions: number
  readonly lease: Duration.Duration
  readonly standBack?: boolean | undefined
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
export interface Held {
  readonly partition: number
  readonly epoch: bigint
  readonly position: Position
  readonly requested: boolean
}

/**
 * - `share`: how many partitions are each worker's, when all that give signs of life share them evenly
 * - `freeIn`: in how many milliseconds another's lease ends, unless it is renewed
 *
 * @since 0.1.0
 * @category models
 */
export interface Claim {
  readonly target: string
  readonly share: number
  readonly freeIn: number | undefined
  readonly held: ReadonlyArray<Held>
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
  readonly target: string
  readonly partition: number
  readonly epoch: bigint
  readonly from: Position
  readonly to: Position
  readonly reads?: ReadonlyArray<{ readonly key: string; readonly revision: bigint }> | undefined
  readonly changes: ReadonlyArray<EncodedDocument>
  readonly applied: ReadonlyArray<Segment>
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
 * - `seenAt`: the last sign of life of an owner, `appliedAt`: when an event was last applied, `readAt`: when this was read. All by the clock
 *   of the store, which need not be that of this process
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly target: string
  readonly partition: number
  readonly partitions: number
  readonly position: Position
  readonly applied: bigint
  readonly digest: bigint
  readonly epoch: bigint
  readonly owner: string | undefined
  readonly leasedUntil: DateTime.Utc | undefined
  readonly seenAt: DateTime.Utc
  readonly appliedAt: DateTime.Utc | undefined
  readonly readAt: DateTime.Utc
}

/**
 * What a partition has applied and what it has not, all of one moment.
 *
 * - `parked`: the streams that are set aside, and from which position on
 * - `skipped`: the positions of the events that were left out
 * - `segments`: in order; none unless they were asked for
 *
 * @since 0.1.0
 * @category models
 */
export interface Ledger {
  readonly position: Position
  readonly applied: bigint
  readonly digest: bigint
  readonly parked: ReadonlyArray<{ readonly stream: string; readonly position: Position }>
  readonly skipped: ReadonlyArray<Position>
  readonly segments: ReadonlyArray<Segment>
}

/**
 * What somebody wants done with a parked stream: to try its event again, or to leave the event out, and go on with those after it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingRequest {
  readonly action: "retry" | "skip"
  readonly actor?: string | undefined
  readonly reason?: string | undefined
}

/**
 * The event of a stream that could not be processed, and why.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unprocessed {
  readonly stream: StreamId
  readonly version: Version
  readonly position: Position
  readonly eventId: string
  readonly type: string
  readonly error: string
}

/**
 * A stream that a follower has set aside, from an event on that it could not process.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parked extends Unprocessed {
  readonly target: string
  readonly partition: number
  readonly attempts: number
  readonly parkedAt: DateTime.Utc
  readonly request: ParkingRequest | undefined
}

/**
 * - `parked`: an event could not be processed, and its stream was set aside
 * - `failed`: it could not be processed again
 * - `retried`: it was processed after all
 * - `skipped`: it was left out
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingEntry {
  readonly stream: StreamId
  readonly position: Position
  readonly eventId: string
  readonly action: "parked" | "failed" | "retried" | "skipped"
  readonly detail: string | undefined
  readonly actor: string | undefined
  readonly at: DateTime.Utc
}

/**
 * What a retry or a skip has come to: the parked event's fate, and the stream's, which is parked anew at `next` or free.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unpark {
  readonly target: string
  readonly partition: number
  readonly stream: StreamId
  readonly action: "retried" | "skipped" | "failed"
  readonly next: Unprocessed | undefined
}

/**
 * A page of documents in key order.
 *
 * - `where`: index entries that a document must all have
 * - `after`: the key after which the page starts
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentPage {
  readonly projection: string
  readonly where: ReadonlyArray<string>
  readonly after?: string | undefined
  readonly limit: number
}

/**
 * - `revision`: another with every write, and never one that was there before
 * - `unreadable`: why its personal data could not be decrypted, where a driver of the store above says so; `document` is then as it is kept
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredDocument {
  readonly key: string
  readonly document: Schema.Json
  readonly revision: bigint
  readonly unreadable?: string | undefined
}

/**
 * Who works on what, and how far it has come.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProgressDriver {
  readonly claim: (request: ClaimRequest) => Effect.Effect<Claim, EventStoreError>

  /** Gives up what an owner has of a target, all or one partition. Nothing can be written under its epochs any more. */
  readonly release: (target: string, owner: string, partition?: number) => Effect.Effect<void, EventStoreError>

  /** All of it, or nothing; see `Advanced`. */
  readonly advance: (advance: Advance) => Effect.Effect<Advanced, EventStoreError>

  /** The partitions of a target, in order; none when it never ran. */
  readonly progress: (target: string) => Effect.Effect<ReadonlyArray<Progress>, EventStoreError>

  /** The target of a follower that is active. */
  readonly activeTarget: (follower: string) => Effect.Effect<string, EventStoreError>

  /** How far all partitions of a follower's active target have come; 0 when it never ran. */
  readonly checkpoint: (follower: string) => Effect.Effect<Position, EventStoreError>

  /** What a partition has applied, in order. */
  readonly applied: (target: string, partition: number) => Effect.Effect<ReadonlyArray<Segment>, EventStoreError>

  /** What an audit compares with the log; with the segments, or without. Nothing when there is no such partition. */
  readonly ledger: (
    target: string,
    partition: number,
    segments: boolean
  ) => Effect.Effect<Option.Option<Ledger>, EventStoreError>

  /** Adds to it what lies behind the checkpoint, within the transaction that applies it. */
  readonly applyLate: (
    target: string,
    partition: number,
    events: ReadonlyArray<Segment>
  ) => Effect.Effect<void, EventStoreError>
}

/**
 * What followers could not process.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingDriver {
  /** Sets streams aside, within the transaction that moves the checkpoint past their events. */
  readonly park: (
    target: string,
    partition: number,
    events: ReadonlyArray<Unprocessed>
  ) => Effect.Effect<void, EventStoreError>

  /** The streams of a target that are set aside, by position; of one partition, or of all. */
  readonly parked: (target: string, partition?: number) => Effect.Effect<ReadonlyArray<Parked>, EventStoreError>

  /** Leaves word for the owner of the partition. Answers whether the stream is parked, and at the event `at` if that is given. */
  readonly request: (
    target: string,
    stream: string,
    request: ParkingRequest,
    at?: Position
  ) => Effect.Effect<boolean, EventStoreError>

  /** Does what was asked, within the transaction that applies the events. */
  readonly unpark: (unpark: Unpark) => Effect.Effect<void, EventStoreError>

  /** All that ever became of a target's parked events, in order. */
  readonly parkingLog: (target: string) => Effect.Effect<ReadonlyArray<ParkingEntry>, EventStoreError>
}

/**
 * Documents by target and key. `get` and `list` are for readers, and take the follower's id.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentsDriver {
  readonly load: (
    target: string,
    keys: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>

  /** Like `load`, in the transaction of an append: whoever else wants to change these documents waits until it has ended. */
  readonly lock: (
    target: string,
    keys: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>

  /** Writes changes of several projections, all or nothing, in the transaction of an append. */
  readonly write: (
    changes: ReadonlyArray<{ readonly projection: string; readonly changes: ReadonlyArray<EncodedDocument> }>
  ) => Effect.Effect<void, EventStoreError>

  readonly get: (projection: string, key: string) => Effect.Effect<Option.Option<StoredDocument>, EventStoreError>
  readonly list: (page: DocumentPage) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>
}

/**
 * A target of a follower.
 *
 * - `building`: never was active; or it is the follower's own id, which had never run when its build was begun, and has not come as far as the
 *   log went then
 * - `active`: is read, and kept up to date
 * - `previous`: was active before it, and stays as it was then
 * - `retired`: was active before that
 * - `discarded`: is gone, or is going
 *
 * @since 0.1.0
 * @category models
 */
export interface Build {
  readonly target: string
  readonly status: "building" | "active" | "previous" | "retired" | "discarded"
  /** Missing for one that was not begun as a build. */
  readonly startedAt: DateTime.Utc | undefined
  /** When it last became the active one by a switch. */
  readonly switchedAt: DateTime.Utc | undefined
  /** 0 before it has run. */
  readonly partitions: number
  /** How far all of its partitions have come. */
  readonly position: Position
}

/**
 * - `to`: the target that is to be active
 * - `whenBehind`: what to do when a reader would then see documents older than those it may have seen, as not each partition has come as far
 *   as the active target's same one or, where their numbers differ, as far as any: to refuse; to refuse, and let nobody move the active
 *   target for a while, so that the other can reach it; or to switch even so
 *
 * @since 0.1.0
 * @category models
 */
export interface SwitchRequest {
  readonly follower: string
  readonly to: string
  readonly whenBehind: "refuse" | { readonly hold: Duration.Duration } | "switch"
}

/**
 * - `Switched`: the target is active; also when it was before
 * - `Behind`: nothing has changed, as so many positions are missing
 * - `Unknown`: the follower has no such target that has run and was not discarded
 *
 * @since 0.1.0
 * @category models
 */
export type Switched =
  | { readonly _tag: "Switched" }
  | { readonly _tag: "Behind"; readonly missing: bigint }
  | { readonly _tag: "Unknown" }

/**
 * A page of what a target itself holds, in key order, active or not.
 *
 * @since 0.1.0
 * @category models
 */
export interface TargetPage {
  readonly target: string
  readonly after?: string | undefined
  readonly limit: number
}

/**
 * What a target holds of some documents, and how far each of its partitions had come with them.
 *
 * @since 0.1.0
 * @category models
 */
export interface TargetView {
  readonly positions: ReadonlyArray<Position>
  readonly documents: ReadonlyMap<string, StoredDocument>
}

/**
 * Targets of a follower beside the active one.
 *
 * @since 0.1.0
 * @category models
 */
export interface BuildsDriver {
  /**
   * The build of a follower that is not finished, or a new one. A follower that has never run is its own first build. `head` is how far the
   * log goes now.
   */
  readonly beginBuild: (follower: string, head: Position) => Effect.Effect<string, EventStoreError>

  /** The targets of a follower, in the order in which they came to be. */
  readonly builds: (follower: string) => Effect.Effect<ReadonlyArray<Build>, EventStoreError>

  /** All of it, or nothing. Whoever works on either target has lost its partitions then, and can write nothing more. */
  readonly switchTarget: (request: SwitchRequest) => Effect.Effect<Switched, EventStoreError>

  /**
   * Removes a target that is not active, with everything it has written, in several transactions; can be repeated when it was cut off. From
   * the first on nobody can write to it, or switch to it. What became of its parked events stays on record.
   */
  readonly discard: (
    follower: string,
    target: string
  ) => Effect.Effect<"discarded" | "active" | "unknown", EventStoreError>

  readonly targetPage: (page: TargetPage) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>

  /** Two targets as they are at one moment. */
  readonly views: (
    targets: readonly [string, string],
    keys: ReadonlyArray<string>
  ) => Effect.Effect<readonly [TargetView, TargetView], EventStoreError>
}

/**
 * Where a store keeps what events have said: in documents, with parked streams, and in the record of these.
 *
 * @since 0.1.0
 * @category models
 */
export type KeptIn = "documents" | "parked" | "parkingLog"

/**
 * A text as it is kept, to the letter.
 *
 * - `key`: of the document; else the stream
 * - `cursor`: after which the next page starts
 *
 * @since 0.1.0
 * @category models
 */
export interface KeptText {
  readonly target: string
  readonly key: string
  readonly text: string
  readonly cursor: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface KeptPage {
  readonly in: KeptIn
  readonly after?: Pick<KeptText, "target" | "cursor"> | undefined
  readonly limit: number
}

/**
 * All that is kept, of whatever target, for those who look for something in it.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeptDriver {
  readonly kept: (page: KeptPage) => Effect.Effect<ReadonlyArray<KeptText>, EventStoreError>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ProjectionStoreDriver
  extends ProgressDriver, ParkingDriver, DocumentsDriver, BuildsDriver, KeptDriver
{
  /** What a transaction of this driver is bound to; what shares it can share a transaction. */
  readonly transactions: unknown

  /** Runs an effect in one transaction, where there are any: all of its writes are there, or none. */
  readonly transaction: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | EventStoreError, R>
}
