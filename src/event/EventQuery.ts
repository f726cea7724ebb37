/**
 * Queries over the log, by type and by tag.
 *
 * @since 0.1.0
 */
import * as nameRules from "../core/nameRules.ts"
import * as Event from "./Event.ts"
import { matchesItem } from "./EventFilter.ts"
import * as EventTags from "./EventTags.ts"
import type { EncodedEvent } from "./RecordedEvent.ts"

/**
 * Selects events of one of `types` (of any type, when it names none) that have all of `tags`. An item names at least one type or tag.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueryItem<out Type extends string = string, out Tag extends string = string> {
  readonly types?: ReadonlyArray<Type> | undefined
  readonly tags?: ReadonlyArray<Tag> | undefined
}

/**
 * The items of a query.
 *
 * @since 0.1.0
 * @category models
 */
export type QueryItems<Type extends string = string, Tag extends string = string> = ReadonlyArray<QueryItem<Type, Tag>>

/**
 * A query that a store can read, because its types are those with which events are stored. `make` and `ofStoredTypes` make one. It selects the events
 * that match at least one item.
 *
 * **Gotchas**
 *
 * A store finds events by the first tag of an item, so name the most selective tag first. For an item without tags it reads the whole log.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventQuery extends QueryItems {
  readonly "~a query is made by EventQuery.make or EventQuery.ofStoredTypes": true
}

/** The key under which a query says so; the compiler names it when it rejects the items of a query. */
const made = "~a query is made by EventQuery.make or EventQuery.ofStoredTypes"

/**
 * The items of a query for events of a set, by the current names of types: a type or the name of a tag that the set does not have is not accepted.
 * `make` makes a query of them.
 *
 * @since 0.1.0
 * @category models
 */
export type QueryOf<E extends Event.Any> = QueryItems<Event.Tag<E>, Event.TagText<E>>

/**
 * Returns a query for events of a set. Types are the current names; the result selects all stored types that upcasters turn into them. Throws when
 * the set does not have a type or a tag.
 *
 * **Example** (the reservations of a guest)
 *
 * ```ts
 * const query = EventQuery.make(BookingEvent, [{ types: ["SeatReserved"], tags: [Event.tag("guest", "fay")] }])
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const E extends Event.Any>(events: E, items: NoInfer<QueryOf<E>>): EventQuery => {
  const query: QueryItems = items
  const wrong = validate(query) ?? EventTags.validateQuery(events, query)
  if (wrong !== undefined) throw new Error(`EventQuery.make: ${wrong}`)
  return ofStoredTypes(query.map((item) => ({
    ...item,
    types: Event.storedTypes(events, item.types ?? Object.keys(events.cases))
  })))
}

/**
 * Returns a query for events of any set, by the types with which they are stored. Use `make` for events of a set: its result selects the stored
 * types of the set's past versions too, which this one selects only if they are named.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofStoredTypes = (items: QueryItems): EventQuery =>
  Object.defineProperty([...items], made, { value: true }) as ReadonlyArray<QueryItem> as EventQuery

/**
 * Returns whether `make` or `ofStoredTypes` made a query.
 *
 * @since 0.1.0
 * @category guards
 */
export const isEventQuery = (query: QueryItems): query is EventQuery => made in query

/**
 * The maximum length of a tag, in UTF-16 code units.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxTagLength = 256

/**
 * The maximum number of tags on one event.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxTags = 100

/**
 * Returns what is wrong with a tag, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateTag = (tag: string): string | undefined => nameRules.validateName("a tag", tag, maxTagLength)

/**
 * Returns what is wrong with a query, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = (query: QueryItems): string | undefined => {
  if (query.length === 0) return "a query needs at least one item"
  for (const { tags = [], types = [] } of query) {
    if (tags.length === 0 && types.length === 0) return "an item of a query needs at least one type or tag"
    if (tags.length > maxTags) {
      return `an item of a query must have at most ${maxTags} tags, this one has ${tags.length}`
    }
    for (const tag of tags) {
      const bad = validateTag(tag)
      if (bad !== undefined) return bad
    }
  }
  return undefined
}

/**
 * Returns whether an event matches one of the items.
 *
 * @since 0.1.0
 * @category guards
 */
export const matches = (query: EventQuery, event: Pick<EncodedEvent, "type" | "tags">): boolean =>
  query.some((item) => matchesItem(item, event))
