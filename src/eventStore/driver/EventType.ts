/**
 * The types of the events in a log, with their schema versions and tags.
 *
 * @since 0.1.0
 */
import type { Position } from "../../core/Position.ts"

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
  /** The high-water mark of the log at that moment. */
  readonly head: Position
  readonly types: ReadonlyArray<EventType>
}
