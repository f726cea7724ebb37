/**
 * What a back end implements: the log in encoded form. Drivers never see a user's Schemas. The typed `EventStore` validates every request before it
 * calls a driver.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { EventStoreError } from "../../core/errors.ts"
import type { Position } from "../../core/Position.ts"
import type { StreamId } from "../../core/StreamId.ts"
import type { Version } from "../../core/Version.ts"
import type { EncodedEvent, StoredEvent } from "../../event/RecordedEvent.ts"
import type { SnapshotDriver } from "../../snapshot/SnapshotDriver.ts"
import type { AppendRequest, AppendResult, CommandRecord, KeptOut, StreamLock } from "./AppendRequest.ts"
import type { EventType, EventTypes } from "./EventType.ts"
import type { InFlightAppend, LockHolder } from "./InFlightAppend.ts"
import type { InlineProjectionsDriver } from "./InlineProjectionsDriver.ts"
import type {
  CorrelatedEvents,
  CorrelationPage,
  Lag,
  LagRequest,
  LogPage,
  PageOfEvents,
  PartitionLag,
  PartitionLagsRequest,
  QueryPage,
  StoredPage,
  StreamPage
} from "./LogPage.ts"
import type { TagIndexPage, TagIndexRow, TagOfEvent } from "./TagIndex.ts"

export type * from "./AppendRequest.ts"
export type * from "./EventType.ts"
export type * from "./InFlightAppend.ts"
export type {
  InlineProjection,
  InlineProjectionsDriver,
  RegisteredInlineProjection
} from "./InlineProjectionsDriver.ts"
export type * from "./LogPage.ts"
export type * from "./TagIndex.ts"

/**
 * Events of another log, as its `readStored` returned them, to be written after the event at `after`; 0 for an empty log.
 *
 * @since 0.1.0
 * @category models
 */
export interface RestoreRequest {
  readonly after: Position
  readonly events: ReadonlyArray<StoredEvent>
}

/**
 * The result of a restore.
 *
 * - `Restored`: the log ends at the last of these events
 * - `WrongEnd`: the log does not end at `after`, but at `last`; nothing was written
 * - `InUse`: an append is in flight, which could come between the events; nothing was written
 * - `Rejected`: the event at `position` cannot be written, for the reason in `detail`; nothing was written
 *
 * @since 0.1.0
 * @category models
 */
export type RestoreResult =
  | { readonly _tag: "Restored" }
  | { readonly _tag: "WrongEnd"; readonly last: Position }
  | { readonly _tag: "InUse" }
  | { readonly _tag: "Rejected"; readonly position: Position; readonly detail: string }

/**
 * A stream that accepts no more events. `version` and `position` are those of its last event, which closed it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClosedStream {
  readonly stream: StreamId
  readonly version: Version
  readonly position: Position
  readonly closedAt: DateTime.Utc
  /** When its events were archived, if they are. */
  readonly archivedAt?: DateTime.Utc
}

/**
 * The version of a stream, 0 without events, and its end if it is closed.
 *
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
 * The events that this process has appended last, for consumers that have read all before them.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandedOnEvents {
  /** Returns whether this process has appended the event at a position, and it was committed. */
  readonly has: (position: Position) => boolean
  /**
   * Returns the events at the positions right after one, at most `limit`. It stops before the first position that this process has not filled: another
   * process may have. Whether the log still has them is not checked.
   */
  readonly after: (
    position: Position,
    limit: number
  ) => Effect.Effect<ReadonlyArray<EncodedEvent>, EventStoreError>
  /** Discards all of them, because the log lacks one. */
  readonly clear: () => void
}

/**
 * The log in encoded form, as a back end implements it.
 *
 * @since 0.1.0
 * @category services
 */
export interface EventStoreDriver {
  /** The identity of this driver's transactions. Stores with the same identity can share a transaction. */
  readonly transactions: unknown
  /** The database schema of the tables; undefined without a database. */
  readonly schema?: string | undefined
  /** Returns whether the caller, given by the context of its fiber, is in a transaction of its own, which may still be rolled back. */
  readonly inTransaction: (caller: Context.Context<never>) => boolean
  /** Runs an effect whose statements are not part of the caller's transaction; undefined if the store has no other connection for them. */
  readonly outsideTransaction: (<A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>) | undefined
  /**
   * Runs a read of a caller that reads whenever something has changed. However many such callers there are, their reads leave connections to
   * others. Without it, they need no turn.
   */
  readonly asFollower?:
    | (<A, E, R>(read: Effect.Effect<A, E, R>) => Effect.Effect<A, E | EventStoreError, R>)
    | undefined

  /** The events that this process has appended last. Without it, consumers read them. */
  readonly appended?: HandedOnEvents | undefined

  /** Appends events to a stream. */
  readonly append: (request: AppendRequest) => Effect.Effect<AppendResult, EventStoreError>

  /**
   * Asks for the lock of a stream, for appends that were in conflict again and again. What is read while it is held is current. Undefined in a store
   * of one process. Call it outside of transactions only.
   */
  readonly lockStream?: ((stream: StreamId) => StreamLock) | undefined

  /**
   * Runs an effect while none of these appends is in flight or can begin: it sees all of them, and later ones see what it wrote. Other stores on the
   * same client take part in its transaction. These appends wait until it ends, and for a short time when it has to try again because one is in flight.
   */
  readonly withoutAppends: <A, E, R>(
    keptOut: KeptOut,
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | EventStoreError, R>

  /**
   * Returns a position at or below which no further event of these types can appear, whatever appends of other types are in flight. It waits for those of
   * these types that are in flight when it is called, as long as maintenance may take. No append waits for it.
   */
  readonly highWaterMarkOf: (of: {
    readonly types: ReadonlyArray<string>
    /** What waits, for the error. */
    readonly waiter: string
  }) => Effect.Effect<Position, EventStoreError>

  /** Reads one page of a stream. */
  readonly readStream: (page: StreamPage) => Effect.Effect<ReadonlyArray<EncodedEvent>, EventStoreError>

  /**
   * Reads one page of the log in position order, and the high-water mark `head`: no further event can appear at or below it. A page contains every event
   * up to `reached`. It examines a limited number of positions (`Limits.scannedPositions`), so that its time is bounded however rare its events are.
   */
  readonly readAll: (page: LogPage) => Effect.Effect<PageOfEvents, EventStoreError>

  /**
   * Reads one page of the log as it is stored, byte for byte, for exports and proofs. Order and high-water mark are those of `readAll`. With the extent
   * `"visible"` it also returns visible events above the mark; others may still appear between them.
   */
  readonly readStored: (
    page: StoredPage
  ) => Effect.Effect<{ readonly events: ReadonlyArray<StoredEvent>; readonly head: Position }, EventStoreError>

  /** Returns how far a consumer is behind. */
  readonly lag: (request: LagRequest) => Effect.Effect<Lag, EventStoreError>

  /**
   * Returns how far partitions of a consumer are behind, in the order of the request. The time is bounded whatever their number, so a partition that is
   * far from the slowest ones may be counted over fewer positions than `lag` counts.
   */
  readonly partitionLags: (request: PartitionLagsRequest) => Effect.Effect<ReadonlyArray<PartitionLag>, EventStoreError>

  /**
   * Reads one page of the visible matches of a query in position order, also above the high-water mark, and the high-water mark just before the
   * read. A page shorter than its limit, whose `reached` is not below `head`, has all of them. It serves decisions; consumers read the log by `readAll`.
   */
  readonly readByQuery: (page: QueryPage) => Effect.Effect<PageOfEvents, EventStoreError>

  /**
   * Reads one page of the visible events with a correlation id in their metadata, in position order, also above the high-water mark. A page shorter
   * than its limit is the last. Fails with `LogDiverged` if the log is set back during the read.
   */
  readonly readCorrelation: (
    page: CorrelationPage
  ) => Effect.Effect<CorrelatedEvents, EventStoreError>

  /** Returns the event with an id, if there is one. */
  readonly event: (id: string) => Effect.Effect<Option.Option<EncodedEvent>, EventStoreError>

  /** Returns the ids of the events at these positions, in order; undefined where the log has no event. */
  readonly eventIds: (
    positions: ReadonlyArray<Position>
  ) => Effect.Effect<ReadonlyArray<string | undefined>, EventStoreError>

  /** Returns the events at these positions, in order, without those that the log does not have. */
  readonly eventsAt: (positions: ReadonlyArray<Position>) => Effect.Effect<ReadonlyArray<EncodedEvent>, EventStoreError>

  /** Returns how many events the log has after one position and up to another, for each of these ranges. */
  readonly eventCounts: (
    ranges: ReadonlyArray<{ readonly after: Position; readonly to: Position }>
  ) => Effect.Effect<ReadonlyArray<number>, EventStoreError>

  /**
   * Returns the position of the first event after a position, and up to another, that was recorded at a time or later. It examines a limited number of
   * positions; without such an event, the search goes on after `reached`.
   */
  readonly positionSince: (request: {
    readonly after: Position
    readonly upTo: Position
    readonly since: DateTime.Utc
  }) => Effect.Effect<{ readonly first: Position | undefined; readonly reached: Position }, EventStoreError>

  /** Returns the high-water mark of the log. */
  readonly head: Effect.Effect<Position, EventStoreError>

  /** Returns the position of the last visible event, also above the high-water mark; 0 when there is none. */
  readonly last: Effect.Effect<Position, EventStoreError>

  /** Returns the transactions that hold back the high-water mark, and those that wait for their locks, with the time by the clock of the store. */
  readonly inFlight: Effect.Effect<
    { readonly readAt: DateTime.Utc; readonly appends: ReadonlyArray<InFlightAppend> },
    EventStoreError
  >

  /**
   * Returns the transactions that hold locks of the store's tables, rows or names for a second or more, that are idle, or for which others wait: those
   * first. It waits for no lock itself.
   */
  readonly lockHolders: Effect.Effect<ReadonlyArray<LockHolder>, EventStoreError>

  /** Returns what was appended under a command id, if anything. */
  readonly receipt: (commandId: string) => Effect.Effect<Option.Option<CommandRecord>, EventStoreError>

  /** Returns the version of a stream and whether it is closed. */
  readonly streamStatus: (stream: StreamId) => Effect.Effect<StreamStatus, EventStoreError>

  /**
   * Moves the events of a closed stream to where appends do not touch them, in one transaction. Readers find every event where it was, also during the
   * move. Returns how many events were moved, 0 when the stream was archived before; none when it is not closed. `at` is the time of archiving, by
   * default now.
   */
  readonly archive: (stream: StreamId, at?: DateTime.Utc) => Effect.Effect<Option.Option<number>, EventStoreError>

  /**
   * Writes events of another log byte for byte, all or none of them. Positions must grow, and the versions of a stream must have no gap. Appends wait
   * meanwhile and continue after the last of these positions.
   */
  readonly restore: (request: RestoreRequest) => Effect.Effect<RestoreResult, EventStoreError>

  /** Reads one page of the closed streams, by the position of their last event. */
  readonly closedStreams: (page: ClosedPage) => Effect.Effect<ReadonlyArray<ClosedStream>, EventStoreError>

  /**
   * Returns the types of the events in the log, by categories, and how many have which tags. A store may count a large log in several
   * calls: `position` is how far it has counted, at most the high-water mark.
   */
  readonly eventTypes: Effect.Effect<EventTypes, EventStoreError>

  /**
   * Returns the types of the visible events after a position, also above the high-water mark, and how many have which tags. It examines all of them in one
   * statement, and stores nothing: call it with the position up to which `eventTypes` has counted.
   */
  readonly visibleEventTypes: (after: Position) => Effect.Effect<ReadonlyArray<EventType>, EventStoreError>

  /** Returns which of these tags of stored events the index of tags lacks, so that a read by the tag does not find the event. */
  readonly unindexedTags: (
    tags: ReadonlyArray<TagOfEvent>
  ) => Effect.Effect<ReadonlyArray<TagOfEvent>, EventStoreError>

  /** Reads a page of the index of tags, in its own order. A store without an index returns an empty page. */
  readonly tagIndex: (
    page: { readonly after: TagIndexRow | undefined; readonly limit: number }
  ) => Effect.Effect<TagIndexPage, EventStoreError>

  /**
   * Ends as soon as the high-water mark is above `after`. With `mayEndEarly`, for a caller that reads the log next and waits again if there is nothing
   * new, it may end as soon as the mark has probably grown.
   */
  readonly changed: (
    after: Position,
    options?: {
      readonly mayEndEarly?: boolean | undefined
      /** Ends the wait at the next wake-up when it returns true: the caller then needs no read. */
      readonly hasNext?: (() => boolean) | undefined
    }
  ) => Effect.Effect<void, EventStoreError>

  /** The driver of the snapshots that are stored beside these streams. */
  readonly snapshots: SnapshotDriver

  /** The inline projections that this log knows. Each append compares them with its `inlineProjections`. */
  readonly inlineProjections: InlineProjectionsDriver
}
