/**
 * An append as the typed store hands it to a driver, and its result.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import type { LogPosition } from "../../core/LogPosition.ts"
import type { Metadata } from "../../core/Metadata.ts"
import type { Position } from "../../core/Position.ts"
import type { Receipt } from "../../core/Receipt.ts"
import type { StreamId } from "../../core/StreamId.ts"
import type { Expected, Version } from "../../core/Version.ts"
import type { EventQuery } from "../../event/EventQuery.ts"
import type { EncodedEvent, NewEvent } from "../../event/RecordedEvent.ts"

/**
 * The matches of one item of a query that a decision knows.
 *
 * @since 0.1.0
 * @category models
 */
export interface KnownMatches {
  /** The position up to which all matches are known. */
  readonly after: Position
  /** The positions of the known matches above it. */
  readonly seen: ReadonlyArray<Position>
  /**
   * The ids of the known matches whose positions were not known yet, because their appends were in flight. The log must have all of them, in this
   * order, after all other known matches.
   */
  readonly sent: ReadonlyArray<string>
}

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
  /** For each item of the query what is known of it, instead of `after` and `seen`. */
  readonly known?: ReadonlyArray<KnownMatches> | undefined
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
 * A document as it is after an append, computed before.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentAhead {
  readonly generation: string
  readonly key: string
  /** As JSON; undefined to remove it. */
  readonly document: string | undefined
  readonly indexed: ReadonlyArray<string>
  /** The revision of the document from which this one was computed; 0 if there was none. */
  readonly from: bigint
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
 * The lock of a stream. No other transaction appends to the stream from when the lock is held until it is released.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamLock {
  /** Ends when the lock is held. Fails when another transaction holds it for too long. */
  readonly held: Effect.Effect<void, EventStoreError>
  /** Whether an append that names the lock now is written under it. It is released by itself when it was held too long. */
  readonly isOpen: () => boolean
  /** Writes the appends that name the lock in their order, in one transaction, and releases it. Returns at once. */
  readonly release: () => void
  /** Ends when the lock is released and its appends have ended. */
  readonly released: Effect.Effect<void>
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
  /**
   * Returns the documents that `inTransaction` would write, if they can be computed before the append. A driver may write them together with the events,
   * instead of running `inTransaction`, if they are still computed from the current documents.
   */
  readonly documentsAhead?: Effect.Effect<ReadonlyArray<DocumentAhead> | undefined, EventStoreError> | undefined
  /** Whether the stream is closed with these events, in the same transaction. */
  readonly closes?: boolean | undefined
  /** For each event, the coverages (`coverageOf`) of the inline projections that `inTransaction` runs on it. */
  readonly inlineProjections?: ReadonlyArray<ReadonlyArray<string>> | undefined
  /**
   * The documents that `inTransaction` changes. From before it draws positions until the append has ended, no other append with a document
   * in common does so. Each projection has one element.
   */
  readonly touchedDocuments?: ReadonlyArray<TouchedDocuments> | undefined
  /** A lock of the stream, under which to append. When it is no longer open, the append is sent like any other. */
  readonly lock?: StreamLock | undefined
  /**
   * A driver that appends to a stream in the order in which it was called may call this once the append has its place: a later append to the stream
   * then comes after it, though its outcome is not known yet.
   */
  readonly onQueued?: (() => void) | undefined
  /** A driver may call this once it knows that the command id was appended before, and before it answers the appends behind this one. */
  readonly onRepeated?: (() => void) | undefined
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
