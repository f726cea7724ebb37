/**
 * What a back end implements: the log in encoded form. Drivers never see a user's Schemas. The typed `EventStore` validates every request before it
 * calls a driver.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { EventStoreError } from "../core/errors.ts"
import type { EventCount, LogPosition } from "../core/LogPosition.ts"
import type { Metadata } from "../core/Metadata.ts"
import type { Position } from "../core/Position.ts"
import type { Receipt } from "../core/Receipt.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { Expected, Version } from "../core/Version.ts"
import type { TypeFilter } from "../event/EventFilter.ts"
import type { EventQuery } from "../event/EventQuery.ts"
import type { EncodedEvent, NewEvent, StoredEvent } from "../event/RecordedEvent.ts"
import type { SnapshotDriver } from "../snapshot/SnapshotDriver.ts"
import type { InlineProjectionsDriver } from "./InlineProjectionsDriver.ts"

export type {
  InlineProjection,
  InlineProjectionsDriver,
  RegisteredInlineProjection
} from "./InlineProjectionsDriver.ts"

/**
 * The condition of an append: its query has no other matches than those that were read.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendCondition {
  readonly query: EventQuery
  /** The high-water mark just before the read, up to which the read has returned every match. */
  readonly after: Position
  /** The positions of the matches above it that the read has returned. */
  readonly seen: ReadonlyArray<Position>
  /** Events that the log must have, because the decision rests on them; otherwise the append fails with `LogDiverged`. */
  readonly basis?: ReadonlyArray<LogPosition> | undefined
}

/**
 * Documents of an inline projection that an append changes. The append locks the projection itself too, also without keys.
 *
 * @since 0.1.0
 * @category models
 */
export interface TouchedDocuments {
  readonly projection: string
  /** Their keys. Undefined if the keys depend on the place in the log: then the append may change any document of the projection. */
  readonly keys?: ReadonlyArray<string> | undefined
}

/**
 * Which appends are kept out.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeptOut {
  /** Those of events of these types. */
  readonly types: ReadonlyArray<string>
  /** Those that run this inline projection, whatever the types of their events. A program of another release may read others. */
  readonly projection?: string | undefined
  /** How long to wait for those in flight: `lockTimeout`, or with `"long"` as long as maintenance may take (`maintenanceTimeout`). */
  readonly patience?: "long" | undefined
}

/**
 * An append to one stream: all of `events`, or nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendRequest {
  readonly stream: StreamId
  readonly expected: Expected
  /** The id that the stream's last event must have; only beside an expected version. */
  readonly lastEventId?: string | undefined
  readonly events: ReadonlyArray<NewEvent>
  /** When this id was appended before, the driver writes nothing and returns what it has written then. */
  readonly commandId?: string | undefined
  /** A condition that must hold in addition to `expected`. */
  readonly condition?: AppendCondition | undefined
  /** Runs after the events are written and before they are committed. When it fails, they are rolled back. */
  readonly inTransaction?: ((events: ReadonlyArray<EncodedEvent>) => Effect.Effect<void, EventStoreError>) | undefined
  /** Whether the stream is closed with these events, in the same transaction. */
  readonly closes?: boolean | undefined
  /** For each event, the claims (`claimOf`) of the inline projections that `inTransaction` runs on it. */
  readonly inlineProjections?: ReadonlyArray<ReadonlyArray<string>> | undefined
  /**
   * The documents that `inTransaction` changes. From before it draws positions until the append has ended, no other append with a document
   * in common does so. Each projection has one element.
   */
  readonly touchedDocuments?: ReadonlyArray<TouchedDocuments> | undefined
}

/**
 * What the log has under a command id: the receipt of the append, and the metadata of its first event.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommandRecord {
  readonly receipt: Receipt
  readonly metadata: Metadata
}

/**
 * The result of an append. A conflict is data, not an error.
 *
 * - `Appended`: the stream's new version, and for each event its position
 * - `Duplicate`: the command id was appended before, on this stream or another
 * - `Closed`: the stream was closed at `version`, whatever version was expected; nothing was written
 * - `Conflict`: the stream is at `actual`; nothing was written
 * - `Diverged`: the log does not have an event on which the append rests; nothing was written
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
  | { readonly _tag: "Duplicate"; readonly first: CommandRecord }
  | { readonly _tag: "Closed"; readonly version: Version }
  | { readonly _tag: "Conflict"; readonly actual: Version }
  | { readonly _tag: "Diverged" }
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
 * A partition of the log: the events with a key whose hash belongs to it (`partitionOf`). The key is the name of the stream or, with `tag`, each of
 * the event's tags of that name, such as `course:C1`; the name of the stream for an event without such a tag.
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionFilter {
  /** The partition, counted from 0. */
  readonly index: number
  /** The number of partitions. */
  readonly of: number
  readonly tag?: string | undefined
}

/**
 * Which events of the log a reader takes; by default all of them.
 *
 * @since 0.1.0
 * @category models
 */
export interface LogFilter extends TypeFilter {
  /** Only events with a key in this partition. */
  readonly partition?: PartitionFilter | undefined
}

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
 * - `Rejected`: the event at `position` cannot be written, for the reason in `detail`; nothing was written
 *
 * @since 0.1.0
 * @category models
 */
export type RestoreResult =
  | { readonly _tag: "Restored" }
  | { readonly _tag: "WrongEnd"; readonly last: Position }
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
 * One page of the log: at most `limit` events after position `after`.
 *
 * @since 0.1.0
 * @category models
 */
export interface LogPage extends LogFilter {
  readonly after: Position
  /** The id that the event at `after` must have; otherwise the read fails with `LogDiverged`. */
  readonly afterEventId?: string | undefined
  /** The number of events that the log must have before `after`; otherwise the read fails with `LogDiverged`. */
  readonly afterCount?: EventCount | undefined
  /** Counts the events after this position, up to the high-water mark. */
  readonly countSince?: Position | undefined
  readonly limit: number
}

/**
 * One page of the log as it is stored: at most `limit` events after position `after`.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredPage {
  readonly after: Position
  readonly limit: number
  /** Whether to look up the event before each in its stream too. */
  readonly links?: boolean | undefined
}

/**
 * One page of a correlation: at most `limit` events with this correlation id after position `after`.
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
 * Asks how far a consumer is behind: the events after `after` and up to `to`, counted up to `limit`.
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
 * How far a consumer is behind.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lag {
  /** The number of events that wait, at most the limit. */
  readonly events: number
  /**
   * When the first of them was recorded. If there is none up to `reached`, when the first event of any kind after it was recorded: no event has waited
   * for longer.
   */
  readonly since: Option.Option<DateTime.Utc>
  /** The position up to which they were counted: below `to` when the limit was reached, or as many positions were examined as one call may. */
  readonly reached: Position
}

/**
 * Asks how far the partitions of a consumer are behind: the events after the checkpoint of each and up to `to`, counted up to `limit`.
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionLagsRequest extends TypeFilter {
  /** How the events are divided; undefined if each partition reads all of them. */
  readonly dividedBy: Omit<PartitionFilter, "index"> | undefined
  readonly partitions: ReadonlyArray<{ readonly index: number; readonly after: Position }>
  readonly to: Position
  readonly limit: number
}

/**
 * How far a partition is behind.
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionLag extends Lag {
  /** The position of the first event that waits; undefined if none was found. */
  readonly first: Position | undefined
}

/**
 * A transaction that holds back the high-water mark, or waits for the lock of one that does.
 *
 * @since 0.1.0
 * @category models
 */
export interface InFlightAppend {
  /** The process id of its session; undefined for a prepared transaction. */
  readonly pid: number | undefined
  /** The role of its session. */
  readonly role: string | undefined
  /** The application name of its session. */
  readonly application: string | undefined
  /** The identifier of a prepared transaction. */
  readonly prepared: string | undefined
  /** What its session does, such as "idle in transaction"; undefined when this program's role may not see it. */
  readonly state: string | undefined
  /** When its transaction began; undefined when this program's role may not see it. */
  readonly since: DateTime.Utc | undefined
  /** The position above which no reader gets. */
  readonly lowWaterMark: Position
  /** Since when it waits for its lock; undefined when it holds the lock. */
  readonly waitingSince: DateTime.Utc | undefined
}

/**
 * A transaction that holds locks of the store, for which others wait or may wait: of tables, rows, streams, command ids, types or tags. One that holds
 * back the high-water mark is an `InFlightAppend` too.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockHolder
  extends Pick<InFlightAppend, "pid" | "role" | "application" | "prepared" | "state" | "since">
{
  /** When its current or last statement began; undefined when this program's role may not see it. */
  readonly querySince: DateTime.Utc | undefined
  /** A phrase for each lock that it holds. */
  readonly locks: ReadonlyArray<string>
  /** The number of sessions that wait for it. */
  readonly waiting: number
  /** Since when the first of them has waited. */
  readonly waitingSince: DateTime.Utc | undefined
}

/**
 * One page of the matches of a query: at most `limit` events after position `after`.
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
 * A page of events, and the high-water mark at the time of the read.
 *
 * @since 0.1.0
 * @category models
 */
export interface PageOfEvents {
  readonly events: ReadonlyArray<EncodedEvent>
  /**
   * Where the next page starts: the page has every event up to there. Below `head`, more events may follow at once, although the page may be empty. It
   * is the last event of a page with as many events as its limit, or the last one that was examined, of whatever type.
   */
  readonly reached: LogPosition
  readonly head: Position
  /** The id of the event at the high-water mark; undefined for an empty log. */
  readonly headEventId: string | undefined
  /** The number of events after `countSince` and up to the high-water mark; undefined when there are too many positions to count. */
  readonly headCount?: EventCount | undefined
  /** The last position that was assigned when the high-water mark had been computed. Events above it are committed after all up to the mark. */
  readonly assigned?: Position | undefined
}

/**
 * A type of events in the log.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventType {
  readonly type: string
  /**
   * The category of the streams that have events of this type: the part of their names before the first `-`. It is empty for the events of all
   * categories after the first 1,000.
   */
  readonly category: string
  /** The position of the first of them. */
  readonly first: Position
  readonly events: number
  /** The number of the events of each schema version. */
  readonly versions: ReadonlyArray<EventTypeVersion>
}

/**
 * A schema version of a type of events in the log.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventTypeVersion {
  readonly schemaVersion: number
  readonly events: number
  /** How many of them have a tag of each name. */
  readonly tagged: ReadonlyMap<string, number>
}

/**
 * The types of the events up to a position.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventTypes {
  readonly position: Position
  readonly types: ReadonlyArray<EventType>
}

/**
 * A tag of an event.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagOfEvent {
  readonly position: Position
  readonly tag: string
}

/**
 * A row of an index that finds events by their tags. It has a hash of the tag.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagIndexRow {
  readonly hash: bigint
  readonly position: Position
}

/**
 * A page of an index of tags.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagIndexPage {
  /** The rows of the page that stand for no tag of an event. */
  readonly extra: ReadonlyArray<TagIndexRow>
  /** The last row of the page; undefined if it is empty, because the index has no further rows. */
  readonly last: TagIndexRow | undefined
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
  /** Returns whether the caller is in a transaction of its own, which may still be rolled back. */
  readonly inTransaction: Effect.Effect<boolean>

  /** Appends events to a stream. */
  readonly append: (request: AppendRequest) => Effect.Effect<AppendResult, EventStoreError>

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
    /** The inline projection that is made from them, for the error. */
    readonly projection: string
  }) => Effect.Effect<Position, EventStoreError>

  /** Reads one page of a stream. */
  readonly readStream: (page: StreamPage) => Effect.Effect<ReadonlyArray<EncodedEvent>, EventStoreError>

  /**
   * Reads one page of the log in position order, and the high-water mark `head`: no further event can appear at or below it. A page contains every event
   * up to `reached`. It examines a limited number of positions (`Limits.scannedPositions`), so that its time is bounded however rare its events are.
   */
  readonly readAll: (page: LogPage) => Effect.Effect<PageOfEvents, EventStoreError>

  /** Reads one page of the log as it is stored, byte for byte, for exports and proofs. Order and high-water mark are those of `readAll`. */
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
   * than its limit is the last.
   */
  readonly readCorrelation: (
    page: CorrelationPage
  ) => Effect.Effect<ReadonlyArray<EncodedEvent>, EventStoreError>

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
   * Returns the transactions that hold locks of the store's tables, rows or names for a second or more, or for which others wait: those first. It waits
   * for no lock itself.
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
   * Returns the types of the events in the log, by categories, and how many have which tags. A store may count a large log in several calls: `position` is how far it has counted,
   * at most the high-water mark.
   */
  readonly eventTypes: Effect.Effect<EventTypes, EventStoreError>

  /** Returns which of these tags of stored events the index of tags lacks, so that a read by the tag does not find the event. */
  readonly unindexedTags: (
    tags: ReadonlyArray<TagOfEvent>
  ) => Effect.Effect<ReadonlyArray<TagOfEvent>, EventStoreError>

  /** Reads a page of the index of tags, in its own order. A store without an index returns an empty page. */
  readonly tagIndex: (
    page: { readonly after: TagIndexRow | undefined; readonly limit: number }
  ) => Effect.Effect<TagIndexPage, EventStoreError>

  /** Ends as soon as the high-water mark is above `after`. */
  readonly changed: (after: Position) => Effect.Effect<void, EventStoreError>

  /** The driver of the snapshots that are stored beside these streams. */
  readonly snapshots: SnapshotDriver

  /** The inline projections that this log knows. Each append compares them with its `inlineProjections`. */
  readonly inlineProjections: InlineProjectionsDriver
}
