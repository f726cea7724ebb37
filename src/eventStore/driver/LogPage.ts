/**
 * The pages in which a driver reads the log and its streams, and the counts of events that wait.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Option from "effect/Option"
import type { EventCount, LogPosition } from "../../core/LogPosition.ts"
import type { Position } from "../../core/Position.ts"
import type { StreamId } from "../../core/StreamId.ts"
import type { Version } from "../../core/Version.ts"
import type { TypeFilter } from "../../event/EventFilter.ts"
import type { EventQuery } from "../../event/EventQuery.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"

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
  /** Whether the reader has read the page before it. A store that reads pages of several readers together reads such a page alone. */
  readonly continues?: boolean | undefined
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
  /** Where the events end: at the high-water mark (`"final"`, the default), or with the last visible event (`"visible"`). */
  readonly extent?: "final" | "visible" | undefined
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
  /** Events that the log must have; otherwise the read fails with `LogDiverged`. */
  readonly basis?: ReadonlyArray<LogPosition> | undefined
  readonly limit: number
}

/**
 * The events of a page of a correlation, and the high-water mark from before the read.
 *
 * @since 0.1.0
 * @category models
 */
export interface CorrelatedEvents {
  readonly events: ReadonlyArray<EncodedEvent>
  readonly head: Position
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
  /** Events that the log must have; otherwise the read fails with `LogDiverged`. Those without an id are not checked. */
  readonly basis?: ReadonlyArray<LogPosition> | undefined
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
