/**
 * What a back end implements: the log in encoded form. Drivers never see a user's schemas; the typed `EventStore` above checks
 * requests before they arrive here.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { EventStoreError } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"
import type { Receipt } from "../core/Receipt.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { Expected, Version } from "../core/Version.ts"
import type { EventQuery } from "../event/EventQuery.ts"
import type { EncodedEvent, NewEvent, StoredEvent } from "../event/RecordedEvent.ts"
import type { SnapshotDriver } from "../snapshot/SnapshotDriver.ts"

/**
 * That a query still has no other matches than those a decision was made on.
 *
 * - `after`: the high-water mark of just before they were read; everything up to it was seen
 * - `seen`: the positions of the matches that were seen beyond it
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendCondition {
  readonly query: EventQuery
  readonly after: Position
  readonly seen: ReadonlyArray<Position>
}

/**
 * An append to one stream: all of `events`, or nothing.
 *
 * - `commandId`: when it was appended before, nothing is written and the first receipt is answered
 * - `condition`: must hold beside `expected`
 * - `inTransaction`: runs after the events are in and before they are committed; when it fails, they are rolled back
 * - `closes`: these are the stream's last events: it is closed with them, in the same transaction
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendRequest {
  readonly stream: StreamId
  readonly expected: Expected
  readonly events: ReadonlyArray<NewEvent>
  readonly commandId?: string | undefined
  readonly condition?: AppendCondition | undefined
  readonly inTransaction?: ((events: ReadonlyArray<EncodedEvent>) => Effect.Effect<void, EventStoreError>) | undefined
  readonly closes?: boolean | undefined
}

/**
 * What became of an append; a conflict is data.
 *
 * - `Appended`: the stream's new version, and for each event its position
 * - `Duplicate`: the command id was appended before, with this receipt, on this stream or another
 * - `Closed`: the stream was closed at `version`, whatever is expected of it; nothing was written
 * - `Conflict`: the stream is at `actual`; nothing was written
 * - `Changed`: the condition does not hold, because of the event at `position` or an earlier one; nothing was written
 *
 * @since 0.1.0
 * @category models
 */
export type AppendResult =
  | {
    readonly _tag: "Appended"
    readonly version: Version
    readonly positions: ReadonlyArray<Position>
    readonly recordedAt: DateTime.Utc
  }
  | { readonly _tag: "Duplicate"; readonly receipt: Receipt }
  | { readonly _tag: "Closed"; readonly version: Version }
  | { readonly _tag: "Conflict"; readonly actual: Version }
  | { readonly _tag: "Changed"; readonly position: Position }

/**
 * One page of a stream: at most `limit` events from version `from` on (inclusive), upwards or downwards.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamPage {
  readonly stream: StreamId
  readonly from: Version
  readonly direction: "forward" | "backward"
  readonly limit: number
}

/**
 * Which events of the log somebody follows; all of them where it says nothing.
 *
 * - `types`: of one of these types
 * - `tags`: with all of these tags
 * - `streamPrefix`: of streams whose name begins so
 * - `partition`: of streams that belong to this partition, by the hash of their name; from 0
 *
 * @since 0.1.0
 * @category models
 */
export interface LogFilter {
  readonly types?: ReadonlyArray<string> | undefined
  readonly tags?: ReadonlyArray<string> | undefined
  readonly streamPrefix?: string | undefined
  readonly partition?: { readonly index: number; readonly of: number } | undefined
}

/**
 * Events of another log, as `readStored` has answered them, to follow the event at `after`; 0 where there is none.
 *
 * @since 0.1.0
 * @category models
 */
export interface RestoreRequest {
  readonly after: Position
  readonly events: ReadonlyArray<StoredEvent>
}

/**
 * What became of a restore.
 *
 * - `Restored`: the log ends at the last of these events
 * - `Elsewhere`: the log does not end at `after`, but at `last`; nothing was written
 * - `Refused`: because of the event at `position`, in words; nothing was written
 *
 * @since 0.1.0
 * @category models
 */
export type RestoreResult =
  | { readonly _tag: "Restored" }
  | { readonly _tag: "Elsewhere"; readonly last: Position }
  | { readonly _tag: "Refused"; readonly position: Position; readonly detail: string }

/**
 * A stream that takes no more events.
 *
 * - `version`, `position`: of its last event, which closed it
 * - `archivedAt`: since when its events are archived, where they are
 *
 * @since 0.1.0
 * @category models
 */
export interface ClosedStream {
  readonly stream: StreamId
  readonly version: Version
  readonly position: Position
  readonly closedAt: DateTime.Utc
  readonly archivedAt?: DateTime.Utc
}

/**
 * @since 0.1.0
 * @category models
 */
export interface StreamStatus {
  readonly version: Version
  readonly closed: Option.Option<ClosedStream>
}

/**
 * One page of the closed streams: at most `limit`, by the position of their last event, after `after`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClosedPage {
  readonly after: Position
  readonly limit: number
}

/**
 * One page of the log: at most `limit` events after position `after`.
 *
 * @since 0.1.0
 * @category models
 */
export interface LogPage extends LogFilter {
  readonly after: Position
  readonly limit: number
}

/**
 * One page of the log as it is kept: at most `limit` events after position `after`.
 *
 * - `links`: whether to look up the event before each, too
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredPage {
  readonly after: Position
  readonly limit: number
  readonly links?: boolean | undefined
}

/**
 * One page of a conversation: at most `limit` events with this correlation id after position `after`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CorrelationPage {
  readonly correlationId: string
  readonly after: Position
  readonly limit: number
}

/**
 * What lies between a consumer of the log and its head: the events after `after` and up to `to`, counted up to `limit`.
 *
 * @since 0.1.0
 * @category models
 */
export interface LagRequest extends LogFilter {
  readonly after: Position
  readonly to: Position
  readonly limit: number
}

/**
 * - `events`: how many, at most the limit
 * - `since`: when the first of them was recorded
 *
 * @since 0.1.0
 * @category models
 */
export interface Lag {
  readonly events: number
  readonly since: Option.Option<DateTime.Utc>
}

/**
 * One page of what a query selects: at most `limit` events after position `after`.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueryPage {
  readonly query: EventQuery
  readonly after: Position
  readonly limit: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface EventStoreDriver {
  /** What a transaction of this driver is bound to; what shares it can share a transaction. */
  readonly transactions: unknown
  /** Whether the caller is within a transaction of its own, which may yet be rolled back. */
  readonly inTransaction: Effect.Effect<boolean>
  readonly append: (request: AppendRequest) => Effect.Effect<AppendResult, EventStoreError>

  readonly readStream: (page: StreamPage) => Effect.Effect<ReadonlyArray<EncodedEvent>, EventStoreError>

  /**
   * Events in position order, and the high-water mark: no event will ever appear at or below `head` that is not visible now. A
   * page shorter than its limit has seen everything up to `head`.
   */
  readonly readAll: (
    page: LogPage
  ) => Effect.Effect<{ readonly events: ReadonlyArray<EncodedEvent>; readonly head: Position }, EventStoreError>

  /**
   * The log as it is kept, byte for byte: for copies and proofs. In position order, with the high-water mark, as `readAll`.
   */
  readonly readStored: (
    page: StoredPage
  ) => Effect.Effect<{ readonly events: ReadonlyArray<StoredEvent>; readonly head: Position }, EventStoreError>

  readonly lag: (request: LagRequest) => Effect.Effect<Lag, EventStoreError>

  /**
   * All visible matches in position order, also beyond the high-water mark, and the head of just before they were looked for. It is
   * for decisions: what follows the log reads it by `readAll`.
   */
  readonly readByQuery: (
    page: QueryPage
  ) => Effect.Effect<{ readonly events: ReadonlyArray<EncodedEvent>; readonly head: Position }, EventStoreError>

  /**
   * The events with a correlation id in their metadata, in position order, as they are visible now, also beyond the high-water mark. A page shorter
   * than its limit is the last.
   */
  readonly readCorrelation: (
    page: CorrelationPage
  ) => Effect.Effect<ReadonlyArray<EncodedEvent>, EventStoreError>

  /** The event of an id, if there is one. */
  readonly event: (id: string) => Effect.Effect<Option.Option<EncodedEvent>, EventStoreError>

  /** The high-water mark of the log. */
  readonly head: Effect.Effect<Position, EventStoreError>

  /** The position of the last visible event, also beyond the high-water mark; 0 when there is none. */
  readonly last: Effect.Effect<Position, EventStoreError>

  /** The receipt of a command id, if it was appended. */
  readonly receipt: (commandId: string) => Effect.Effect<Option.Option<Receipt>, EventStoreError>

  /** What is known of a stream: its version, 0 where it has no events, and that it is closed, where it is. */
  readonly streamStatus: (stream: StreamId) => Effect.Effect<StreamStatus, EventStoreError>

  /**
   * Moves a closed stream out of the way of appends, all of it at once. Whoever reads finds every event where it was, also while it is moved.
   * None when the stream is not closed, else how many events were moved: 0 when it was archived before. As of `at`, which is now by default.
   */
  readonly archive: (stream: StreamId, at?: DateTime.Utc) => Effect.Effect<Option.Option<number>, EventStoreError>

  /**
   * Writes events of another log byte for byte, all or none of them. Positions grow, and the versions of a stream have no hole. Appends wait
   * meanwhile, and go on after the last of these positions.
   */
  readonly restore: (request: RestoreRequest) => Effect.Effect<RestoreResult, EventStoreError>

  /** Closed streams, by the position of their last event. */
  readonly closedStreams: (page: ClosedPage) => Effect.Effect<ReadonlyArray<ClosedStream>, EventStoreError>

  /** Ends as soon as the high-water mark has passed `after`. */
  readonly changed: (after: Position) => Effect.Effect<void, EventStoreError>

  readonly snapshots: SnapshotDriver
}
