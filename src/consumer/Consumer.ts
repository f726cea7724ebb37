/**
 * What follows the log: projections and subscriptions. What they have in common is a name and a version, which events they take, and how
 * they share them out.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type { UndecodableEvent } from "../core/errors.ts"
import * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import type { EventFilter } from "../event/EventFilter.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"

/**
 * Says of an event, explicitly, that a consumer ignores it.
 *
 * @since 0.1.0
 * @category constants
 */
export const ignore: unique symbol = Symbol.for("evsrc/consumer/Consumer/ignore")

/**
 * - `where`: which events of the set it takes
 * - `partitions`: how many workers can share it, by streams, from 1 to 256; 1 by default. More than one keep the order within a stream, not
 *   that between streams. It cannot change but by a rebuild or a new version
 * - `onFailure`: what becomes of an event that cannot be processed. `"park"`, the default, sets its stream aside from there on, and goes on
 *   with the others; `"stop"` goes no further
 * - `version`: raise it when what is made of the events changes; 1 by default. The consumer then starts again from the first event
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  readonly where?: EventFilter | undefined
  readonly partitions?: number | undefined
  readonly onFailure?: "park" | "stop" | undefined
  readonly version?: number | undefined
}

/**
 * - `id`: `<name>@<version>`, under which everything of it is kept
 * - `handles`: the names of the events that it takes
 * - `reads`: the types in the log that can mean one of them
 *
 * @since 0.1.0
 * @category models
 */
export interface Consumer<out Name extends string = string, out Events extends Event.Any = Event.Any> {
  readonly name: Name
  readonly version: number
  readonly id: string
  readonly events: Events
  readonly handles: ReadonlyArray<string>
  readonly reads: ReadonlyArray<string>
  readonly where: EventFilter
  readonly partitions: number
  readonly onFailure: "park" | "stop"
}

/**
 * What a recorded event means to a consumer: of the events that it means today those that the consumer handles.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (
  { events, handles }: Pick<Consumer, "events" | "handles">,
  recorded: EncodedEvent
): Result.Result<ReadonlyArray<RecordedEvent<Event.Tagged>>, UndecodableEvent> =>
  Result.map(
    EventCodec.of(events).decode(recorded),
    (records) => records.filter(({ event }) => handles.includes(event._tag))
  )

/**
 * Throws when two consumers have one id: they would share one checkpoint, and one of them would never be given an event.
 *
 * @since 0.1.0
 * @category checks
 */
export const rejectDuplicates = (maker: string, consumers: ReadonlyArray<Pick<Consumer, "id">>): void => {
  const twice = consumers.find(({ id }, index) => consumers.findIndex((other) => other.id === id) < index)
  if (twice !== undefined) throw new Error(`${maker}: there are two of the name and version ${twice.id}`)
}

/**
 * A consumer of these events; throws when an option is not what it may be.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const Name extends string, Events extends Event.Any>(
  maker: string,
  name: Name,
  events: Events,
  handles: ReadonlyArray<string>,
  options: Options
): Consumer<Name, Events> => {
  const { onFailure = "park", partitions = 1, version = 1, where = {} } = options
  if (!/^[A-Za-z0-9_.:/-]{1,100}$/.test(name)) {
    throw new Error(`${maker}: the name "${name}" must be 1 to 100 of the characters A-Z a-z 0-9 _ . : / -`)
  }
  if (!Number.isInteger(version) || version < 1) {
    throw new Error(`${maker}: the version of "${name}" must be a whole number from 1`)
  }
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > 256) {
    throw new Error(`${maker}: the partitions of "${name}" must be a whole number from 1 to 256`)
  }
  // What cannot be encrypted is refused now.
  EventPersonalData.of(events)
  const tagNames = new Set(Object.values(Event.tagFieldsOf(events)).flatMap((fields) => Object.keys(fields ?? {})))
  for (const tag of where.tags ?? []) {
    if (!Array.from(tagNames).some((tagName) => tag.startsWith(`${tagName}:`) && tag.length > tagName.length + 1)) {
      const known = tagNames.size === 0 ? "they have none" : `they have ${Array.from(tagNames).join(", ")}`
      throw new Error(`${maker}: "${name}" asks for the tag "${tag}", which its events cannot have; ${known}`)
    }
  }
  const reads = Event.storedTypes(events, handles)
  return { name, version, id: `${name}@${version}`, events, handles, reads, where, partitions, onFailure }
}

/**
 * What the ids of subscriptions begin with, and the names of projections do not, as both are kept in one place.
 *
 * @since 0.1.0
 * @category constants
 */
export const reservedPrefix = "subscription:"

/**
 * Throws when a projection would have the id of a subscription.
 *
 * @since 0.1.0
 * @category guards
 */
export const rejectReserved = (maker: string, name: string): void => {
  if (name.startsWith(reservedPrefix)) {
    throw new Error(`${maker}: the name "${name}" must not begin with "${reservedPrefix}"`)
  }
}
