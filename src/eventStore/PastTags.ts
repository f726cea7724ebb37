/**
 * Compares the tags of stored events of earlier schema versions and legacy types with the tags of the current events that they are upcast to.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { EventStoreError } from "../core/errors.ts"
import * as LogPosition from "../core/LogPosition.ts"
import type * as Position from "../core/Position.ts"
import { category } from "../core/StreamId.ts"
import type * as Event from "../event/Event.ts"
import { legacyOf, upcastersOf } from "../event/EventAnnotations.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventQuery from "../event/EventQuery.ts"
import * as EventTags from "../event/EventTags.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver, EventType, EventTypes } from "./driver/EventStoreDriver.ts"

/**
 * Events of one stored type and category of streams that lack a tag of the current events that they are upcast to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Difference {
  readonly type: string
  readonly category: string
  /** The name of the tag. */
  readonly tag: string
  /** The names of the current events whose tag the stored event lacks. */
  readonly parts: ReadonlyArray<string>
  readonly events: number
}

/** What a process has compared of the log. It is immutable, so two comparisons at one time do no harm. */
interface Compared {
  readonly counted: EventTypes
  /** The event up to which it has read. */
  readonly reached: LogPosition.LogPosition
  /** How many past events it has found up to there. */
  readonly found: number
  readonly differences: ReadonlyMap<string, Difference>
  /** The differences of the visible events above the count. They are compared again when they are counted. */
  readonly above: ReadonlyMap<string, Difference>
}

const compared = new WeakMap<EventStoreDriver, WeakMap<Event.Any, Compared>>()

/** The maximum number of events that the first comparison of a process reads, in about a second. Each further count continues it. */
const firstLimit = 50_000
const nextLimit = 5_000
const pageSize = 500

/**
 * Returns the events that lack tags, of those of earlier schema versions and of legacy types. The first comparison of a process reads up to 50,000 events
 * of these types, and each later one that is given another count up to 5,000. It reads nothing once it has found all that are counted. `above` are the
 * types of the visible events after the count: if there are such events among them, it reads up to 50,000 of them each time.
 *
 * @since 0.1.0
 * @category accessors
 */
export const compare = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  events: Event.Any,
  counted: EventTypes,
  above: ReadonlyArray<EventType> = []
): Effect.fn.Return<ReadonlyArray<Difference>, EventStoreError> {
  const versions = pastVersionsOf(events)
  if (versions.size === 0) return []
  const ofDriver = compared.get(driver) ?? new WeakMap<Event.Any, Compared>()
  compared.set(driver, ofDriver)
  const before = ofDriver.get(events)
  if (before?.counted === counted) return [...before.differences.values(), ...before.above.values()]
  const expected = countPast(versions, counted.types)
  const positions = [counted.position, ...(before === undefined ? [] : [before.reached.position])]
  const [end, reached] = yield* driver.eventIds(positions)
  // If the log was set back, it has other events than those that were compared, also where it is longer by now.
  const isSetBack = before !== undefined && (
    before.reached.eventId !== undefined && before.reached.eventId.toLowerCase() !== reached?.toLowerCase()
    || expected < before.found || counted.position < before.reached.position
  )
  const known = isSetBack ? undefined : before
  const settled = yield* compareFrom(driver, events, {
    counted,
    end: LogPosition.make(counted.position, end),
    expected,
    versions,
    from: known ?? { reached: LogPosition.start, found: 0, differences: new Map() },
    limit: known === undefined ? firstLimit : nextLimit
  })
  const after = {
    ...settled,
    above: countPast(versions, above) === 0
      ? new Map()
      : yield* compareVisible(driver, events, versions, counted.position)
  }
  if (ofDriver.get(events) === before) ofDriver.set(events, after)
  return [...after.differences.values(), ...after.above.values()]
})

/** Returns the stored types with past versions, each with their number. */
const pastVersionsOf = (events: Event.Any): ReadonlyMap<string, number> => {
  const versions = new Map<string, number>()
  for (const [type, { past }] of Object.entries(upcastersOf(events))) versions.set(type, past.length)
  for (const [type, legacy] of Object.entries(legacyOf(events))) {
    if (legacy.end !== "retired") versions.set(type, legacy.past.length)
  }
  return versions
}

const countPast = (versions: ReadonlyMap<string, number>, types: ReadonlyArray<EventType>): number => {
  let events = 0
  for (const one of types) {
    const past = versions.get(one.type) ?? 0
    for (const version of one.versions) if (version.schemaVersion <= past) events += version.events
  }
  return events
}

interface Comparison {
  readonly counted: EventTypes
  /** The last event that is counted. */
  readonly end: LogPosition.LogPosition
  /** How many past events are counted. */
  readonly expected: number
  readonly versions: ReadonlyMap<string, number>
  readonly from: Omit<Compared, "above" | "counted">
  /** The largest number of events to read. */
  readonly limit: number
}

const compareFrom = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  events: Event.Any,
  { counted, end, expected, from, limit, versions }: Comparison
): Effect.fn.Return<Omit<Compared, "above">, EventStoreError> {
  const differences = new Map(from.differences)
  const types = Array.from(versions.keys())
  let { found, reached } = from
  let left = limit
  while (found < expected && reached.position < end.position && left > 0) {
    const page = yield* driver.readAll({ after: reached.position, limit: pageSize, types })
    // The high-water mark may step back for a moment.
    if (page.reached.position <= reached.position) break
    for (const event of page.events) {
      if (event.position > end.position || event.schemaVersion > versions.get(event.type)!) continue
      found++
      addDifferences(differences, events, event)
    }
    reached = page.reached.position < end.position ? page.reached : end
    left -= Math.max(page.events.length, pageSize / 10)
  }
  // All events up to the count are compared, so the next comparison begins there.
  return { counted, found, reached: found >= expected ? end : reached, differences }
})

/** Compares the visible events after a position, also above the high-water mark, as a read by query finds them. */
const compareVisible = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  events: Event.Any,
  versions: ReadonlyMap<string, number>,
  from: Position.Position
): Effect.fn.Return<ReadonlyMap<string, Difference>, EventStoreError> {
  const differences = new Map<string, Difference>()
  const query = EventQuery.ofStoredTypes([{ types: Array.from(versions.keys()) }])
  let after = from
  let left = firstLimit
  while (left > 0) {
    const page = yield* driver.readByQuery({ query, after, limit: pageSize })
    for (const event of page.events) {
      if (event.schemaVersion <= versions.get(event.type)!) addDifferences(differences, events, event)
    }
    if (page.events.length < pageSize && page.reached.position >= page.head) break
    after = page.reached.position
    left -= Math.max(page.events.length, pageSize / 10)
  }
  return differences
})

/** Adds what a past event lacks. An event that cannot be decoded has no tags; a reader that finds it fails. */
const addDifferences = (differences: Map<string, Difference>, events: Event.Any, event: EncodedEvent): void => {
  const codec = EventCodec.make(events)
  const decoded = codec.decode(event)
  if (Result.isFailure(decoded)) return
  const lacking = new Map<string, Set<string>>()
  for (const { event: current } of decoded.success) {
    for (const text of codec.tagsOf(current)) {
      const name = EventTags.namePartOf(text)
      if (!event.tags.includes(text)) lacking.set(name, (lacking.get(name) ?? new Set()).add(current._tag))
    }
  }
  for (const [tag, partSet] of lacking) {
    const one = { type: event.type, category: category(event.stream), tag, parts: Array.from(partSet).toSorted() }
    const key = JSON.stringify(one)
    differences.set(key, { ...one, events: (differences.get(key)?.events ?? 0) + 1 })
  }
}
