/**
 * The rows of an index that finds events by their tags.
 *
 * @since 0.1.0
 */
import type { Position } from "../../core/Position.ts"

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
