/**
 * Events that a read by a tag does not find, because they were stored without the tag that their set gives them today, or with another value of it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { type EventStoreError, EventsUntagged, storeError } from "../core/errors.ts"
import type * as Event from "../event/Event.ts"
import { upcastersOf } from "../event/EventAnnotations.ts"
import * as EventTags from "../event/EventTags.ts"
import type { EventStoreDriver, EventType } from "./driver/EventStoreDriver.ts"
import type * as PastTags from "./PastTags.ts"
import * as TagChecks from "./TagChecks.ts"

/**
 * Which events a reader selects by which tags.
 *
 * @since 0.1.0
 * @category models
 */
export interface Selection {
  readonly events: Event.Any
  /** The stored types that it reads. */
  readonly types: ReadonlyArray<string>
  /** The names of the events of the set that it handles. */
  readonly handles: ReadonlyArray<string>
  /** The names of the tags by which it selects. */
  readonly tagNames: ReadonlyArray<string>
}

/**
 * Returns the types of which the log has events that a selection does not find by its tags. Events of the current schema version are counted: those
 * without a tag that each event written today has. A tag whose field may be missing, or is a list, is not compared. Of events of earlier schema
 * versions and of legacy types, `past` has compared the tags.
 *
 * @since 0.1.0
 * @category accessors
 */
export const find = (
  { events, handles, tagNames, types }: Selection,
  counted: ReadonlyArray<EventType>,
  past: ReadonlyArray<PastTags.Difference>
): ReadonlyArray<EventsUntagged> =>
  tagNames.flatMap((tag) =>
    types.flatMap((type) => {
      const current = handles.includes(type) && EventTags.isAlwaysTagged(events, type, tag)
        ? untaggedOf(counted, type, tag, (upcastersOf(events)[type]?.past.length ?? 0) + 1)
        : 0
      const differences = past.filter((one) =>
        one.type === type && one.tag === tag && one.parts.some((part) => handles.includes(part))
      )
      const untagged = differences.reduce((sum, one) => sum + one.events, current)
      return untagged > 0 ? [new EventsUntagged({ type, tag, events: untagged })] : []
    })
  )

/** Counts the events of a type without a tag, from a schema version on. Those of newer versions count, too. */
const untaggedOf = (counted: ReadonlyArray<EventType>, type: string, tag: string, from: number): number => {
  let untagged = 0
  for (const one of counted) {
    if (one.type !== type) continue
    for (const { events, schemaVersion, tagged } of one.versions) {
      if (schemaVersion >= from) untagged += events - (tagged.get(tag) ?? 0)
    }
  }
  return untagged
}

/**
 * Fails with `EventsUntagged` if the log has events that a selection does not find by its tags, also above the high-water mark, by the latest check of
 * this process.
 *
 * @since 0.1.0
 * @category combinators
 */
export const reject = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  selections: ReadonlyArray<Selection>
): Effect.fn.Return<void, EventStoreError> {
  for (const selection of selections) {
    if (selection.tagNames.length === 0) continue
    const { past, types } = yield* TagChecks.latest(driver, selection.events)
    const [first] = find(selection, types, past)
    if (first !== undefined) return yield* Effect.fail(storeError(first))
  }
})
